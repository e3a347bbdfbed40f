// A session's state: its start, and its form in the specification.
#include <algorithm>

#include "core/threads.h"
#include "mixers/mamba3/kernels_cpu.h"
#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3 {

std::int64_t mamba3_chunk(const Mamba3Config& config) {
  // R rows a token: 32 rows, whose q, k and scores share the first-level cache with 32 rows of the state.
  // Longer chunks multiply more scores, shorter ones walk the state more often (docs/numerics.md). At least 8
  // tokens, so that a chunk's rows fill tiles of 8.
  std::int64_t chunk = 32;
  while (chunk > 8 && chunk * config.rank() > 32) chunk /= 2;
  return chunk;
}

LayerState mamba3_zero_state(const Mamba3Config& config) {
  const Mamba3Layout layout(config, mamba3_chunk(config));
  return {AlignedFloats(static_cast<std::size_t>(layout.size)), 0};
}

namespace {

// Calls visit(ours, theirs) for each pair of corresponding values of the state and its form in the
// specification.
template <typename Visit>
void each_pair(const Mamba3Layout& l, float* values, reference::Mamba3State<float>& state,
               const Visit& visit) {
  for (std::int64_t head = 0; head < l.heads; ++head) {
    const Mamba3Head ours(l, values, head);
    for (std::int64_t s = 0; s < l.angles; ++s) visit(ours.theta[s], state.theta[head * l.angles + s]);
    for (std::int64_t p = 0; p < l.headdim; ++p) {
      visit(ours.x(0)[p], state.x[head * l.headdim + p]);
      for (std::int64_t n = 0; n < l.d_state; ++n) {
        visit(ours.h[n * l.wide_p + p], state.h[(head * l.headdim + p) * l.d_state + n]);
      }
    }
    for (std::int64_t r = 0; r < l.rank; ++r) {
      for (std::int64_t n = 0; n < l.d_state; ++n) {
        visit(ours.k(0)[r * l.wide_n + n], state.k[(r * l.heads + head) * l.d_state + n]);
      }
    }
  }
}

}  // namespace

LayerState mamba3_import_state(const Mamba3Config& config, const reference::Mamba3State<float>& state) {
  LayerState ours = mamba3_zero_state(config);
  auto theirs = state;
  const Mamba3Layout l(config, mamba3_chunk(config));
  each_pair(l, ours.values.data(), theirs, [](float& a, float& b) { a = b; });
  std::copy_n(ours.values.data() + l.theta, l.heads * l.angles, ours.values.data() + l.start);
  return ours;
}

reference::Mamba3State<float> mamba3_export_state(const Mamba3Config& config, const Mamba3Weights& weights,
                                                  const LayerState& state) {
  LayerState flat = state;
  cpu::mamba3_fold(config, weights, flat);
  auto theirs = reference::Mamba3State<float>::zeros(config);
  each_pair(Mamba3Layout(config, mamba3_chunk(config)), flat.values.data(), theirs,
            [](float& a, float& b) { b = a; });
  return theirs;
}

}  // namespace mamba3
