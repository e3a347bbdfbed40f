// What a CUDA device can do at most, measured: figures of kernels are shares of these.
#pragma once

namespace mamba3::cuda {

/// Bytes a second, read plus written, of copies of 2 GB (1/16 of the device's memory where that is less).
/// Medians over 20 copies, by events; the current device.
double copy_bandwidth();

/// Bytes a second of a kernel that only reads as much.
double read_bandwidth();

/// Operations a second (a multiplication and an addition are two) of cuBLASLt's product of two bf16 matrices
/// of 8192 x 8192 random numbers with float32 sums: zeros would run faster.
double bf16_matrix_rate();

}  // namespace mamba3::cuda
