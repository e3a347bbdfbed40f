// A closed interpreter for the pickles that torch.save writes for weights. Nothing is imported or called:
// the few known globals are rows of a table, and what they would build is described as a value.
// Source: CPython's Lib/pickletools.py (opcodes), PyTorch's torch/_utils.py (_rebuild_tensor_v2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/dtype.h"

namespace mamba3::pickle {

/// Number of a value in Pickle::values. Values refer to each other by number, so that a pickle that builds
/// cycles, towers or shared values costs no more than its own length.
using Ref = std::uint32_t;

/// What weights do not need: None, booleans, floats, bytes, integers beyond 64 bits.
struct Opaque {};

enum class Callable { ordered_dict, rebuild_tensor, rebuild_parameter, size };

struct Tuple {
  std::vector<Ref> items;
};

struct List {
  std::vector<Ref> items;
};

struct Dict {
  std::vector<std::pair<Ref, Ref>> items;  ///< in the order of assignment; a key may occur twice
};

struct StorageType {
  DType dtype;
};

/// A flat array in the archive's member data/KEY.
struct Storage {
  DType dtype;
  Ref key;                ///< a std::string_view
  std::int64_t elements;  ///< as claimed; may be negative
};

/// A window on a storage, not yet checked.
struct Tensor {
  Ref storage;
  Ref shape;    ///< a Tuple
  Ref strides;  ///< a Tuple, in elements
  std::int64_t offset;
};

using Value = std::variant<Opaque, std::int64_t, std::string_view, Callable, StorageType, Tuple, List, Dict,
                           Storage, Tensor>;

/// What a pickle describes; strings are views into its bytes.
struct Pickle {
  std::vector<Value> values;
  Ref top = 0;

  template <typename T>
  const T* find(Ref ref) const {  ///< null when the value is of another kind
    return std::get_if<T>(&values[ref]);
  }
};

/// Runs the pickle. Protocols 2 to 5, the opcodes of plain data; every other opcode or global is
/// Error(unsupported) by name, a broken pickle Error(bad_format). Messages begin with `file`.
Pickle parse(std::span<const std::byte> bytes, std::string_view file);

}  // namespace mamba3::pickle
