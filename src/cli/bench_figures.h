// Figures of a measurement as shares of the ceilings that were measured beside them.
#pragma once

#include <vector>

#include "core/statistics.h"
#include "infer/measure.h"
#include "infer/workload.h"

namespace mamba3::cli {

/// One figure: its rate, and the bytes or operations a second that it makes of it, against their ceiling.
struct Rate {
  Spread tokens_per_s;
  double seconds_per_token;  ///< median
  double work_per_token;     ///< bytes or operations
  double work_per_s;
  double share;  ///< of the median of the ceiling
};

/// `tokens` and `work` (bytes or operations) are done in each of `seconds`.
inline Rate rate_of(const std::vector<double>& seconds, double tokens, double work,
                    const std::vector<double>& ceiling) {
  const Spread s = spread_of(seconds);
  return {.tokens_per_s = {tokens / s.most, tokens / s.median, tokens / s.least},
          .seconds_per_token = s.median / tokens,
          .work_per_token = work / tokens,
          .work_per_s = work / s.median,
          .share = work / s.median / spread_of(ceiling).median};
}

inline Rate rate_of(const PrefillFigure& figure, const Workload& work, const Ceilings& ceilings) {
  const auto batch = static_cast<double>(figure.batch);
  return rate_of(figure.seconds, batch * static_cast<double>(figure.tokens),
                 batch * work.prompt_operations(figure.tokens), ceilings.matrix());
}

inline Rate rate_of(const DecodeFigure& figure, const Workload& work, const Ceilings& ceilings) {
  return rate_of(figure.seconds, static_cast<double>(figure.batch), work.step_bytes(figure.batch),
                 ceilings.memory);
}

}  // namespace mamba3::cli
