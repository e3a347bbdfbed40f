// How the scan is cut into blocks.
#include <algorithm>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/cuda/scan_launch.cuh"
#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3::cuda {
namespace {

using scan::kRows;

std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

std::int64_t multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "asking for multiprocessors");
  return count;
}

// Blocks that share a head: 64 values of P each.
int slices(const Mamba3Config& c) {
  return c.headdim > 64 ? static_cast<int>(c.headdim / 64) : 1;
}

// Ranks as the kernels pad them.
int padded_ranks(const Mamba3Config& c) {
  return !c.is_mimo ? 1 : c.rank() <= 4 ? 4 : 8;
}

// Blocks that run on a multiprocessor at a time.
constexpr std::int64_t kResident = 3;

// Tokens of a segment, in whole chunks: as many segments as fill the device once; whole sequences where a
// segment would be more than half of one, since cutting costs a second pass over the keys.
std::int64_t segment_tokens(const Mamba3Config& c, const ScanSequences& s) {
  const std::int64_t chunk = kRows / padded_ranks(c), heads = c.n_heads() * slices(c);
  const std::int64_t segments = std::max<std::int64_t>(1, kResident * multiprocessors() / heads);
  const std::int64_t segment = round_up((s.total + segments - 1) / segments, chunk);
  return 2 * segment > s.longest ? round_up(s.longest, chunk) : segment;
}

// Floats of a head's part of a slot: the state, with its columns padded, and angles and decay
// (scan_state.cuh).
std::int64_t slot_size(const Mamba3Config& c) {
  return round_up(c.d_state, scan::kColumns) * c.headdim + round_up(c.n_angles() + 1, 4);
}

}  // namespace

bool scan_fits(const Mamba3Config& c) {
  // The norm is over a whole head, which two blocks share at 128.
  const bool headdim = c.headdim == 32 || c.headdim == 64 || (c.headdim == 128 && !c.is_outproj_norm);
  return headdim && c.d_state % 16 == 0 && c.d_state >= 16 && c.d_state <= 256 && c.rank() <= 8;
}

std::size_t scan_workspace_bytes(const Mamba3Config& c, const ScanSequences& s) {
  const std::int64_t segment = segment_tokens(c, s);
  if (segment >= s.longest && slices(c) == 1) return 0;
  const std::int64_t slots = s.total / segment + s.count;
  return static_cast<std::size_t>(slots * c.n_heads() * slot_size(c)) * sizeof(float);
}

void scan_forward(const Mamba3Config& c, const ScanInput& input, const Mamba3Parameters& parameters,
                  const ScanSequences& sequences, __nv_bfloat16* out, void* workspace, cudaStream_t stream) {
  if (sequences.count == 0 || sequences.longest == 0) return;
  const Mamba3Layout layout(c, mamba3_chunk(c));
  const std::int64_t segment = segment_tokens(c, sequences);
  scan::Arguments a{};
  a.in = input, a.parameters = parameters, a.out = out;
  a.cu_seqlens = sequences.cu_seqlens, a.states = sequences.states, a.state_offset = sequences.state_offset;
  a.heads = static_cast<int>(c.n_heads()), a.headdim = static_cast<int>(c.headdim);
  a.d_state = static_cast<int>(c.d_state), a.rank = static_cast<int>(c.rank());
  a.ngroups = static_cast<int>(c.ngroups), a.angles = static_cast<int>(c.n_angles());
  a.segment = static_cast<int>(segment), a.slices = slices(c);
  a.bc_bytes = static_cast<int>(2 * input.bc_stride), a.zx_bytes = static_cast<int>(2 * input.zx_stride);
  a.slots = static_cast<float*>(workspace), a.slot_size = slot_size(c);
  a.theta = layout.theta, a.start = layout.start, a.h = layout.h, a.tokens = layout.tokens;
  a.head_tokens = (1 + layout.chunk) * layout.token;
  a.wide_n = static_cast<int>(layout.wide_n), a.wide_p = static_cast<int>(layout.wide_p);
  const scan::Launch shape{static_cast<int>(sequences.count),
                           static_cast<int>((sequences.longest + segment - 1) / segment)};
  switch (padded_ranks(c)) {
    case 1:
      return scan::launch<1>(a, shape, stream);
    case 4:
      return scan::launch<4>(a, shape, stream);
    default:
      return scan::launch<8>(a, shape, stream);
  }
}

}  // namespace mamba3::cuda
