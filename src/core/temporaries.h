// Files that have to go when a signal ends the process.
#pragma once

#include <string>

namespace mamba3 {

/// A file's name on the list of those that remove_temporaries_on_signals() removes; off it again at the end.
/// The list is short (kMostTemporaries) and lies in static memory, where a signal handler may read it: names
/// that do not fit are left out.
class Temporary {
 public:
  explicit Temporary(const std::string& path);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

 private:
  int slot_;  ///< -1 when the list was full
};

inline constexpr int kMostTemporaries = 16;

/// From now on SIGINT, SIGTERM and SIGHUP remove the listed files before they end the process, as they would
/// have without this. A signal that is ignored stays so. For programs: a library leaves signals alone.
void remove_temporaries_on_signals();

}  // namespace mamba3
