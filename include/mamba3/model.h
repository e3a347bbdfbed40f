// A Mamba-3 language model, loaded once and shared by its sessions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "mamba3/tokenizer.h"

namespace mamba3 {

class Network;

/// What activations are rounded to on their way into a product, where the processor multiplies such numbers
/// faster: bfloat16 for BF16 weights, int8 with a scale for 256 values of a token for quantized ones. On a
/// GPU everything but the residual stream, the dynamics and the state is bfloat16, weights of F32 and F16
/// too; `exact` keeps float32 there, and the same bits for any division of a text into calls
/// (docs/numerics.md).
enum class Activations {
  rounded,                 ///< as above; float32 for weights of F32 and F16
  exact,                   ///< float32 for all
  exact_unless_quantized,  ///< float32 for a model without quantized weights
};

/// Immutable and safe to share between threads. Copies are cheap (shared). Weights are packed
/// for the processor while they are read, so a model takes about its file's size of memory.
class Model {
 public:
  /// An official folder (config.json, pytorch_model.bin or model.safetensors, tokenizer.json) or a .gguf
  /// file. `device`: "cpu", "cuda" or "cuda:1". Throws Error with one sentence that names the file and the
  /// fault, or what is wrong with the device.
  static Model load(const std::filesystem::path& path, Activations activations = Activations::rounded,
                    std::string_view device = "cpu");

  /// A GGUF file in memory, which must outlive the model; `name` stands for it in messages.
  static Model from_gguf(std::span<const std::byte> bytes, const std::string& name,
                         Activations activations = Activations::rounded, std::string_view device = "cpu");

  /// Seeded random weights of a named shape ("mamba3-siso-187m"; throws Error with the list for another
  /// name). `dtype` of the matrices: "bf16", "q8_0", "q4_k" or another of the types that a file may have. No
  /// tokenizer.
  static Model random(std::string_view shape, std::uint64_t seed, std::string_view dtype,
                      Activations activations = Activations::rounded, std::string_view device = "cpu");

  explicit Model(std::shared_ptr<const Network> network) : network_(std::move(network)) {}

  std::string name() const;          ///< the path as given
  std::int64_t vocab_size() const;   ///< rows of the embedding: logits have this many values
  std::int64_t state_bytes() const;  ///< memory of one session, however long its text
  bool has_tokenizer() const;
  const Tokenizer& tokenizer() const;  ///< throws Error(not_found) when the model has none

  const Network& network() const { return *network_; }  ///< the library's own view (src/model/network.h)

 private:
  std::shared_ptr<const Network> network_;
};

/// Threads that later work uses, in the whole process; 0 stands for one for each physical core, within what
/// the process is granted (affinity, control group). Throws Error(invalid_argument) for more than the
/// processors that the process may use. Not while sessions are at work.
void set_threads(int threads);
int threads();

}  // namespace mamba3
