#include "ops/linear/cuda/gemm_cuda.h"

#include "core/error.h"

namespace mamba3::cuda {
namespace {

// Each length of a prompt is a shape. A plan takes about a kilobyte and is remade in tens of microseconds.
constexpr std::size_t kMostPlans = 4096;

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(ErrorCode::device, "device cuda: {}: {}", what, cublasLtGetStatusName(status));
}

cudaDataType_t type_of(GemmInput input) {
  switch (input) {
    case GemmInput::bf16:
      return CUDA_R_16BF;
    case GemmInput::f16:
      return CUDA_R_16F;
    case GemmInput::f32:
      return CUDA_R_32F;
  }
  return CUDA_R_32F;
}

// A descriptor of cuBLASLt, owned.
template <typename Handle, cublasStatus_t (*kDestroy)(Handle)>
struct Owned {
  Owned() = default;
  ~Owned() {
    if (handle != nullptr) kDestroy(handle);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle handle = nullptr;
};
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

struct Layout : Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> {
  // Row-major [rows, cols] is column-major [cols, rows].
  Layout(cudaDataType_t type, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
    check(cublasLtMatrixLayoutCreate(&handle, type, static_cast<std::uint64_t>(cols),
                                     static_cast<std::uint64_t>(rows), stride),
          "describing a matrix");
  }
};

template <typename T>
void prefer(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference.handle, attribute, &value, sizeof value),
        "choosing a product's algorithm");
}

}  // namespace

struct Gemm::Plan {
  explicit Plan(const GemmShape& s)
      : W(type_of(s.input), s.outputs, s.inputs, s.inputs),
        x(type_of(s.input), s.rows, s.inputs, s.x_stride == 0 ? s.inputs : s.x_stride),
        y(s.output == GemmOutput::bf16 ? CUDA_R_16BF : CUDA_R_32F, s.rows, s.outputs,
          s.y_stride == 0 ? s.outputs : s.y_stride) {
    check(cublasLtMatmulDescCreate(&operation.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "describing a product");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(operation.handle, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                         sizeof transposed),
          "describing a product");
  }

  Operation operation;  // y^T = W x^T, column-major
  Layout W, x, y;
  cublasLtMatmulAlgo_t algorithm{};
};

Gemm::Gemm(std::byte* workspace) : workspace_(workspace) {
  check(cublasLtCreate(&handle_), "starting cuBLASLt");
}

Gemm::~Gemm() {
  cublasLtDestroy(handle_);
}

const Gemm::Plan& Gemm::plan(const GemmShape& shape) {
  if (const auto found = plans_.find(shape); found != plans_.end()) return *found->second;
  auto plan = std::make_unique<Plan>(shape);
  Preference preference;
  check(cublasLtMatmulPreferenceCreate(&preference.handle), "choosing a product's algorithm");
  prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kGemmWorkspace);
  constexpr std::uint32_t kAlignment = 16;
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kAlignment);
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kAlignment);
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, kAlignment);
  prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, kAlignment);

  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, plan->operation.handle, plan->W.handle, plan->x.handle,
                                     plan->y.handle, plan->y.handle, preference.handle, 1, &result, &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
    fail(ErrorCode::device,
         "device cuda: no algorithm for a product of {} rows, {} inputs and {} outputs: {}", shape.rows,
         shape.inputs, shape.outputs, cublasLtGetStatusName(status));
  }
  plan->algorithm = result.algo;
  if (plans_.size() >= kMostPlans) plans_.clear();
  return *plans_.emplace(shape, std::move(plan)).first->second;
}

void Gemm::run(const GemmShape& shape, const void* W, const void* x, void* y, cudaStream_t stream) {
  const Plan& p = plan(shape);
  const float one = 1, zero = 0;
  check(cublasLtMatmul(handle_, p.operation.handle, &one, W, p.W.handle, x, p.x.handle,
                       shape.output == GemmOutput::add_f32 ? &one : &zero, y, p.y.handle, y, p.y.handle,
                       &p.algorithm, workspace_, kGemmWorkspace, stream),
        "a product");
}

}  // namespace mamba3::cuda
