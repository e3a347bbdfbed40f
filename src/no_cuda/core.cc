// Stands in for the CUDA part of src/core in a build without it.
#include "core/device_info.h"
#include "no_cuda/no_cuda.h"

namespace mamba3::cuda {

CudaInfo cuda_info() {
  CudaInfo info;
  info.missing = "this build of mamba3 has no CUDA backend";
  return info;
}

void use_device(int) {
  no_cuda();
}

}  // namespace mamba3::cuda
