// Stands in for the CUDA backend of src/model in a build without it.
#include "model/runner.h"
#include "no_cuda/no_cuda.h"

namespace mamba3 {

std::unique_ptr<Runner> make_cuda_runner(const Checkpoint&, const NetworkOptions&) {
  no_cuda();
}

}  // namespace mamba3
