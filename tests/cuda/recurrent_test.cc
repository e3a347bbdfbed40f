// The scan token by token over packed sequences, and over rows in bf16.
#include "mixers/mamba3/cuda/recurrent_cuda.h"

#include "mixers/mamba3/mamba3.h"
#include "on_cuda.h"
#include "operations/table.h"

namespace mamba3::test {
namespace {

constexpr std::int32_t kSeqlens[] = {0, 1, 20, 20, 37, 70};
constexpr std::int64_t kSequences = std::ssize(kSeqlens) - 1, kRows = kSeqlens[kSequences];

// What a layer's scan takes, rows rounded to bf16, for sequences of a random past.
struct ScanCase {
  Mamba3Config config;
  Mamba3Layout layout;
  Bf16s projected;
  Floats adt, dt, trap, rate, B_bias, C_bias, D, mimo_x, mimo_z, mimo_o, norm;
  std::vector<Floats> states;

  explicit ScanCase(const Mamba3Config& c) : config(c), layout(c, mamba3_chunk(c)) {
    const auto H = c.n_heads(), RN = c.rank() * c.d_state, RP = c.rank() * c.headdim;
    Draw draw(4);
    projected = rounded(draw(kRows * c.in_rows()));
    adt = draw(kRows * H), dt = draw(kRows * H, 0.02, 0.12), trap = draw(kRows * H);
    rate = draw(kRows * c.n_angles(), 2);
    for (float& v : adt) v = -0.3f * v * v;
    B_bias = draw(H * RN, 0.3, 1), C_bias = draw(H * RN, 0.3, 1), D = draw(H);
    if (c.is_mimo) mimo_x = draw(H * RP), mimo_z = draw(H * RP), mimo_o = draw(H * RP);
    if (c.is_outproj_norm) norm = draw(c.d_inner(), 0.2, 1);
    for (std::int64_t i = 0; i < kSequences; ++i) {
      const LayerState zero = mamba3_zero_state(c);
      Floats& state = states.emplace_back(zero.values.begin(), zero.values.end());
      for (std::int64_t at = layout.h; at < layout.tokens; ++at) {
        if (at % layout.wide_p < layout.headdim) state[at] = draw(1, 0.3)[0];
      }
    }
  }
};

struct Result {
  Floats out, y;
  std::vector<Floats> states;
};

class CudaRecurrent : public OnCuda {
 protected:
  template <typename Row, typename Stored>
  Result run(const ScanCase& given, const std::vector<Stored>& projected,
             const std::vector<std::int32_t>& seqlens, std::int64_t first) {
    const Mamba3Config& c = given.config;
    const auto E = c.d_inner(), width = c.rank() * E, sequences = std::ssize(seqlens) - 1;
    const auto* z = reinterpret_cast<const Row*>(up(projected));
    auto* out = unwritten_up<Stored>(kRows * E);
    cuda::RecurrentRows<Row> rows{.z = z,
                                  .x = z + E,
                                  .B = z + 2 * E,
                                  .C = z + 2 * E + c.bc_width(),
                                  .adt = up(given.adt),
                                  .dt = up(given.dt),
                                  .trap = up(given.trap),
                                  .rate = up(given.rate),
                                  .zx_stride = c.in_rows(),
                                  .bc_stride = c.in_rows(),
                                  .out = reinterpret_cast<Row*>(out),
                                  .y = unwritten_up<float>(kRows * width)};
    const cuda::Mamba3Parameters weights{.B_bias = up(given.B_bias),
                                         .C_bias = up(given.C_bias),
                                         .D = up(given.D),
                                         .mimo_x = or_null(given.mimo_x),
                                         .mimo_z = or_null(given.mimo_z),
                                         .mimo_o = or_null(given.mimo_o),
                                         .norm = or_null(given.norm)};
    std::vector<float*> states;
    for (std::int64_t i = 0; i < sequences; ++i) states.push_back(up(given.states[first + i]));
    cuda::mamba3_recurrent(c, given.layout, weights, rows, {sequences, up(seqlens), up(states), 0}, stream);
    Result result{floats(down(out, kRows * E)), down(rows.y, kRows * width), {}};
    for (const float* state : states) result.states.push_back(down(state, given.layout.size));
    return result;
  }

 private:
  float* or_null(const Floats& values) { return values.empty() ? nullptr : up(values); }
  static Floats floats(const Floats& values) { return values; }
  static Floats floats(const Bf16s& bits) { return widened(bits); }
};

TEST_F(CudaRecurrent, PackedSequencesAreThoseOfEach) {
  for (const Mamba3Shape& shape : mamba3_row().shapes) {
    SCOPED_TRACE(shape.name);
    const ScanCase given(shape.config);
    const Floats projected = widened(given.projected);
    const Result packed = run<float>(given, projected, {std::begin(kSeqlens), std::end(kSeqlens)}, 0);
    for (std::int64_t i = 0; i < kSequences; ++i) {
      const std::int64_t first = kSeqlens[i], tokens = kSeqlens[i + 1] - first, E = shape.config.d_inner();
      const Result alone = run<float>(given, projected, {kSeqlens[i], kSeqlens[i + 1]}, i);
      EXPECT_TRUE(same_bits(rows_of(packed.out, E, first, tokens), rows_of(alone.out, E, first, tokens)));
      EXPECT_TRUE(same_bits(packed.states[i], alone.states[0]));
      if (tokens > 0) continue;
      EXPECT_TRUE(same_bits(packed.states[i], given.states[i]));
    }
  }
}

// The rows' values are the same, and all else is float32: so only what is written is rounded.
TEST_F(CudaRecurrent, RowsInBf16GiveTheSameBits) {
  for (const Mamba3Shape& shape : mamba3_row().shapes) {
    SCOPED_TRACE(shape.name);
    const ScanCase given(shape.config);
    const std::vector<std::int32_t> seqlens(std::begin(kSeqlens), std::end(kSeqlens));
    const Result expected = run<float>(given, widened(given.projected), seqlens, 0);
    const Result found = run<__nv_bfloat16>(given, given.projected, seqlens, 0);
    EXPECT_TRUE(same_bits(found.y, expected.y));
    EXPECT_TRUE(same_bits(found.out, widened(rounded(expected.out))));
    for (std::int64_t i = 0; i < kSequences; ++i) {
      EXPECT_TRUE(same_bits(found.states[i], expected.states[i])) << "sequence " << i;
    }
  }
}

}  // namespace
}  // namespace mamba3::test
