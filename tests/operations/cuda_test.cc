// A build without CUDA says so, whatever is asked of it.
#include "backend.h"
#include "ffn/swiglu/mlp.h"
#include "mamba3_case.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/embedding/embedding.h"
#include "ops/swiglu/swiglu.h"

namespace mamba3::test {
namespace {

template <typename Work>
void expect_unsupported(const char* what, const Work& work) {
  try {
    work();
    ADD_FAILURE() << what << " ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported) << what;
    EXPECT_NE(std::string(error.what()).find("cuda"), std::string::npos) << what << ": " << error.what();
  }
}

TEST(WithoutCuda, EveryOperationRefuses) {
  if (refusal(Device::cuda) != ErrorCode::unsupported) GTEST_SKIP() << "this build has CUDA";
  const Device cuda = Device::cuda;
  const Stored W(DType::f32, 32, 32, Draw(61)(32 * 32));
  const Floats x(kBlockRows * 32, 1.0f);
  Floats y(kBlockRows * 32);
  const PackedMatrix& packed = W.packed();
  const std::vector<std::int32_t> ids = {1};
  Arena arena;
  double nll = 0;
  expect_unsupported("linear", [&] { linear({cuda, &arena}, packed, x.data(), 1, y.data()); });
  expect_unsupported("norm", [&] { norm(cuda, {x.data(), nullptr, 32}, x.data(), 1, y.data()); });
  expect_unsupported("swiglu", [&] { swiglu(cuda, y.data(), x.data(), 32); });
  expect_unsupported("embedding", [&] { embedding(cuda, packed, ids, y.data()); });
  expect_unsupported("cross_entropy", [&] { cross_entropy({cuda, &arena}, packed, x.data(), ids, &nll); });
  const MlpWeights mlp{packed, packed, packed};
  expect_unsupported("mlp_forward", [&] { mlp_forward({cuda, &arena}, mlp, x.data(), 1, y.data()); });

  const Mamba3Case given(mamba3_row().shapes.front(), DType::f32, cuda);
  LayerState state = given.start();
  expect_unsupported("mamba3_forward", [&] { given.run(state, {{1}}); });
  expect_unsupported("mamba3_step", [&] { given.run(state, {{1, true}}); });
  expect_unsupported("mamba3_scan", [&] {
    mamba3_scan({cuda, &arena}, given.config(), given.weights(), RowWindow::of(0, 1), {}, y.data(), nullptr,
                state);
  });
}

}  // namespace
}  // namespace mamba3::test
