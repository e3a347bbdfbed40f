#include "infer/measure.h"

#include <cmath>

#include "mamba3/error.h"
#include "support.h"

namespace mamba3 {
namespace {

TEST(Measure, SpreadIsLeastMedianMost) {
  const Spread odd = spread_of({3, 1, 2}), even = spread_of({4, 1, 2, 3});
  EXPECT_EQ(odd.least, 1);
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.most, 3);
  EXPECT_EQ(even.median, 2.5);
}

TEST(Measure, AgreementFailsForErrorsAndForNaN) {
  EXPECT_TRUE((Agreement{4, 1e-6, 1e-5}.holds()));
  EXPECT_FALSE((Agreement{4, 1e-3, 0}.holds()));
  EXPECT_FALSE((Agreement{4, 0, 1e-3}.holds()));
  EXPECT_FALSE((Agreement{4, std::nan(""), 0}.holds()));
}

TEST(Measure, ModelsAgreeWithTheReference) {
  for (const char* name : {"tiny-siso", "tiny-mimo"}) {
    const Agreement agreement = agreement_with_reference(Model::load(test::fixtures() / name));
    EXPECT_TRUE(agreement.holds()) << name << " " << agreement.prefill_error << " " << agreement.step_error;
    EXPECT_GT(agreement.prefill_error + agreement.step_error, 0) << "compared with itself?";
  }
}

TEST(Measure, GivesOneRateARepeat) {
  const Model model = Model::load(test::fixtures() / "tiny-siso");
  const Rates rates = measure(model, {.prompt_tokens = 5, .decode_tokens = 2, .repeats = 4});
  EXPECT_EQ(rates.prefill.size(), 4u);
  EXPECT_EQ(rates.decode.size(), 4u);
  EXPECT_THROW(measure(model, {.prompt_tokens = 0}), Error);
}

}  // namespace
}  // namespace mamba3
