// Models of named shapes with seeded random weights: for measurements, without a file.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/splitmix.h"
#include "core/threads.h"
#include "model/checkpoint.h"

namespace mamba3 {
namespace {

struct NamedShape {
  std::string_view name;
  std::int64_t d_model, n_layer, ffn_width, rank;
};

// Specification, "Released sizes": vocabulary 128,256, tied head, headdim 64, d_state 128.
constexpr std::array kShapes = {
    NamedShape{"mamba3-siso-187m", 768, 12, 1536, 1},  NamedShape{"mamba3-mimo-187m", 768, 12, 1280, 4},
    NamedShape{"mamba3-siso-500m", 1024, 24, 2816, 1}, NamedShape{"mamba3-siso-1.5b", 2048, 24, 4096, 1},
    NamedShape{"mamba3-mimo-1.5b", 2048, 24, 3840, 4},
};

ModelConfig config_of(const NamedShape& shape) {
  ModelConfig c;
  c.d_model = shape.d_model;
  c.n_layer = shape.n_layer;
  c.vocab_size = 128'256;
  c.d_intermediate = c.ffn_width = shape.ffn_width;
  c.mixer.d_model = shape.d_model;
  c.mixer.is_mimo = shape.rank > 1;
  c.mixer.mimo_rank = shape.rank > 1 ? shape.rank : 4;
  c.chunk_size = shape.rank > 1 ? 16 : 64;
  return c;
}

// Mean 0, variance 1: the sum of four 16-bit uniforms is near enough to a normal for weights.
float bell(std::uint64_t stream, std::uint64_t i) {
  const std::uint64_t bits = random_bits(stream, i);
  const auto sum =
      static_cast<float>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
  return (sum / 65536.0f - 2.0f) * 1.7320508f;
}

// One value of a parameter (specification, end of "The layer"; PyTorch's defaults for the matrices).
float value_of(const Parameter& p, const ModelConfig& c, std::uint64_t stream, std::int64_t i) {
  const auto index = static_cast<std::uint64_t>(i);
  const auto width = static_cast<float>(p.shape.back());
  switch (p.init) {
    case Init::zeros:
      return 0;
    case Init::ones:
      return 1;
    case Init::one_over_rank:
      return 1.0f / static_cast<float>(c.mixer.rank());
    case Init::embedding:
      return 0.02f * bell(stream, index);
    case Init::fan_in:
      return bell(stream, index) / std::sqrt(3.0f * width);
    case Init::residual_out:
      return bell(stream, index) / std::sqrt(3.0f * width * static_cast<float>(c.n_layer));
    case Init::dt_bias: {  // softplus(dt_bias) is log-uniform in [1e-3, 1e-1]
      const double dt =
          std::max(1e-4, std::exp(std::log(1e-3) + random_uniform(stream, index) * std::log(100.0)));
      return static_cast<float>(std::log(std::expm1(dt)));
    }
  }
  return 0;
}

}  // namespace

std::vector<std::string> random_shapes() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

Checkpoint random_checkpoint(std::string_view name, std::uint64_t seed, DType type) {
  for (const NamedShape& shape : kShapes) {
    if (shape.name == name) return random_checkpoint(config_of(shape), name, seed, type);
  }
  fail(ErrorCode::invalid_argument, "{}: there is no such named shape; there are {}", name,
       fmt::join(random_shapes(), ", "));
}

Checkpoint random_checkpoint(const ModelConfig& config, std::string_view name, std::uint64_t seed,
                             DType type) {
  Checkpoint checkpoint;
  checkpoint.name = name;
  checkpoint.format = "random";
  checkpoint.config = config;
  checkpoint.parameters = parameter_table(config);
  for (std::size_t index = 0; index < checkpoint.parameters.size(); ++index) {
    const Parameter& p = checkpoint.parameters[index];
    const std::int64_t elements = *checked_elements(p.shape), width = p.shape.back(), rows = elements / width;
    const DType stored = p.precision == Precision::exact ? DType::f32 : fitting_type(type, width);
    const auto buffer =
        std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(*bytes_of(stored, elements)));
    const std::int64_t row_bytes = *bytes_of(stored, width);
    const std::uint64_t stream = splitmix(seed) + index;
    parallel_ranges(rows, [&](std::int64_t first, std::int64_t last) {
      std::vector<float> row(static_cast<std::size_t>(width));
      for (std::int64_t i = first; i < last; ++i) {
        for (std::int64_t j = 0; j < width; ++j) row[j] = value_of(p, config, stream, i * width + j);
        from_float(stored, row.data(), width, buffer->data() + i * row_bytes);
      }
    });
    checkpoint.tensors[p.name] = {stored, p.shape, *buffer};
    checkpoint.owners.push_back(buffer);
  }
  return checkpoint;
}

}  // namespace mamba3
