// The thin products' launcher, and the kernels of plain weights.
#include "ops/linear/cuda/thin_product.cuh"

namespace mamba3::cuda {
namespace thin {
namespace {

template <typename W, typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) pairs_product(const __grid_constant__ Arguments a) {
  __shared__ Statistics statistics;
  __shared__ PairSums sums;
  wait_for_previous_kernel();
  let_dependents_start();
  if (is_layer_norm<T>(a)) reduce_rows<T, false, kWidth>(a, statistics);
  if (is_normed<T>(a)) reduce_rows<T, true, kWidth>(a, statistics);
  multiply_pairs<W, T, kWidth>(a, blockIdx.x, statistics, sums);
}

template <typename W, typename T>
void launch_pairs(const Arguments& a, bool dependent, cudaStream_t stream) {
  // Four blocks fill half of a multiprocessor's threads.
  const int blocks = std::min(4 * Limits::of_device().multiprocessors, a.pairs);
  launch(a.cols % kPiece == 0 ? pairs_product<W, T, kPiece> : pairs_product<W, T, 1>, a, blocks, 0, dependent,
         stream);
}
template <typename W>
void launch_pairs(const Arguments& a, bool dependent, cudaStream_t stream) {
  a.input.x != nullptr ? launch_pairs<W, float>(a, dependent, stream)
                       : launch_pairs<W, __nv_bfloat16>(a, dependent, stream);
}

Segment segment_for(const ThinProduct& product, int rows_at_once, int first_tile) {
  Segment s = {};
  const bool swiglu = product.gate.rows > 0;
  const DeviceMatrix& second = swiglu ? product.gate : product.W;
  for (int p = 0; p < 4; ++p) {
    s.planes[0][p] = product.W.planes[p];
    s.planes[1][p] = second.planes[p];
  }
  s.y = product.y;
  s.stride = product.stride == 0 ? product.W.rows : product.stride;
  s.rows = static_cast<int>(product.W.rows);
  s.step = swiglu ? rows_at_once / 2 : rows_at_once;
  s.second = swiglu ? 0 : rows_at_once / 2;
  s.first_tile = first_tile;
  s.swiglu = swiglu;
  s.store = product.store;
  return s;
}

int tiles_of(const Segment& s) {
  return (s.rows + s.step - 1) / s.step;
}

/// By multiply-adds: F32, and plain types whose rows are not made of 16 bytes.
bool by_pairs(const DeviceMatrix& W) {
  return W.dtype == DType::f32 || ((W.dtype == DType::f16 || W.dtype == DType::bf16) && W.cols % 8 != 0);
}

void launch_type(DType type, const Arguments& a, bool dependent, cudaStream_t stream) {
  switch (type) {
    case DType::f32:
      return launch_pairs<float>(a, dependent, stream);
    case DType::f16:
      return a.tiles > 0 ? launch_product<DType::f16>(a, dependent, stream)
                         : launch_pairs<__half>(a, dependent, stream);
    case DType::bf16:
      return a.tiles > 0 ? launch_product<DType::bf16>(a, dependent, stream)
                         : launch_pairs<__nv_bfloat16>(a, dependent, stream);
    default:
      return launch_quantized(type, a, dependent, stream);
  }
}

}  // namespace
}  // namespace thin

void thin_linear(const ThinInput& input, std::span<const ThinProduct> products, int rows, bool dependent,
                 cudaStream_t stream) {
  using namespace thin;
  bool done[kMostThinProducts] = {};
  const auto same = [&](std::size_t i, DType type, bool pairs) {
    return !done[i] && products[i].W.dtype == type && by_pairs(products[i].W) == pairs;
  };
  const auto append = [&](Arguments& a, DType type, bool pairs) {
    for (std::size_t i = 0; i < products.size(); ++i) {
      if (!same(i, type, pairs)) continue;
      Segment& s = a.segment[a.segments + a.pair_segments];
      int& tiles = pairs ? a.pairs : a.tiles;
      s = segment_for(products[i], pairs ? kPairRows : kTileRows, tiles);
      tiles += tiles_of(s);
      ++(pairs ? a.pair_segments : a.segments);
      done[i] = true;
    }
  };
  // Those by matrix units first: F32 ones go with the first launch of these.
  for (const bool pairs : {false, true}) {
    for (std::size_t i = 0; i < products.size(); ++i) {
      const DType type = products[i].W.dtype;
      if (!same(i, type, pairs)) continue;
      Arguments a = {};
      a.input = input;
      a.rows = rows;
      a.cols = static_cast<int>(products[i].W.cols);
      a.inverse_cols = 1.0f / static_cast<float>(a.cols);
      append(a, type, pairs);
      if (!pairs) append(a, DType::f32, true);
      launch_type(type, a, dependent, stream);
    }
  }
}

}  // namespace mamba3::cuda
