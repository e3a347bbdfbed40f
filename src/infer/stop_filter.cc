#include "infer/stop_filter.h"

#include <algorithm>

namespace mamba3 {
namespace {

/// Length of the longest end of `text` that begins `stop` and is not all of it.
std::size_t beginning_of(const std::string& stop, std::string_view text) {
  for (auto length = std::min(stop.size() - 1, text.size()); length > 0; --length) {
    if (text.ends_with(std::string_view(stop).substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  std::size_t end = std::string::npos, kept = 0;
  for (const std::string& stop : stops_) {
    end = std::min(end, held_.find(stop));
    kept = std::max(kept, beginning_of(stop, held_));
  }
  stopped_ = end != std::string::npos;
  std::string passed = held_.substr(0, stopped_ ? end : held_.size() - kept);
  held_.erase(0, stopped_ ? held_.size() : passed.size());
  return passed;
}

}  // namespace mamba3
