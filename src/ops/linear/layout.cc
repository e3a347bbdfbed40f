#include "ops/linear/layout.h"

#include "core/error.h"

namespace mamba3::cpu {
namespace {

struct Row {
  DType type;
  BlockFields fields;
};

// Fields with the quants come first, so that their planes begin at whole vectors.
constexpr std::array kFields = {
    Row{DType::f32, {1, 4, {{{0, 1, 4}}}}},
    Row{DType::f16, {1, 2, {{{0, 1, 2}}}}},
    Row{DType::bf16, {2, 4, {{{0, 1, 4}}}}},
    Row{DType::q8_0, {32, 34, {{{2, 8, 4}, {0, 1, 2}}}}},
    Row{DType::q4_0, {32, 18, {{{2, 4, 4}, {0, 1, 2}}}}},
    Row{DType::q4_1, {32, 20, {{{4, 4, 4}, {0, 2, 2}}}}},
    Row{DType::q5_0, {32, 22, {{{6, 4, 4}, {2, 1, 4}, {0, 1, 2}}}}},
    Row{DType::q5_1, {32, 24, {{{8, 4, 4}, {4, 1, 4}, {0, 2, 2}}}}},
    Row{DType::q4_k, {256, 144, {{{16, 32, 4}, {4, 12, 1}, {0, 2, 2}}}}},
    Row{DType::q5_k, {256, 176, {{{48, 32, 4}, {16, 8, 4}, {4, 12, 1}, {0, 2, 2}}}}},
    Row{DType::q6_k, {256, 210, {{{0, 32, 4}, {128, 16, 4}, {192, 16, 1}, {208, 1, 2}}}}},
};

const Row* find(DType type) {
  for (const Row& row : kFields) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

}  // namespace

bool has_kernels(DType type) {
  return find(type) != nullptr;
}

const BlockFields& fields_of(DType type) {
  const Row* row = find(type);
  if (row == nullptr)
    fail(ErrorCode::unsupported, "there is no product for weights of type {}", name_of(type));
  return row->fields;
}

}  // namespace mamba3::cpu
