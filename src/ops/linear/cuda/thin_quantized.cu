// The thin products of quantized weights.
#include "ops/linear/cuda/thin_product.cuh"

namespace mamba3::cuda::thin {

void launch_quantized(DType type, const Arguments& a, bool dependent, cudaStream_t stream) {
  switch (type) {
    case DType::q8_0:
      return launch_product<DType::q8_0>(a, dependent, stream);
    case DType::q4_0:
      return launch_product<DType::q4_0>(a, dependent, stream);
    case DType::q4_1:
      return launch_product<DType::q4_1>(a, dependent, stream);
    case DType::q5_0:
      return launch_product<DType::q5_0>(a, dependent, stream);
    case DType::q5_1:
      return launch_product<DType::q5_1>(a, dependent, stream);
    case DType::q4_k:
      return launch_product<DType::q4_k>(a, dependent, stream);
    case DType::q5_k:
      return launch_product<DType::q5_k>(a, dependent, stream);
    default:
      return launch_product<DType::q6_k>(a, dependent, stream);
  }
}

}  // namespace mamba3::cuda::thin
