#include "core/threads.h"

#include <sched.h>

#include <fstream>
#include <set>
#include <string>

namespace mamba3 {

int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return omp_get_num_procs();
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream siblings("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string line;
    cores.insert(std::getline(siblings, line) ? line : std::to_string(cpu));
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

void set_threads(int threads) { omp_set_num_threads(threads > 0 ? threads : physical_cores()); }

int threads() { return omp_get_max_threads(); }

}  // namespace mamba3
