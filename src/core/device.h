// Where work runs. Every operation and every layer branches on this once per call, nowhere else.
#pragma once

namespace mamba3 {

enum class Device { cpu, cuda };

}  // namespace mamba3
