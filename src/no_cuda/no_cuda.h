// The one sentence of a build without CUDA.
#pragma once

#include "core/error.h"

namespace mamba3 {

[[noreturn]] inline void no_cuda() {
  fail(ErrorCode::unsupported, "device cuda: this build of mamba3 has no CUDA backend; use device cpu");
}

}  // namespace mamba3
