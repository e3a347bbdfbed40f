// Stands in for the CUDA backend of src/ops in a build without it: every entry says so. A build with CUDA
// leaves this folder out and compiles the .cu files beside each operation instead.
#include "no_cuda/no_cuda.h"
#include "ops/ceiling/ceiling_cuda.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/linear.h"
#include "ops/norm/norm.h"
#include "ops/swiglu/swiglu.h"

namespace mamba3::cuda {

double copy_bandwidth() {
  no_cuda();
}
double read_bandwidth() {
  no_cuda();
}
double bf16_matrix_rate() {
  no_cuda();
}
void linear(Arena&, std::span<const Product>, const float*, std::int64_t) {
  no_cuda();
}
void norm(const NormWeights&, const float*, std::int64_t, float*) {
  no_cuda();
}
void swiglu(float*, const float*, std::int64_t) {
  no_cuda();
}
void embedding(const PackedMatrix&, std::span<const std::int32_t>, float*) {
  no_cuda();
}
void cross_entropy(const Exec&, const PackedMatrix&, const float*, std::span<const std::int32_t>, double*) {
  no_cuda();
}

}  // namespace mamba3::cuda
