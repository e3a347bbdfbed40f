// One step of a warp for each type of weights: 16 rows of W from a stage, times the activations.
//
// A thread's place in mma.m16n8k16: it holds values of the rows g and g + 8 of W, and of column g of the
// activations, for the inputs that its quad's thread t has (Order, thin_activations.cuh). Quantized values
// become integers in float16, which is exact; their scales multiply float32 sums.
#pragma once

#include "ops/linear/cuda/thin_activations.cuh"
#include "ops/linear/cuda/thin_stage.cuh"

namespace mamba3::cuda::thin {

/// A warp's view of the activations in shared memory (Staged). Columns that do not exist repeat the last one:
/// their sums are not stored.
template <int kMostRows>
class Activations {
 public:
  static constexpr int kColumnTiles = (kMostRows + 7) / 8;

  __device__ Activations(const Staged& at, int rows) : at_(at), rows_(kMostRows == 1 ? 1 : rows) {}
  __device__ uint4 group(int i, int c) const {
    const int lane = threadIdx.x % 32;
    return shared_load<uint4>(at_.values + (i * rows_ + column(lane / 4 + 8 * c)) * 64 + lane % 4 * 16);
  }
  __device__ uint2 sums(int block, int c) const {
    const int lane = threadIdx.x % 32;
    return shared_load<uint2>(at_.sums + (block * rows_ + column(lane / 4 + 8 * c)) * 32 + lane % 4 * 8);
  }
  /// sum += the part of a step, whose inputs are those from `first` on.
  __device__ void add_step(int first, const float (&part)[kColumnTiles][4],
                           float (&sum)[kColumnTiles][4]) const {
    const auto* scales = reinterpret_cast<const float*>(at_.scales) + first / kScaledInputs * rows_;
    for (int c = 0; c < kColumnTiles; ++c) {
      const int t = threadIdx.x % 4;
      const float scale[2] = {scales[column(2 * t + 8 * c)], scales[column(2 * t + 1 + 8 * c)]};
      for (int i = 0; i < 4; ++i) sum[c][i] += scale[i % 2] * part[c][i];
    }
  }

 private:
  __device__ int column(int n) const { return kMostRows == 1 ? 0 : min(n, rows_ - 1); }

  Staged at_;
  int rows_;
};

/// Eight values of the row g and of the row g + 8: two left operands.
struct Weights {
  std::uint32_t low[4], high[4];
  __device__ std::uint32_t* row(int half) { return half == 0 ? low : high; }
};

template <bool kHalf>
__device__ inline void multiply_first(float (&c)[4], const Weights& w, const uint4& x) {
  multiply_add<kHalf>(c, w.low[0], w.high[0], w.low[1], w.high[1], x.x, x.y);
}
template <bool kHalf>
__device__ inline void multiply_second(float (&c)[4], const Weights& w, const uint4& x) {
  multiply_add<kHalf>(c, w.low[2], w.high[2], w.low[3], w.high[3], x.z, x.w);
}

/// c += scale[0] sum for the row g, scale[1] sum for g + 8.
__device__ inline void add_scaled(float (&c)[4], const float (&scale)[2], const float (&sum)[4]) {
  c[0] += scale[0] * sum[0];
  c[1] += scale[0] * sum[1];
  c[2] += scale[1] * sum[2];
  c[3] += scale[1] * sum[3];
}

/// The four bytes of a word, unsigned, less kBias: the byte under float16's 1024, whose last bit counts 1.
template <int kBias>
__device__ inline void bytes_to_halves(std::uint32_t bytes, std::uint32_t* to) {
  const __half2 bias = __float2half2_rn(-(1024.0f + kBias));
  to[0] = as_bits(__hadd2(as_half2(__byte_perm(bytes, 0x64646464, 0x4140)), bias));
  to[1] = as_bits(__hadd2(as_half2(__byte_perm(bytes, 0x64646464, 0x4342)), bias));
}

__device__ inline float low_half(std::uint32_t pair) {
  return __low2float(as_half2(pair));
}
__device__ inline float high_half(std::uint32_t pair) {
  return __high2float(as_half2(pair));
}

struct Place {
  int g, t;
  __device__ Place() : g(threadIdx.x % 32 / 4), t(threadIdx.x % 4) {}
};

/// What a decoder is: the order in which it takes inputs, whether it needs sums of activations, and add():
/// sum += 16 rows of a stage, which holds the inputs of step `step`, times the activations, without their
/// scales. `rows`: the thread's two rows in the matrix.
template <DType kType>
struct Decoder;

template <bool kFloat16, DType kType>
struct PlainDecoder {
  static constexpr bool kHalf = kFloat16;
  static constexpr Order kOrder = Order::eights;
  static constexpr bool kSums = false;

