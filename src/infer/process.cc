#include "infer/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

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

/// What stands behind "KEY: " in a file of the system.
std::optional<std::string> value_of(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
  }
  return std::nullopt;
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

std::int64_t resident_memory_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t whole = 0, resident = 0;
  file >> whole >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::int64_t available_memory_bytes() {
  const auto kilobytes = value_of("/proc/meminfo", "MemAvailable");
  return kilobytes ? std::atoll(kilobytes->c_str()) * 1024 : std::numeric_limits<std::int64_t>::max();
}

std::string processor_name() {
  return value_of("/proc/cpuinfo", "model name").value_or("unknown");
}

}  // namespace mamba3
