// The language model in plain loops, in float or double: the definition that Network is held against. Follows
// the specification's "The model"; the mixer is mixers/mamba3/reference.h.
//
// Axes: T tokens, D d_model, F ffn_width, V vocab_rows. Row-major.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "mixers/mamba3/reference.h"
#include "model/checkpoint.h"
#include "model/rows.h"

namespace mamba3::reference {

/// A stored tensor's values.
template <typename T>
Values<T> values_of(const TensorView& tensor) {
  Values<T> values(tensor.elements());
  const StoredRows rows(tensor);
  std::vector<std::byte> memory;
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    if constexpr (std::is_same_v<T, double>) {
      to_double(tensor.dtype, rows.row(i, memory), rows.width(), &values[i * rows.width()]);
    } else {
      to_float(tensor.dtype, rows.row(i, memory), rows.width(), &values[i * rows.width()]);
    }
  }
  return values;
}

template <typename T>
void layer_norm(const T* v, const T* weight, const T* bias, std::int64_t n, T* out) {
  T mean = 0, squares = 0;
  for (std::int64_t i = 0; i < n; ++i) mean += v[i] / static_cast<T>(n);
  for (std::int64_t i = 0; i < n; ++i) squares += (v[i] - mean) * (v[i] - mean);
  const T scale = 1 / std::sqrt(squares / static_cast<T>(n) + static_cast<T>(kNormEpsilon));
  for (std::int64_t i = 0; i < n; ++i) out[i] = (v[i] - mean) * scale * weight[i] + bias[i];
}

/// Weights as stored, read as T. One sequence at a time; a State carries it from call to call.
template <typename T>
class Model {
 public:
  using State = std::vector<Mamba3State<T>>;  // one a layer

  explicit Model(const Checkpoint& checkpoint);

  State zero_state() const { return State(layers_.size(), Mamba3State<T>::zeros(config_.mixer)); }
  const ModelConfig& config() const { return config_; }

  /// ids [T], which follow what `state` has seen, to hidden [T, D] after the final norm. `residual`, unless
  /// null, takes [n_layer + 1, T, D]: the embedding, then the stream after each layer. Throws
  /// Error(invalid_argument) for an id without a row in the embedding.
  Values<T> hidden(std::span<const TokenId> ids, State& state, Values<T>* residual = nullptr) const;

  /// hidden [T, D] to logits [T, V].
  Values<T> logits(const Values<T>& hidden) const;

 private:
  struct Norm {
    Values<T> weight, bias;  // [D]; bias empty for RMSNorm
  };
  struct Layer {
    Norm norm, norm2;
    Mamba3Params<T> mixer;
    Values<T> up, gate, down;  // [F, D], [F, D], [D, F]; empty without an MLP
  };

  Values<T> normed(const Values<T>& v, const Norm& norm) const;
  Values<T> mlp(const Values<T>& v, const Layer& layer) const;

  ModelConfig config_;
  Values<T> embedding_, head_;  // [V, D]; head_ empty when tied
  std::vector<Layer> layers_;
  Norm norm_f_;
};

/// Minus the log probability of ids[t + 1] under logits row t, in nats: logits [T, V] to [T - 1].
template <typename T>
Values<T> nll(const Values<T>& logits, std::span<const TokenId> ids) {
  const auto V = static_cast<std::int64_t>(logits.size() / ids.size());
  Values<T> result;
  for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
    const T* row = &logits[t * V];
    const T largest = *std::max_element(row, row + V);
    T sum = 0;
    for (std::int64_t v = 0; v < V; ++v) sum += std::exp(row[v] - largest);
    result.push_back(largest + std::log(sum) - row[ids[t + 1]]);
  }
  return result;
}

