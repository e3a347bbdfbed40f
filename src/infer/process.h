// Facts about this process, for statistics.
#pragma once

#include <cstdint>
#include <string>

namespace mamba3 {

/// Seconds since the system started this process (to a hundredth), loading of libraries included.
double seconds_since_process_start();

std::int64_t peak_memory_bytes();      ///< largest resident size so far, mapped files included
std::int64_t resident_memory_bytes();  ///< resident size now, mapped files included; 0 when unknown
/// Memory that new work may take without swapping, in the whole system; the largest number when unknown.
std::int64_t available_memory_bytes();
std::string processor_name();  ///< as /proc/cpuinfo has it; "unknown" when it does not say

}  // namespace mamba3
