// What a golden asks of an implementation. Values cross in float64, which holds float32 exactly; the
// implementation converts them to what it computes in.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/device.h"
#include "mixers/mamba3/reference.h"
#include "model/checkpoint.h"
#include "selftest/selftest.h"

namespace mamba3::selftest {

using Values = std::vector<double>;
using Params = reference::Mamba3Params<double>;
using State = reference::Mamba3State<double>;
using ScanInput = reference::ScanInput<double>;
/// Consecutive tokens: in one call, or each as a decode step.
struct Call {
  std::int64_t tokens;
  bool by_steps = false;
};
using Calls = std::vector<Call>;

/// 1, 17, 47 tokens and the rest: cuts inside a chunk and just beyond the first block of rows.
Calls cut_in_calls(std::int64_t tokens);
/// Steps between calls: a chunk that begins with the one and goes on with the other.
Calls calls_and_steps(std::int64_t tokens);

struct ScanOutput {
  Values y;    // [T, R, H, P]
  Values out;  // [T, H, P]
};

/// What a model makes of a text.
struct Reading {
  Values logits;    // [T, V]
  Values nll;       // [T - 1]
  Values residual;  // [n_layer + 1, T, D]
};

class ModelUnderTest {
 public:
  virtual ~ModelUnderTest() = default;
  /// ids [T] from a fresh state. Where there are steps, nll and residual may miss their tokens.
  virtual Reading read(std::span<const TokenId> ids, const Calls& calls) = 0;
  /// One more token after what was read, to its logits [V].
  virtual Values step(TokenId id) = 0;
};

/// States move on in every function.
class Implementation {
 public:
  virtual ~Implementation() = default;
  /// One sequence u [T, D] to out [T, D].
  virtual Values mixer(const Params& params, const Mamba3Config& config, const Values& u, const Calls& calls,
                       State& state) const = 0;
  /// One sequence in calls without steps: the specification's 4 to 9 without out_proj.
  virtual ScanOutput scan(const Params& params, const Mamba3Config& config, const ScanInput& input,
                          const Calls& calls, State& state) const = 0;
  /// u [T, Q, D]: T decode steps of Q sessions, to out [T, Q, D]; `after` takes the states [T * Q] after each
  /// step.
  virtual Values steps(const Params& params, const Mamba3Config& config, const Values& u,
                       const std::vector<State>& start, std::vector<State>& after) const = 0;
  virtual std::unique_ptr<ModelUnderTest> open(const Checkpoint& checkpoint) const = 0;
};

/// In float or double.
template <typename T>
std::unique_ptr<Implementation> make_reference();
/// What a device runs: float32 arithmetic over weights of float32 or bfloat16. Models with bfloat16 on a GPU
/// take its fast path, whose activations are bfloat16, too.
std::unique_ptr<Implementation> make_fast(Device device, Precision precision);

/// Throws Error(unsupported) for a precision that the implementation does not have.
std::unique_ptr<Implementation> make_implementation(Impl impl, Precision precision);

}  // namespace mamba3::selftest
