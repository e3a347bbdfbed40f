#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <ctime>

namespace mamba3::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kTerminalPause = 100ms;
constexpr auto kLinePause = 10s;
constexpr const char* kClearLine = "\r\033[K";

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1) {
  next_ = terminal_ ? start_ : start_ + kLinePause;
}

Progress::~Progress() {
  if (terminal_ && shown_) fmt::print(stderr, "{}", kClearLine);
}

void Progress::show(const std::string& line) {
  const auto now = Clock::now();
  if (now < next_) return;
  shown_ = true;
  next_ = now + (terminal_ ? Clock::duration(kTerminalPause) : Clock::duration(kLinePause));
  if (terminal_) {
    fmt::print(stderr, "{}{}", kClearLine, line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

std::string end_time(double seconds) {
  const std::time_t now = std::time(nullptr);
  const std::time_t end = now + static_cast<std::time_t>(std::ceil(seconds));
  std::tm today{}, then{};
  localtime_r(&now, &today);
  localtime_r(&end, &then);
  const bool same_day = today.tm_yday == then.tm_yday && today.tm_year == then.tm_year;
  char text[32];
  std::strftime(text, sizeof text, same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M", &then);
  return text;
}

}  // namespace mamba3::cli
