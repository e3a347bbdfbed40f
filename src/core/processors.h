// The processors that this process may use.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

namespace mamba3 {

/// The processors (hyper-threads) of one physical core that this process may use.
using Core = std::vector<int>;

/// The physical cores of the process's affinity mask, by their lowest processor.
std::vector<Core> allowed_cores();

/// Processors in the affinity mask: the most threads that can run at once.
int logical_processors();

/// How many processors' time the process's control group (version 2) grants, rounded up, a part of one being
/// one; nothing without a limit. `proc` and `mount` are /proc/self/cgroup and the folder that the paths in it
/// start from; cpu.max of the group and of all above it count.
std::optional<int> granted_processors(const std::filesystem::path& proc, const std::filesystem::path& mount);

/// Threads for a program that names no number: one a physical core, since hyper-threads share the units that
/// our kernels fill, and no more than granted_processors().
int default_threads();

/// Whether the processor has x86-64's dot products of bfloat16 and of int8: Highway 1.0.3 does not ask.
bool has_avx512_bf16();
bool has_avx512_vnni();

}  // namespace mamba3
