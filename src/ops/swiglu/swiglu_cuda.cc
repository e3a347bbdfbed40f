#include "ops/swiglu/swiglu_cuda.h"
#include "core/cuda/staging.h"
#include "ops/swiglu/swiglu.h"

namespace mamba3::cuda {

void swiglu(float* value, const float* gate, std::int64_t count) {
  Staging staging;
  float* values = staging.upload(value, count);
  swiglu(values, staging.upload(gate, count), count, Staging::stream());
  staging.download(value, values, count);
}

}  // namespace mamba3::cuda
