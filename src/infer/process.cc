#include "infer/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace mamba3 {
namespace {

double boot_clock() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// When static objects were made: a little later than the start, for systems whose /proc does not say.
const double kFirstCode = boot_clock();

/// Field 22 of /proc/self/stat, in seconds of the boot clock. The fields are counted from behind the
/// program's name, which may hold blanks.
double process_start() {
  std::ifstream file("/proc/self/stat");
  const std::string line((std::istreambuf_iterator<char>(file)), {});
  const auto name_end = line.rfind(')');
  if (name_end == std::string::npos) return kFirstCode;
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  for (int number = 3; number <= 22; ++number) fields >> field;
  const double start = std::atof(field.c_str()) / static_cast<double>(sysconf(_SC_CLK_TCK));
  const bool plausible = start > 0 && start <= kFirstCode && kFirstCode - start < 60;
  return plausible ? start : kFirstCode;
}

}  // namespace

double seconds_since_process_start() {
  static const double start = process_start();
  return boot_clock() - start;
}

std::int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace mamba3
