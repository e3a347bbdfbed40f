// Choosing the next tokens of a batch on the device, as include/mamba3/sampler.h does on the CPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace mamba3::cuda {

/// One session's options (SamplerOptions, in range) and what moves on with every token: in device memory, so
/// that a captured graph serves any of them.
struct SamplerSlot {
  float temperature = 0;
  std::int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repeat_penalty = 1;
  std::int32_t repeat_last = 0;  ///< at most SampleBatch::recent_capacity
  std::uint64_t seed = 0;
  std::uint64_t draws = 0;     ///< random numbers used so far
  std::uint64_t accepted = 0;  ///< tokens written to `recent` so far
};

/// Everything on the device.
struct SampleBatch {
  std::int64_t batch = 0;
  std::int64_t vocab = 0;          ///< floats from row to row of the logits
  std::int64_t words = 0;          ///< candidates: the first `words` of a row
  float* logits = nullptr;         ///< [batch, vocab]; recent tokens' logits are penalized in place
  SamplerSlot* slots = nullptr;    ///< [batch]
  std::int32_t* recent = nullptr;  ///< [batch, recent_capacity]: token i of a text at i modulo the capacity
  std::int64_t recent_capacity = 0;
  std::int32_t* ids = nullptr;   ///< [batch]: the result
  std::byte* scratch = nullptr;  ///< sample_scratch() bytes, zero before the first call
};

/// Bytes of scratch memory, aligned to 4.
std::size_t sample_scratch(std::int64_t batch, std::int64_t words);

/// ids[b] = the token that Sampler::sample chooses for row b and accept(ids[b]); a slot's draws, accepted and
/// recent move on. Equal to the CPU's wherever its float64 sums of exponentials decide: lists of up to 1,024
/// candidates (top_k) are summed in float64 in the CPU's order, longer ones in steps of 2^-46 of the
/// likeliest token's probability from float32 exponentials.
void sample(const SampleBatch& batch, cudaStream_t stream);

}  // namespace mamba3::cuda
