// How fast a model reads and writes on this machine, beside what the machine can do at most.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "mamba3/model.h"

namespace mamba3 {

struct MeasureOptions {
  std::vector<std::int64_t> prompts = {512};       ///< lengths to read
  std::vector<std::int64_t> prompt_batches = {1};  ///< prompts that are read at once
  std::vector<std::int64_t> depths = {128};        ///< tokens read before decoding, 0 too
  std::vector<std::int64_t> batches = {1};         ///< sessions that decode at once
  std::int64_t decode_tokens = 128;                ///< a session, in each round
  std::int64_t repeats = 3;

  /// Throws Error(invalid_argument) for numbers outside 1 (depths: 0) to 1e9.
  void check() const;
  /// Throws Error(invalid_argument), with both sizes, when the sessions of the largest batch do not fit into
  /// the memory that is available.
  void check_memory(const Model& model) const;
};

/// Ceilings, a value for each time that they were measured: before every figure of every round, of a GPU
/// before every round. Bytes and operations a second, of the device that works; bf16 and int8 are empty where
/// the processor has no instruction for them.
struct Ceilings {
  std::vector<double> memory, f32, bf16, int8;

  /// What prefill is held against: bf16, or f32 where that is missing.
  const std::vector<double>& matrix() const { return bf16.empty() ? f32 : bf16; }
};

struct PrefillFigure {
  std::int64_t tokens = 0, batch = 0;
  std::vector<double> seconds;  ///< of the whole prompts and their last logits, one a round
};

struct DecodeFigure {
  std::int64_t depth = 0, batch = 0;
  std::vector<double> seconds;      ///< of a step of all sessions and their next tokens, one a round
  std::int64_t resident_bytes = 0;  ///< memory of the process after the last round
};

struct Measurement {
  Ceilings ceilings;
  std::vector<PrefillFigure> prefill;  ///< every length with every batch
  std::vector<DecodeFigure> decode;    ///< every depth with every batch
};

struct MeasureProgress {
  std::string stage;                 ///< what is being done
  std::int64_t done = 0, total = 0;  ///< of `unit`
  const char* unit = "";             ///< "tokens" or "figures"
  double seconds = 0;                ///< since the first of them began
};

/// Reads the deepest text once, by prefill, and keeps the state at every depth. Then each round measures
/// every figure once, with the ceilings in between, so that what else the machine does meets all alike.
/// Prompts start from nothing, each decode from forks of the state of its depth. Throws as both checks.
Measurement measure(const Model& model, const MeasureOptions& options,
                    const std::function<void(const MeasureProgress&)>& progress = {});

}  // namespace mamba3