  template <int kMostRows, int kColumnTiles>
  static __device__ void add(const std::byte* stage, const Activations<kMostRows>& x, int step, const int*,
                             int, float (&sum)[kColumnTiles][4]) {
    const Place at;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const auto low = shared_load<uint4>(stage + swizzled<kType>(at.g, 4 * i + at.t));
      const auto high = shared_load<uint4>(stage + swizzled<kType>(at.g + 8, 4 * i + at.t));
      const Weights w = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const uint4 column = x.group(2 * step + i, c);
        multiply_first<kHalf>(sum[c], w, column);
        multiply_second<kHalf>(sum[c], w, column);
      }
    }
  }
};
template <>
struct Decoder<DType::bf16> : PlainDecoder<false, DType::bf16> {};
template <>
struct Decoder<DType::f16> : PlainDecoder<true, DType::f16> {};

template <>
struct Decoder<DType::q8_0> {
  static constexpr bool kHalf = true;
  static constexpr Order kOrder = Order::eights;
  static constexpr bool kSums = false;

  template <int kMostRows, int kColumnTiles>
  static __device__ void add(const std::byte* stage, const Activations<kMostRows>& x, int step, const int*,
                             int, float (&sum)[kColumnTiles][4]) {
    constexpr int kScales = staged_at(DType::q8_0, 0), kValues = staged_at(DType::q8_0, 1);
    const Place at;
    Words2 d[2];
    for (int r = 0; r < 2; ++r) d[r] = shared_load<Words2>(stage + kScales + (at.g + 8 * r) * 8);
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      Weights w;
      float scale[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const auto bytes = shared_load<Words2>(
            stage + kValues + swizzled<DType::q8_0>(at.g + 8 * r, 2 * b + at.t / 2) + at.t % 2 * 8);
        bytes_to_halves<128>(bytes.x ^ 0x80808080, w.row(r));
        bytes_to_halves<128>(bytes.y ^ 0x80808080, w.row(r) + 2);
        const std::uint32_t pair = b < 2 ? d[r].x : d[r].y;
        scale[r] = b % 2 == 0 ? low_half(pair) : high_half(pair);
      }
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const uint4 column = x.group(4 * step + b, c);
        float group[4] = {};
        multiply_first<kHalf>(group, w, column);
        multiply_second<kHalf>(group, w, column);
        add_scaled(sum[c], scale, group);
      }
    }
  }
};

/// c += offsets [16 rows, 8 groups] times the sums of 8 groups of activations, high and low parts; `offsets`
/// are those of the groups 2 t and 2 t + 1, of the rows g and g + 8.
__device__ inline void add_offsets(float (&c)[4], const std::uint32_t (&offsets)[2], const uint2& sums) {
  multiply_add<true>(c, offsets[0], offsets[1], offsets[0], offsets[1], sums.x, sums.y);
}

/// Q4_0, Q4_1, Q5_0 and Q5_1.
template <DType kType, bool kFive, bool kOffset>
struct SimpleDecoder {
  static constexpr bool kHalf = true;
  static constexpr Order kOrder = Order::fours;
  static constexpr bool kSums = kOffset;
  static constexpr int kScaleBytes = kOffset ? 4 : 2;
  static constexpr int kBias = kOffset ? 0 : (kFive ? 16 : 8);
  static constexpr int kFifths = staged_at(kType, 1), kValues = staged_at(kType, kFive ? 2 : 1);

  // Four bits, one to the fifth bit of each byte: the multiplication puts bit i at bit 8 i.
  static __device__ std::uint32_t fifths(std::uint32_t bits) {
    return ((bits & 0xf) * 0x00204081 & 0x01010101) << 4;
  }
  static __device__ float scale_of(const std::byte* stage, int row, int b) {
    const std::byte* at = stage + row * 8 * kScaleBytes + b * kScaleBytes;
    return __half2float(shared_load<__half>(at));
  }

