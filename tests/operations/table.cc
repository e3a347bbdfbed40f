#include "table.h"

#include <hwy/targets.h>

#include "ops/linear/kernels_cpu.h"

namespace mamba3::test {
namespace {

const std::vector<DType> kWeights = {DType::f32,  DType::f16,  DType::bf16, DType::q8_0,
                                     DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                                     DType::q4_k, DType::q5_k, DType::q6_k};

Mamba3Config config(std::int64_t d_model, std::int64_t headdim, std::int64_t d_state, std::int64_t groups,
                    double rope) {
  Mamba3Config c;
  c.d_model = d_model;
  c.headdim = headdim;
  c.d_state = d_state;
  c.ngroups = groups;
  c.rope_fraction = rope;
  return c;
}

Mamba3Config softplus(Mamba3Config c, double floor) {
  c.A_activation = AActivation::softplus;
  c.A_floor = floor;
  return c;
}

Mamba3Config normed(Mamba3Config c) {
  c.is_outproj_norm = true;
  return c;
}

Mamba3Config mimo(Mamba3Config c, std::int64_t rank) {
  c.is_mimo = true;
  c.mimo_rank = rank;
  return c;
}

bool fills_blocks(DType type, std::int64_t cols) {
  return cols % block_of(type).elements == 0;
}

}  // namespace

bool takes(DType type, const LinearShape& s) {
  return fills_blocks(type, s.inputs);
}
bool takes(DType type, const EmbeddingShape& s) {
  return fills_blocks(type, s.width);
}
bool takes(DType type, const CrossEntropyShape& s) {
  return fills_blocks(type, s.width);
}
bool takes(DType type, const MlpShape& s) {
  return fills_blocks(type, s.d_model) && fills_blocks(type, s.width);
}
bool takes(DType type, const Mamba3Shape& s) {
  return fills_blocks(type, s.config.d_model) && fills_blocks(type, s.config.d_inner());
}

// Tiles are 16 outputs, groups of them 64; vectors 4, 8 or 16 outputs; rows go by up to 6 and by blocks of
// 128; quantized inputs by 256; from 20,000 multiplications on the threads share them.
const Operation<LinearShape>& linear_row() {
  static const Operation<LinearShape> row{kWeights,
                                          {{1, 1, 1},
                                           {1, 3, 32},
                                           {3, 5, 17},
                                           {2, 16, 64},
                                           {5, 15, 15},
                                           {6, 17, 96},
                                           {7, 193, 96},
                                           {4, 64, 256},
                                           {1, 1027, 33},
                                           {2, 63, 1056},
                                           {9, 80, 512},
                                           {64, 65, 384},
                                           {129, 113, 768},
                                           {300, 40, 47}}};
  return row;
}

const Operation<NormShape>& norm_row() {
  static const Operation<NormShape> row{{},
                                        {{1, 1, false},
                                         {3, 5, false},
                                         {2, 16, false},
                                         {5, 17, false},
                                         {1, 130, false},
                                         {64, 384, false},
                                         {2, 2048, false},
                                         {1, 2, true},
                                         {3, 5, true},
                                         {2, 16, true},
                                         {5, 33, true},
                                         {64, 384, true},
                                         {2, 2049, true}}};
  return row;
}

const Operation<SwigluShape>& swiglu_row() {
  static const Operation<SwigluShape> row{{}, {{1}, {3}, {4}, {15}, {16}, {17}, {63}, {1000}}};
  return row;
}

const Operation<EmbeddingShape>& embedding_row() {
  static const Operation<EmbeddingShape> row{kWeights, {{7, 1}, {13, 5}, {61, 32}, {5, 33}, {3, 384}}};
  return row;
}

// The head is walked in slices of 2,048 rows.
const Operation<CrossEntropyShape>& cross_entropy_row() {
  static const Operation<CrossEntropyShape> row{
      kWeights, {{1, 1, 32}, {1, 61, 33}, {5, 2047, 32}, {3, 2048, 17}, {130, 2049, 32}, {2, 4097, 256}}};
  return row;
}

const Operation<MlpShape>& mlp_row() {
  static const Operation<MlpShape> row{
      kWeights, {{1, 32, 64}, {1, 5, 7}, {17, 33, 65}, {65, 64, 96}, {3, 256, 512}, {130, 32, 384}}};
  return row;
}

const Operation<Mamba3Shape>& mamba3_row() {
  // d_model, headdim, d_state, groups, rope_fraction; tokens, first, resumed.
  static const Operation<Mamba3Shape> row{
      kWeights,
      {{"plain", config(32, 16, 16, 1, 0.5), 130},
       {"one token", config(32, 16, 16, 1, 0.5), 1, 0, true},
       {"odd widths", config(20, 5, 18, 2, 0.25), 65},
       {"softplus and floor", softplus(config(32, 16, 32, 2, 0.5), 0.7), 64, 1},
       {"norm", normed(config(33, 11, 34, 1, 0.5)), 15, 49},
       {"no rotation", config(32, 32, 16, 1, 0), 63, 5, true},
       {"whole rotation", config(32, 16, 48, 4, 1), 17, 15, true},
       {"released head", config(64, 64, 128, 1, 0.5), 66, 62},
       {"wide", normed(config(64, 128, 256, 1, 0.5)), 16, 0, true},
       {"rank 1", mimo(config(32, 16, 16, 1, 0.5), 1), 65},
       {"rank 2", mimo(config(32, 16, 16, 2, 1), 2), 64, 30, true},
       {"rank 3", mimo(normed(config(20, 5, 18, 2, 0.5)), 3), 63},
       {"rank 4", mimo(config(32, 16, 64, 1, 0.5), 4), 130, 3},
       {"rank 4, released head", mimo(config(64, 64, 128, 1, 0.5), 4), 17, 15, true},
       {"rank 5", mimo(softplus(config(32, 32, 16, 1, 0.25), 1e-4), 5), 16},
       {"rank 6", mimo(config(32, 16, 34, 2, 0), 6), 15, 9, true},
       {"rank 7", mimo(config(32, 8, 16, 1, 0.5), 7), 17},
       {"rank 8", mimo(normed(config(32, 16, 32, 2, 0.5)), 8), 33, 60, true}}};
  return row;
}

std::vector<Backend> backends() {
  std::vector<Backend> all;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    all.push_back({Device::cpu, target, false, std::string("cpu_") + hwy::TargetName(target)});
  }
  if (cpu::has_bf16_product() || cpu::has_int8_product()) {
    all.push_back({Device::cpu, HWY_AVX3, true, "cpu_AVX3_with_dot_products"});
  }
  all.push_back({Device::cuda, 0, false, "cuda"});
  return all;
}

std::ostream& operator<<(std::ostream& out, const LinearShape& s) {
  return out << s.rows << " rows, " << s.inputs << " to " << s.outputs;
}
std::ostream& operator<<(std::ostream& out, const NormShape& s) {
  return out << s.rows << " rows of " << s.width << (s.layer_norm ? ", LayerNorm" : ", RMSNorm");
}
std::ostream& operator<<(std::ostream& out, const SwigluShape& s) {
  return out << s.count << " values";
}
std::ostream& operator<<(std::ostream& out, const EmbeddingShape& s) {
  return out << "table of " << s.vocab << " x " << s.width;
}
std::ostream& operator<<(std::ostream& out, const CrossEntropyShape& s) {
  return out << s.tokens << " tokens, head " << s.vocab << " x " << s.width;
}
std::ostream& operator<<(std::ostream& out, const MlpShape& s) {
  return out << s.tokens << " tokens, d_model " << s.d_model << ", width " << s.width;
}
std::ostream& operator<<(std::ostream& out, const Mamba3Shape& s) {
  return out << s.name << ", " << s.tokens << " tokens from " << s.first << (s.resumed ? ", resumed" : "");
}

}  // namespace mamba3::test