template <typename T>
Model<T>::Model(const Checkpoint& checkpoint) : config_(checkpoint.config) {
  const auto read = [&](const std::string& name) {
    const auto found = checkpoint.tensors.find(name);
    return found == checkpoint.tensors.end() ? Values<T>{} : values_of<T>(found->second);
  };
  const auto read_norm = [&](const std::string& name) {
    return Norm{read(name + ".weight"), read(name + ".bias")};
  };
  embedding_ = read("embedding");
  head_ = read("head");
  norm_f_ = read_norm("norm_f");
  for (std::int64_t i = 0; i < config_.n_layer; ++i) {
    const auto prefix = "layers." + std::to_string(i) + ".";
    const auto mixer = prefix + "mixer.";
    auto in_proj = read(mixer + "in_proj");
    const auto dynamics = read(mixer + "dynamics");
    in_proj.insert(in_proj.end(), dynamics.begin(), dynamics.end());
    layers_.push_back({
        .norm = read_norm(prefix + "norm"),
        .norm2 = read_norm(prefix + "norm2"),
        .mixer = {.in_proj = std::move(in_proj),
                  .dt_bias = read(mixer + "dt_bias"),
                  .B_bias = read(mixer + "B_bias"),
                  .C_bias = read(mixer + "C_bias"),
                  .B_norm = read(mixer + "B_norm"),
                  .C_norm = read(mixer + "C_norm"),
                  .D = read(mixer + "D"),
                  .mimo_x = read(mixer + "mimo_x"),
                  .mimo_z = read(mixer + "mimo_z"),
                  .mimo_o = read(mixer + "mimo_o"),
                  .norm = read(mixer + "norm"),
                  .out_proj = read(mixer + "out_proj")},
        .up = read(prefix + "mlp.up"),
        .gate = read(prefix + "mlp.gate"),
        .down = read(prefix + "mlp.down"),
    });
  }
}

template <typename T>
Values<T> Model<T>::hidden(std::span<const TokenId> ids, State& state, Values<T>* residual) const {
  const auto D = config_.d_model, tokens = static_cast<std::int64_t>(ids.size());
  Values<T> stream;  // [T, D]
  for (const TokenId id : ids) {
    if (id < 0 || id >= config_.vocab_rows()) {
      fail(ErrorCode::invalid_argument, "token id {} is outside the vocabulary of {} rows", id,
           config_.vocab_rows());
    }
    stream.insert(stream.end(), &embedding_[id * D], &embedding_[id * D] + D);
  }
  const auto add = [&](const Values<T>& v) {
    for (std::size_t i = 0; i < stream.size(); ++i) stream[i] += v[i];
  };
  const auto trace = [&] {
    if (residual != nullptr) residual->insert(residual->end(), stream.begin(), stream.end());
  };
  trace();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    add(mixer(layer.mixer, config_.mixer, normed(stream, layer.norm).data(), tokens, state[i]));
    if (config_.d_intermediate > 0) add(mlp(normed(stream, layer.norm2), layer));
    trace();
  }
  return normed(stream, norm_f_);
}

template <typename T>
Values<T> Model<T>::logits(const Values<T>& hidden) const {
  const auto D = config_.d_model, V = config_.vocab_rows();
  const auto tokens = static_cast<std::int64_t>(hidden.size()) / D;
  const Values<T>& head = config_.tie_embeddings ? embedding_ : head_;
  Values<T> result(tokens * V);
  for (std::int64_t t = 0; t < tokens; ++t) product(head.data(), &hidden[t * D], V, D, &result[t * V]);
  return result;
}

template <typename T>
Values<T> Model<T>::normed(const Values<T>& v, const Norm& norm) const {
  const auto D = config_.d_model;
  Values<T> out(v.size());
  for (std::size_t row = 0; row < v.size(); row += D) {
    if (config_.rms_norm) {
      rms_norm(&v[row], norm.weight.data(), D, &out[row]);
    } else {
      layer_norm(&v[row], norm.weight.data(), norm.bias.data(), D, &out[row]);
    }
  }
  return out;
}

/// SwiGLU: down (up v * silu(gate v)).
template <typename T>
Values<T> Model<T>::mlp(const Values<T>& v, const Layer& layer) const {
  const auto D = config_.d_model, F = config_.ffn_width;
  Values<T> out(v.size()), value(F), gate(F);
  for (std::size_t row = 0; row < v.size(); row += D) {
    product(layer.up.data(), &v[row], F, D, value.data());
    product(layer.gate.data(), &v[row], F, D, gate.data());
    for (std::int64_t f = 0; f < F; ++f) value[f] *= silu(gate[f]);
    product(layer.down.data(), value.data(), D, F, &out[row]);
  }
  return out;
}

}  // namespace mamba3::reference
