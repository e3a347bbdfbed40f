// Stands in for the CUDA backend of src/mixers in a build without it: every entry says so. A build with CUDA
// leaves this folder out and compiles the .cu files beside each mixer instead.
#include "mixers/mamba3/mamba3.h"
#include "no_cuda/no_cuda.h"

namespace mamba3::cuda {

void mamba3_forward(const Exec&, const Mamba3Config&, const Mamba3Weights&, const RowWindow&, const float*,
                    float*, LayerState&) {
  no_cuda();
}
void mamba3_step(const Exec&, const Mamba3Config&, const Mamba3Weights&, const float*, float*,
                 std::span<const Mamba3Place>) {
  no_cuda();
}
void mamba3_rewind(const Mamba3Config&, LayerState&, std::int64_t) {
  no_cuda();
}
void mamba3_scan(Arena&, const Mamba3Config&, const Mamba3Weights&, const RowWindow&, const Mamba3ScanInput&,
                 float*, float*, LayerState&) {
  no_cuda();
}

}  // namespace mamba3::cuda
