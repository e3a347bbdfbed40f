// The only globals that a pickle of weights may name. None of them is imported or called.
#pragma once

#include <array>
#include <string_view>

#include "formats/torch_pickle.h"

namespace mamba3::pickle {

struct Global {
  std::string_view module;
  std::string_view name;
  Value value;
};

inline const std::array kGlobals = {
    Global{"collections", "OrderedDict", Callable::ordered_dict},
    Global{"torch", "Size", Callable::size},
    Global{"torch._utils", "_rebuild_tensor_v2", Callable::rebuild_tensor},
    Global{"torch._utils", "_rebuild_parameter", Callable::rebuild_parameter},
    Global{"torch", "DoubleStorage", StorageType{DType::f64}},
    Global{"torch", "FloatStorage", StorageType{DType::f32}},
    Global{"torch", "HalfStorage", StorageType{DType::f16}},
    Global{"torch", "BFloat16Storage", StorageType{DType::bf16}},
    Global{"torch", "LongStorage", StorageType{DType::i64}},
    Global{"torch", "IntStorage", StorageType{DType::i32}},
    Global{"torch", "ShortStorage", StorageType{DType::i16}},
    Global{"torch", "CharStorage", StorageType{DType::i8}},
    Global{"torch", "ByteStorage", StorageType{DType::u8}},
    Global{"torch", "BoolStorage", StorageType{DType::boolean}},
};

}  // namespace mamba3::pickle
