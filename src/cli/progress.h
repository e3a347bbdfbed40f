// One line on standard error that says how far long work is.
#pragma once

#include <chrono>
#include <string>

namespace mamba3::cli {

/// On a terminal one line that is written over, ten times a second at most; elsewhere a line every ten
/// seconds.
class Progress {
 public:
  Progress();
  ~Progress();  ///< leaves an empty line behind on a terminal
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& line);
  double seconds() const;  ///< since it was made

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_;
  bool terminal_;
  bool shown_ = false;
};

/// The clock time in `seconds` from now: "14:05:09", with the date when that is another day.
std::string end_time(double seconds);

}  // namespace mamba3::cli
