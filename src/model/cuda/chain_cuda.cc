#include "model/cuda/chain_cuda.h"

#include <algorithm>

#include "ops/linear/cuda/exact_cuda.h"
#include "ops/linear/cuda/planes_cuda.h"
#include "ops/linear/cuda/split_cuda.h"
#include "ops/norm/norm_bf16_cuda.h"
#include "ops/norm/norm_cuda.h"
#include "ops/swiglu/gated_cuda.h"
#include "ops/swiglu/swiglu_cuda.h"

namespace mamba3::cuda {
namespace {

using bf16 = __nv_bfloat16;

// The largest quantized matrix of the model, the head among them.
std::int64_t unpacked_values(const NetworkLayers& network) {
  std::int64_t values = 0;
  const auto see = [&](const DeviceMatrix& W) {
    if (is_quantized(W.dtype)) values = std::max(values, W.rows * W.cols);
  };
  for (const NetworkLayer& layer : network.all()) {
    for (const DeviceMatrix* W : {&layer.in_proj, &layer.out_proj, &layer.up, &layer.gate, &layer.down})
      see(*W);
  }
  see(network.head());
  return values;
}

// up and gate as one matrix where they lie side by side; else without rows.
DeviceMatrix joined(const DeviceMatrix& up, const DeviceMatrix& gate) {
  const std::byte* end = up.planes[0] + *bytes_of(up.dtype, up.rows * up.cols);
  if (is_quantized(up.dtype) || up.dtype != gate.dtype || gate.planes[0] != end) return {};
  DeviceMatrix both = up;
  both.rows += gate.rows;
  return both;
}

ThinInput thin_rows(const float* x) {
  return {.x = x};
}
ThinInput thin_rows(const bf16* x) {
  return {.x_bf16 = x};
}

// A thin product may begin before the kernel in front of it has ended: at one row a layer's kernels take
// microseconds each, as long as the gaps between them.
constexpr bool kOverlap = true;

}  // namespace

template <typename T>
void LayerChain<T>::prepare(std::int64_t rows) {
  if (rows <= capacity_) return;
  const Mamba3Config& c = network_.mixer();
  const std::int64_t D = network_.config().d_model, F = network_.config().ffn_width;
  normed_ = Buffer<T>(rows * (kExact ? D : split_length(D)));
  wide_ = Buffer<T>(rows * std::max(c.in_rows(), 2 * F));
  narrow_ = Buffer<T>(rows * std::max(c.d_inner(), F));
  dynamics_ = Buffer<float>(rows * c.dynamics_rows());
  if (!network_.exact()) {
    if (unpacked_.size() == 0) unpacked_ = Buffer<T>(unpacked_values(network_));
  }
  capacity_ = rows;
}

template <typename T>
void LayerChain<T>::run(std::int64_t rows, float* residual, const Mixer& mixer,
                        const std::function<void(std::int64_t)>& on_layer, cudaStream_t stream) {
  const bool few = is_thin(rows), has_mlp = network_.config().has_mlp();
  for (std::int64_t i = 0; const NetworkLayer& layer : network_.all()) {
    few ? thin_project(layer, rows, residual, stream) : project(layer, rows, residual, stream);
    mixer(layer, i, {wide_.data(), dynamics_.data(), narrow_.data()});
    few ? thin_add(layer.out_proj, rows, residual, stream)
        : add(layer.out_proj, rows, narrow_.data(), residual, stream);
    if (has_mlp) few ? thin_mlp(layer, rows, residual, stream) : mlp(layer, rows, residual, stream);
    ++i;
    if (on_layer) on_layer(i);
  }
}

// The weights as the fast products take them.
template <typename T>
const T* LayerChain<T>::values_of(const DeviceMatrix& W, cudaStream_t stream) {
  if constexpr (!kExact) {
    if (is_quantized(W.dtype)) {
      unpack_bf16(W, 0, W.rows, unpacked_.data(), stream);
      return unpacked_.data();
    }
  }
  return reinterpret_cast<const T*>(W.planes[0]);
}

template <typename T>
void LayerChain<T>::store(const DeviceMatrix& W, std::int64_t rows, const T* x, T* y, Strides strides,
                          cudaStream_t stream) {
  if constexpr (kExact) {
    exact_linear(W, x, rows, y, /*add=*/false, stream);
  } else {
    products_.main.run(
        {.rows = rows, .outputs = W.rows, .inputs = W.cols, .x_stride = strides.x, .y_stride = strides.y},
        values_of(W, stream), x, y, stream);
  }
}

template <typename T>
void LayerChain<T>::add(const DeviceMatrix& W, std::int64_t rows, const T* x, float* y, cudaStream_t stream) {
  if constexpr (kExact) {
    exact_linear(W, x, rows, y, /*add=*/true, stream);
  } else {
    products_.main.run({.rows = rows, .outputs = W.rows, .inputs = W.cols, .output = GemmOutput::add_f32},
                       values_of(W, stream), x, y, stream);
  }
}

template <typename T>
void LayerChain<T>::project(const NetworkLayer& layer, std::int64_t rows, float* residual,
                            cudaStream_t stream) {
  if constexpr (kExact) {
    norm(layer.norm, residual, rows, normed_.data(), stream);
    store(layer.in_proj, rows, normed_.data(), wide_.data(), {}, stream);
    store(layer.dynamics, rows, normed_.data(), dynamics_.data(), {}, stream);
  } else {
    const std::int64_t D = layer.in_proj.cols, parts = split_length(D);
    norm_rows(layer.norm, residual, rows, NormedRows::split, normed_.data(), stream);
    // The dynamics' few rows leave most of the device idle: they go beside in_proj.
    products_.side.fork(stream);
    products_.beside.run(
        {.rows = rows, .outputs = layer.dynamics.rows, .inputs = parts, .output = GemmOutput::f32},
        layer.dynamics_parts, normed_.data(), dynamics_.data(), products_.side.get());
    store(layer.in_proj, rows, normed_.data() + 2 * D, wide_.data(), {.x = parts}, stream);
    products_.side.join(stream);
  }
}

template <typename T>
void LayerChain<T>::mlp(const NetworkLayer& layer, std::int64_t rows, float* residual, cudaStream_t stream) {
  const std::int64_t F = layer.up.rows;
  T* const up = wide_.data();
  if constexpr (kExact) {
    T* const gate = up + rows * F;
    norm(layer.norm2, residual, rows, normed_.data(), stream);
    store(layer.up, rows, normed_.data(), up, {}, stream);
    store(layer.gate, rows, normed_.data(), gate, {}, stream);
    swiglu(up, gate, rows * F, stream);
    add(layer.down, rows, up, residual, stream);
  } else {
    norm_rows(layer.norm2, residual, rows, NormedRows::bf16, normed_.data(), stream);
    up_and_gate(layer, rows, up, stream);
    gated(up, rows, F, narrow_.data(), stream);
    add(layer.down, rows, narrow_.data(), residual, stream);
  }
}

// up and gate side by side in rows of 2F: one product where the matrices lie so.
template <typename T>
void LayerChain<T>::up_and_gate(const NetworkLayer& layer, std::int64_t rows, T* out, cudaStream_t stream) {
  const DeviceMatrix both = joined(layer.up, layer.gate);
  if (both.rows != 0) return store(both, rows, normed_.data(), out, {}, stream);
  const std::int64_t F = layer.up.rows;
  store(layer.up, rows, normed_.data(), out, {.y = 2 * F}, stream);
  store(layer.gate, rows, normed_.data(), out + F, {.y = 2 * F}, stream);
}

template <typename T>
void LayerChain<T>::thin_project(const NetworkLayer& layer, std::int64_t rows, const float* residual,
                                 cudaStream_t stream) {
  const ThinProduct products[] = {{.W = layer.in_proj, .y = wide_.data()},
                                  {.W = layer.dynamics, .store = ThinStore::f32, .y = dynamics_.data()}};
  thin_linear({.x = residual, .gain = layer.norm.weight, .bias = layer.norm.bias}, products,
              static_cast<int>(rows), kOverlap, stream);
}

// residual += narrow W^T.
template <typename T>
void LayerChain<T>::thin_add(const DeviceMatrix& W, std::int64_t rows, float* residual, cudaStream_t stream) {
  const ThinProduct product{.W = W, .store = ThinStore::add_f32, .y = residual};
  thin_linear(thin_rows(narrow_.data()), {&product, 1}, static_cast<int>(rows), kOverlap, stream);
}

template <typename T>
void LayerChain<T>::thin_mlp(const NetworkLayer& layer, std::int64_t rows, float* residual,
                             cudaStream_t stream) {
  const ThinProduct product{.W = layer.up, .gate = layer.gate, .y = narrow_.data()};
  thin_linear({.x = residual, .gain = layer.norm2.weight, .bias = layer.norm2.bias}, {&product, 1},
              static_cast<int>(rows), kOverlap, stream);
  thin_add(layer.down, rows, residual, stream);
}

template <typename T>
void LayerChain<T>::final_norm(std::int64_t rows, const float* residual, float* hidden,
                               cudaStream_t stream) const {
  norm(network_.norm_f(), residual, rows, hidden, stream);
}

template <typename T>
void LayerChain<T>::head(std::int64_t rows, const float* hidden, std::int64_t first, std::int64_t count,
                         float* out, cudaStream_t stream) {
  const DeviceMatrix W = rows_of(network_.head(), first, count);
  if constexpr (kExact) {
    exact_linear(W, hidden, rows, out, /*add=*/false, stream);
  } else if (is_thin(rows)) {
    const ThinProduct product{.W = W, .store = ThinStore::f32, .y = out};
    thin_linear({.x = hidden}, {&product, 1}, static_cast<int>(rows), kOverlap, stream);
  } else {
    const DeviceMatrix x{DType::f32, rows, W.cols, {reinterpret_cast<const std::byte*>(hidden)}};
    unpack_bf16(x, 0, rows, normed_.data(), stream);
    products_.main.run({.rows = rows, .outputs = count, .inputs = W.cols, .output = GemmOutput::f32},
                       values_of(W, stream), normed_.data(), out, stream);
  }
}

template class LayerChain<float>;
template class LayerChain<bf16>;

}  // namespace mamba3::cuda