  template <int kMostRows, int kColumnTiles>
  static __device__ void add(const std::byte* stage, const Activations<kMostRows>& x, int step, const int*,
                             int, float (&sum)[kColumnTiles][4]) {
    const Place at;
#pragma unroll 2
    for (int b = 0; b < 8; ++b) {
      Weights w;
      float scale[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = at.g + 8 * r;
        const auto bits = shared_load<std::uint32_t>(stage + kValues + swizzled<kType>(row, b) + at.t * 4);
        std::uint32_t low = bits & 0x0f0f0f0f, high = bits >> 4 & 0x0f0f0f0f;
        if constexpr (kFive) {
          const auto fifth = shared_load<std::uint32_t>(stage + kFifths + row * 32 + b * 4) >> at.t * 4;
          low |= fifths(fifth);
          high |= fifths(fifth >> 16);
        }
        bytes_to_halves<kBias>(low, w.row(r));
        bytes_to_halves<kBias>(high, w.row(r) + 2);
        scale[r] = scale_of(stage, row, b);
      }
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const uint4 column = x.group(8 * step + b, c);
        float group[4] = {};
        multiply_first<true>(group, w, column);
        multiply_second<true>(group, w, column);
        add_scaled(sum[c], scale, group);
      }
    }
    if constexpr (kOffset) {
      std::uint32_t offsets[2];
      for (int r = 0; r < 2; ++r) {
        const auto pairs = shared_load<Words2>(stage + (at.g + 8 * r) * 32 + at.t * 8);
        offsets[r] = __byte_perm(pairs.x, pairs.y, 0x7632);
      }
      for (int c = 0; c < kColumnTiles; ++c) add_offsets(sum[c], offsets, x.sums(step, c));
    }
  }
};
template <>
struct Decoder<DType::q4_0> : SimpleDecoder<DType::q4_0, false, false> {};
template <>
struct Decoder<DType::q4_1> : SimpleDecoder<DType::q4_1, false, true> {};
template <>
struct Decoder<DType::q5_0> : SimpleDecoder<DType::q5_0, true, false> {};
template <>
struct Decoder<DType::q5_1> : SimpleDecoder<DType::q5_1, true, true> {};

/// Q4_K and Q5_K. Their quants are not cleared of what makes them float16: 1024 + q for the even groups of
/// 32, which have the low halves of bytes, 1024 + 16 q for the odd ones. The groups' sums of activations take
/// that away again, together with the minima.
template <DType kType, bool kFive>
struct SuperDecoder {
  static constexpr bool kHalf = true;
  static constexpr Order kOrder = Order::exchanged_eights;
  static constexpr bool kSums = true;
  static constexpr int kFifths = staged_at(kType, 1), kValues = staged_at(kType, kFive ? 2 : 1);

  /// A row's header: d and dmin, and the 6-bit numbers of the groups 0 to 3 and 4 to 7, one to a byte.
  struct Header {
    float d, dmin;
    std::uint32_t scales[2], mins[2];
    __device__ explicit Header(const uint4& bits)
        : d(low_half(bits.x)),
          dmin(high_half(bits.x)),
          scales{bits.y & 0x3f3f3f3f, (bits.w & 0x0f0f0f0f) | (bits.y >> 2 & 0x30303030)},
          mins{bits.z & 0x3f3f3f3f, (bits.w >> 4 & 0x0f0f0f0f) | (bits.z >> 2 & 0x30303030)} {}
    /// factor times the scale of a group; the byte becomes a float as 2^23 and itself.
    __device__ float scale(int group, float factor) const {
      const float under = __uint_as_float(__byte_perm(scales[group / 4], 0x4b000000, 0x7440 + group % 4));
      return fmaf(under, factor, -8388608.0f * factor);
    }
    /// The numbers of the groups 2 t and 2 t + 1.
    static __device__ __half2 pair_of(const std::uint32_t (&bytes)[2], int t) {
      const std::uint32_t four = t < 2 ? bytes[0] : bytes[1];
      const std::uint32_t under = __byte_perm(four, 0x64646464, t % 2 == 0 ? 0x4140 : 0x4342);
      return __hadd2(as_half2(under), __float2half2_rn(-1024));
    }
    __device__ std::uint32_t mins_of(int t) const { return as_bits(pair_of(mins, t)); }
    /// In units of 64 d: what 1024 adds to an even group is 16 scale, to an odd one, counted 16 times, scale.
    __device__ std::uint32_t excess_of(int t) const {
      return as_bits(__hmul2(pair_of(scales, t), __floats2half2_rn(16, 1)));
    }
  };

