// Shapes of mixers for the kernels of the scan and of the step, and states of sessions.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "gpu/gpu.h"
#include "gpu/head_weights.h"
#include "mixers/mamba3/layout.h"

namespace mamba3::test {

struct MixerShape {
  std::int64_t headdim, d_state, rank;  // rank 0: SISO
  std::int64_t heads = 2, groups = 1;
  double rope = 0.5;
  bool normed = false, softplus = false;

  Mamba3Config config() const {
    Mamba3Config c;
    c.d_model = heads * headdim, c.expand = 1;
    c.headdim = headdim, c.d_state = d_state, c.ngroups = groups, c.rope_fraction = rope;
    c.is_mimo = rank > 0, c.mimo_rank = std::max<std::int64_t>(rank, 1);
    c.is_outproj_norm = normed;
    if (softplus) c.A_activation = AActivation::softplus;
    return c;
  }
  friend std::ostream& operator<<(std::ostream& out, const MixerShape& s) {
    out << "headdim " << s.headdim << ", d_state " << s.d_state << ", rank " << s.rank << ", heads "
        << s.heads << ", groups " << s.groups << ", rope " << s.rope;
    return out << (s.normed ? ", norm" : "") << (s.softplus ? ", softplus" : "");
  }
};

/// Every size that the kernels are compiled for, and odd ones.
inline const std::vector<MixerShape>& mixer_shapes() {
  static const std::vector<MixerShape> shapes = {
      {64, 128, 0, 4},
      {64, 128, 4, 4},
      {64, 128, 0, 4, 2, 1.0, true},
      {64, 128, 4, 4, 4, 0.25, true, true},
      {32, 16, 0},
      {32, 64, 1},
      {32, 256, 2, 4, 2},
      {64, 48, 3, 2, 1, 0.5, true},
      {64, 256, 0, 2, 1, 1.0},
      {64, 256, 8},
      {64, 80, 5, 2, 2},
      {128, 128, 0, 2, 1, 0.5, false, true},
      {128, 64, 4, 1, 1, 0.0},
      {128, 256, 8, 1, 1, 1.0},
      {128, 256, 8, 1, 1, 1.0, true},
      {128, 144, 7, 3, 3},
  };
  return shapes;
}

/// A random state in the specification's form.
inline reference::Mamba3State<float> random_state(const Mamba3Config& c, std::uint64_t seed) {
  auto state = reference::Mamba3State<float>::zeros(c);
  const auto fill = [&](std::vector<float>& values, double low, double high) {
    values = uniform(++seed, std::ssize(values), low, high);
  };
  fill(state.theta, 0, 6.28), fill(state.h, -1, 1), fill(state.k, -1.5, 1.5), fill(state.x, -1, 1);
  return state;
}

/// One head of a state, in float64.
inline HeadState head_of(const Mamba3Config& c, const reference::Mamba3State<float>& state,
                         std::int64_t head) {
  const std::int64_t H = c.n_heads(), P = c.headdim, N = c.d_state, S = c.n_angles();
  const auto part = [](const std::vector<float>& values, std::int64_t first, std::int64_t count) {
    return std::vector<double>(values.begin() + first, values.begin() + first + count);
  };
  HeadState one{
      part(state.theta, head * S, S), part(state.h, head * P * N, P * N), {}, part(state.x, head * P, P)};
  for (std::int64_t r = 0; r < c.rank(); ++r) {
    const auto k = part(state.k, (r * H + head) * N, N);
    one.k.insert(one.k.end(), k.begin(), k.end());
  }
  return one;
}

struct StateBounds {
  double theta = 2e-5, h, k, x;
};

/// A state that a kernel left against one head in float64.
inline void expect_head(const Mamba3Config& c, const reference::Mamba3State<float>& found, std::int64_t head,
                        const HeadState& expected, const StateBounds& bounds) {
  const HeadState one = head_of(c, found, head);
  EXPECT_LE(circle_error(one.theta, expected.theta), bounds.theta) << "theta of head " << head;
  EXPECT_LE(error_of(one.h, expected.h), bounds.h) << "h of head " << head;
  EXPECT_LE(error_of(one.k, expected.k), bounds.k) << "k of head " << head;
  EXPECT_LE(error_of(one.x, expected.x), bounds.x) << "x of head " << head;
}

inline testing::AssertionResult same_values(const LayerState& a, const LayerState& b) {
  return equal_bits(std::vector<float>(a.values.begin(), a.values.end()),
                    std::vector<float>(b.values.begin(), b.values.end()));
}

/// Layers' states of some sessions in memory of the GPU: each session's block holds kLayers layers, of which
/// the second is used and the others must stay as they are.
class StateBlocks {
 public:
  static constexpr std::int64_t kLayers = 3;

  StateBlocks(const Mamba3Config& c, const std::vector<LayerState>& states, cudaStream_t stream)
      : config_(c), layout_(c, mamba3_chunk(c)), stream_(stream) {
    std::vector<float*> pointers;
    for (const LayerState& state : states) {
      std::vector<float> block(static_cast<std::size_t>(kLayers * layout_.size), kGuard);
      std::copy(state.values.begin(), state.values.end(), block.begin() + layout_.size);
      blocks_.push_back(on_device(block, stream));
      pointers.push_back(blocks_.back().data());
    }
    pointers_ = on_device(pointers, stream);
  }

  float* const* pointers() const { return pointers_.data(); }
  std::int64_t offset() const { return layout_.size; }
  const Mamba3Layout& layout() const { return layout_; }

  LayerState state(std::int64_t session, std::int64_t tail) const {
    const auto block = on_host(blocks_[static_cast<std::size_t>(session)], stream_);
    for (std::int64_t i = 0; i < layout_.size; ++i) {
      EXPECT_TRUE(block[i] == kGuard && block[2 * layout_.size + i] == kGuard) << "written beside the state";
      if (testing::Test::HasFailure()) break;
    }
    return {AlignedFloats(block.begin() + layout_.size, block.begin() + 2 * layout_.size), tail};
  }

 private:
  static constexpr float kGuard = 12345;
  Mamba3Config config_;
  Mamba3Layout layout_;
  cudaStream_t stream_;
  std::vector<cuda::Buffer<float>> blocks_;
  cuda::Buffer<float*> pointers_;
};

}  // namespace mamba3::test
