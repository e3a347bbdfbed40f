// Facts about this process, for statistics.
#pragma once

#include <cstdint>
#include <string>

namespace mamba3 {

/// Seconds since the system started this process (to a hundredth), loading of libraries included.
double seconds_since_process_start();

std::int64_t peak_memory_bytes();  ///< largest resident size so far, mapped files included
std::string processor_name();      ///< as /proc/cpuinfo has it; "unknown" when it does not say

}  // namespace mamba3
