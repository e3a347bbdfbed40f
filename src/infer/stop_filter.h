// Ends a stream of text at the first of some stop texts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mamba3 {

/// Passes text on, except what may be the beginning of a stop text: that is held back until it is decided.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The text that is certain now. After a stop text has come (`stopped`), nothing passes.
  std::string push(std::string_view text);
  /// What was held back, when no more text comes.
  std::string finish() { return std::exchange(held_, {}); }

  bool stopped() const { return stopped_; }
  const std::string& held() const { return held_; }
  void resume(std::string held) { held_ = std::move(held); }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace mamba3
