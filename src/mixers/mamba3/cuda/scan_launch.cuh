// Launching the kernels of one number of ranks; scan_siso.cu and scan_mimo.cu hold their code.
#pragma once

#include "mixers/mamba3/cuda/scan_block.cuh"

namespace mamba3::cuda::scan {

struct Launch {
  int sequences;
  int most_segments;  ///< of a sequence
};

/// Ranks: 1 for SISO, else 4 or 8.
template <int Ranks>
void launch(const Arguments& arguments, const Launch& shape, cudaStream_t stream);

}  // namespace mamba3::cuda::scan
