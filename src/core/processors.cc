#include "core/processors.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>
#include <string>
#include <thread>

namespace mamba3 {
namespace {

namespace fs = std::filesystem;

std::vector<int> allowed_processors() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::vector<int> processors;
  if (sched_getaffinity(getpid(), sizeof allowed, &allowed) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed)) processors.push_back(cpu);
    }
  }
  if (processors.empty()) {  // more of them than a cpu_set_t holds
    processors.resize(std::max(1U, std::thread::hardware_concurrency()));
    std::iota(processors.begin(), processors.end(), 0);
  }
  return processors;
}

/// A name for the physical core of a processor.
std::string core_of(int processor) {
  std::ifstream siblings("/sys/devices/system/cpu/cpu" + std::to_string(processor) +
                         "/topology/thread_siblings_list");
  std::string line;
  return std::getline(siblings, line) ? line : std::to_string(processor);
}

/// "150000 100000" (microseconds of time in each period) is 2 processors, "max 100000" no limit.
std::optional<int> quota_in(const fs::path& file) {
  std::ifstream stream(file);
  double time = 0, period = 0;
  if (!(stream >> time >> period) || time <= 0 || period <= 0) return std::nullopt;
  return static_cast<int>(std::min(std::ceil(time / period), 1e6));
}

/// The path behind "0::/", the line of version 2.
std::optional<fs::path> group_in(const fs::path& proc) {
  std::ifstream stream(proc);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("0::/")) return line.substr(4);
  }
  return std::nullopt;
}

}  // namespace

std::vector<Core> allowed_cores() {
  std::map<std::string, std::size_t> place;
  std::vector<Core> cores;
  for (const int processor : allowed_processors()) {
    const auto [found, is_new] = place.try_emplace(core_of(processor), cores.size());
    if (is_new) cores.emplace_back();
    cores[found->second].push_back(processor);
  }
  return cores;
}

int logical_processors() {
  return static_cast<int>(allowed_processors().size());
}

std::optional<int> granted_processors(const fs::path& proc, const fs::path& mount) {
  const auto group = group_in(proc);
  if (!group) return std::nullopt;
  std::optional<int> least = quota_in(mount / "cpu.max");
  fs::path folder = mount;
  for (const fs::path& name : *group) {
    folder /= name;
    const auto quota = quota_in(folder / "cpu.max");
    if (quota) least = std::min(*quota, least.value_or(*quota));
  }
  return least;
}

int default_threads() {
  const int cores = static_cast<int>(allowed_cores().size());
  return std::min(cores, granted_processors("/proc/self/cgroup", "/sys/fs/cgroup").value_or(cores));
}

#if defined(__x86_64__)
bool has_avx512_bf16() {
  return __builtin_cpu_supports("avx512bf16") != 0;
}
bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512vnni") != 0;
}
#else
bool has_avx512_bf16() {
  return false;
}
bool has_avx512_vnni() {
  return false;
}
#endif

}  // namespace mamba3
