#include "mixers/mamba3/cuda/scan_launch_inl.cuh"

namespace mamba3::cuda::scan {
template void launch<4>(const Arguments&, const Launch&, cudaStream_t);
template void launch<8>(const Arguments&, const Launch&, cudaStream_t);
}  // namespace mamba3::cuda::scan
