// The one table of operations: what each is tried with, on every backend. Bodies are in *_test.cc beside it.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "mixers/mamba3/config.h"

namespace mamba3::test {

/// Shapes of linear: x [rows, inputs] to y [rows, outputs].
struct LinearShape {
  std::int64_t rows, outputs, inputs;
};

struct NormShape {
  std::int64_t rows, width;
  bool layer_norm;  ///< with a bias
};

struct SwigluShape {
  std::int64_t count;
};

struct EmbeddingShape {
  std::int64_t vocab, width;
};

struct CrossEntropyShape {
  std::int64_t tokens, vocab, width;
};

struct MlpShape {
  std::int64_t tokens, d_model, width;
};

/// A mixer over `tokens` tokens from absolute position `first`; `resumed`: from a random state, else from
/// zeros.
struct Mamba3Shape {
  std::string name;
  Mamba3Config config;
  std::int64_t tokens;
  std::int64_t first = 0;
  bool resumed = false;
};

std::ostream& operator<<(std::ostream& out, const LinearShape& s);
std::ostream& operator<<(std::ostream& out, const NormShape& s);
std::ostream& operator<<(std::ostream& out, const SwigluShape& s);
std::ostream& operator<<(std::ostream& out, const EmbeddingShape& s);
std::ostream& operator<<(std::ostream& out, const CrossEntropyShape& s);
std::ostream& operator<<(std::ostream& out, const MlpShape& s);
std::ostream& operator<<(std::ostream& out, const Mamba3Shape& s);

/// Whether weights of this type can have such rows: quantized types have blocks of 32 or 256.
bool takes(DType type, const LinearShape& shape);
bool takes(DType type, const EmbeddingShape& shape);
bool takes(DType type, const CrossEntropyShape& shape);
bool takes(DType type, const MlpShape& shape);
bool takes(DType type, const Mamba3Shape& shape);

/// One row of the table. `types` are those of its stored weights; empty: it has none but float32.
template <typename Shape>
struct Operation {
  std::vector<DType> types;
  std::vector<Shape> shapes;
};

const Operation<LinearShape>& linear_row();
const Operation<NormShape>& norm_row();
const Operation<SwigluShape>& swiglu_row();
const Operation<EmbeddingShape>& embedding_row();
const Operation<CrossEntropyShape>& cross_entropy_row();
const Operation<MlpShape>& mlp_row();
const Operation<Mamba3Shape>& mamba3_row();  ///< scan, forward and step alike

/// Where a row runs: a device and, on the CPU, one of the instruction sets that this machine has.
struct Backend {
  Device device = Device::cpu;
  std::int64_t instructions = 0;  ///< a Highway target
  bool dots = false;              ///< with dot product instructions beyond it
  std::string name;
};

std::vector<Backend> backends();

}  // namespace mamba3::test
