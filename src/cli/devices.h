// mamba3 info --devices: where a model can run.
#pragma once

namespace mamba3::cli {

/// Prints a table, or one JSON object.
void print_devices(bool json);

}  // namespace mamba3::cli