  /// Bytes 0 and 2, then 1 and 3: their halves of four bits, and a fifth bit, in float16's mantissa.
  static __device__ void to_halves(std::uint32_t bytes, std::uint32_t fifths, int group, std::uint32_t* to) {
    const int shift = group % 2 * 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      to[i] = and_or(bytes >> 8 * i, 0x000f000fu << shift, 0x64006400);
      if constexpr (kFive) to[i] |= (fifths >> (8 * i + group) & 0x00010001u) << (4 + shift);
    }
  }

  template <int kMostRows, int kColumnTiles>
  static __device__ void add(const std::byte* stage, const Activations<kMostRows>& x, int step, const int*,
                             int, float (&sum)[kColumnTiles][4]) {
    const Place at;
    const Header header[2] = {Header(shared_load<uint4>(stage + at.g * 16)),
                              Header(shared_load<uint4>(stage + at.g * 16 + 128))};
    const std::uint32_t mins[2] = {header[0].mins_of(at.t), header[1].mins_of(at.t)};
    const std::uint32_t excess[2] = {header[0].excess_of(at.t), header[1].excess_of(at.t)};
    const float dmin[2] = {-header[0].dmin, -header[1].dmin};
    const float d64[2] = {-64 * header[0].d, -64 * header[1].d};
#pragma unroll
    for (int c = 0; c < kColumnTiles; ++c) {
      float minus[4] = {}, over[4] = {};
      add_offsets(minus, mins, x.sums(step, c));
      add_offsets(over, excess, x.sums(step, c));
      add_scaled(sum[c], dmin, minus);
      add_scaled(sum[c], d64, over);
    }
    Words2 fifths[2] = {};
    if constexpr (kFive) {
      for (int r = 0; r < 2; ++r) {
        fifths[r] = shared_load<Words2>(stage + kFifths + (at.g + 8 * r) * 32 + at.t * 8);
      }
    }
#pragma unroll
    for (int u = 0; u < 4; ++u) {  // two groups share 32 bytes
      Words2 bits[2];
      for (int r = 0; r < 2; ++r) {
        bits[r] = shared_load<Words2>(stage + kValues + swizzled<kType>(at.g + 8 * r, 2 * u + at.t / 2) +
                                      at.t % 2 * 8);
      }
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int group = 2 * u + odd;
        Weights w;
        float scale[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          to_halves(bits[r].x, fifths[r].x, group, w.row(r));
          to_halves(bits[r].y, fifths[r].y, group, w.row(r) + 2);
          scale[r] = header[r].scale(group, odd == 0 ? header[r].d : header[r].d / 16);
        }
#pragma unroll
        for (int c = 0; c < kColumnTiles; ++c) {
          const uint4 column = x.group(8 * step + group, c);
          float part[4] = {};
          multiply_first<true>(part, w, column);
          multiply_second<true>(part, w, column);
          add_scaled(sum[c], scale, part);
        }
      }
    }
  }
};
template <>
struct Decoder<DType::q4_k> : SuperDecoder<DType::q4_k, false> {};
template <>
struct Decoder<DType::q5_k> : SuperDecoder<DType::q5_k, true> {};

template <>
struct Decoder<DType::q6_k> {
  static constexpr DType kType = DType::q6_k;
  static constexpr bool kHalf = true;
  static constexpr Order kOrder = Order::fours;
  static constexpr bool kSums = false;
  static constexpr int kHigh = staged_at(kType, 1), kScales = staged_at(kType, 2), kD = staged_at(kType, 3);

  template <int kMostRows, int kColumnTiles>
  static __device__ void add(const std::byte* stage, const Activations<kMostRows>& x, int step,
                             const int* rows, int blocks, float (&sum)[kColumnTiles][4]) {
    const Place at;
    float d[2];
    for (int r = 0; r < 2; ++r) {  // the fetched pair has it first or second
      const auto pair = shared_load<std::uint32_t>(stage + kD + (at.g + 8 * r) * 4);
      d[r] = (rows[r] * blocks + step) % 2 == 0 ? low_half(pair) : high_half(pair);
    }
#pragma unroll 2
    for (int group = 0; group < 8; ++group) {
      const int half = group / 4, quarter = group % 4;
      Weights w;
      float scale[2][2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = at.g + 8 * r;
#pragma unroll
        for (int i = 0; i < 2; ++i) {  // 16 inputs have a scale
          const auto low = shared_load<std::uint32_t>(
              stage + swizzled<kType>(row, 4 * half + 2 * (quarter % 2) + i) + at.t * 4);
          const auto high =
              shared_load<std::uint32_t>(stage + kHigh + row * 64 + half * 32 + i * 16 + at.t * 4);
          const std::uint32_t bytes =
              (low >> quarter / 2 * 4 & 0x0f0f0f0f) | (high >> 2 * quarter & 0x03030303) << 4;
          bytes_to_halves<32>(bytes, w.row(r) + 2 * i);
          const auto code = shared_load<std::int8_t>(stage + kScales + row * 16 + group * 2 + i);
          scale[i][r] = d[r] * static_cast<float>(code);
        }
      }
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const uint4 column = x.group(8 * step + group, c);
        float first[4] = {}, second[4] = {};
        multiply_first<true>(first, w, column);
        multiply_second<true>(second, w, column);
        add_scaled(sum[c], scale[0], first);
        add_scaled(sum[c], scale[1], second);
      }
    }
  }
};

}  // namespace mamba3::cuda::thin
