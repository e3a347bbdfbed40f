#include "model/cuda/prefill_cuda.h"

#include <algorithm>

#include "mixers/mamba3/cuda/inputs_cuda.h"
#include "mixers/mamba3/cuda/recurrent_cuda.h"
#include "mixers/mamba3/cuda/scan_cuda.h"
#include "mixers/mamba3/cuda/step_cuda.h"
#include "ops/embedding/embedding_cuda.h"

namespace mamba3::cuda {
namespace {

using bf16 = __nv_bfloat16;

// Tokens of a window: products of 16,384 rows run at a large GPU's full rate, and twice as many no faster.
constexpr std::int64_t kMostTokens = 16'384;
// On a small card: products of 512 rows still run at half of the rate and more.
constexpr std::int64_t kFewestTokens = 512;

// The largest window, a power of two, whose activations take a quarter of the free memory: the rest is for
// sessions.
std::int64_t window_tokens(const NetworkLayers& network, std::size_t value_bytes) {
  const Mamba3Config& c = network.mixer();
  const std::int64_t D = network.config().d_model, F = network.config().ffn_width;
  const std::int64_t values = D + std::max(c.in_rows(), 2 * F) + std::max(c.d_inner(), F);
  const std::int64_t floats = 4 * D + 2 * c.dynamics_rows();
  const std::int64_t bytes = values * static_cast<std::int64_t>(value_bytes) + 4 * floats;
  std::size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "asking for the free memory");
  std::int64_t tokens = kMostTokens;
  while (tokens > kFewestTokens && tokens * bytes > static_cast<std::int64_t>(available / 4)) tokens /= 2;
  return tokens;
}

RowWindow rows_of(const NetworkState& state, std::int64_t tokens) {
  return {.position = state.position, .rows = tokens, .begin = 0, .end = tokens};
}

}  // namespace

bool has_bf16_kernels(const ModelConfig& config) {
  const Mamba3Config& c = config.mixer;
  constexpr std::int64_t kValues = 8;  // bfloat16 of 16 bytes
  return config.d_model % kValues == 0 && config.ffn_width % kValues == 0 && c.headdim % kValues == 0 &&
         c.d_state % kValues == 0 && c.in_rows() % kValues == 0;
}

template <typename T>
Prefill<T>::Prefill(const NetworkLayers& network, Products& products, cudaStream_t stream)
    : network_(network),
      chain_(network, products),
      stream_(stream),
      most_tokens_(window_tokens(network, sizeof(T))) {}

template <typename T>
void Prefill<T>::run(std::span<const Prompt> prompts, const PrefillVisitors& visitors) {
  std::vector<Piece> pieces;
  std::int64_t room = most_tokens_;
  const auto flush = [&] {
    if (!pieces.empty()) window(pieces, visitors);
    pieces.clear();
    room = most_tokens_;
  };
  for (const Prompt& prompt : prompts) {
    for (auto rest = prompt.ids; !rest.empty();) {
      // Short ends of windows are not worth an own launch of everything: a prompt that fits begins a new one.
      if (room < std::min<std::int64_t>(std::ssize(rest), most_tokens_)) flush();
      const auto now = rest.first(static_cast<std::size_t>(std::min<std::int64_t>(room, std::ssize(rest))));
      rest = rest.subspan(now.size());
      pieces.push_back({prompt.state, now});
      room -= std::ssize(now);
      if (!rest.empty()) flush();
    }
  }
  flush();
}

template <typename T>
void Prefill<T>::window(std::span<const Piece> pieces, const PrefillVisitors& visitors) {
  std::int64_t tokens = 0, longest = 0;
  for (const Piece& piece : pieces) {
    tokens += std::ssize(piece.ids);
    longest = std::max<std::int64_t>(longest, std::ssize(piece.ids));
  }
  reserve(tokens, std::ssize(pieces));
  fill_table(pieces);
  fold(pieces);
  embedding(network_.embedding(), table_->ids(), tokens, residual_.data(), stream_);
  if (visitors.on_residual) show(pieces, 0, visitors.on_residual);
  const auto mixer = [&](const NetworkLayer& layer, std::int64_t index, const MixerRows<T>& rows) {
    mix(layer, index, rows, longest);
  };
  std::function<void(std::int64_t)> on_layer;
  if (visitors.on_residual) on_layer = [&](std::int64_t depth) { show(pieces, depth, visitors.on_residual); };
  chain_.run(tokens, residual_.data(), mixer, on_layer, stream_);
  keep_last(pieces);
  if (visitors.on_hidden) show_hidden(pieces, visitors.on_hidden);
  for (const Piece& piece : pieces) {
    piece.state->position += std::ssize(piece.ids);
    for (LayerState& layer : piece.state->layers) layer.tail = 0;
  }
}

template <typename T>
void Prefill<T>::reserve(std::int64_t tokens, std::int64_t sessions) {
  const std::int64_t D = network_.config().d_model;
  if (!table_ || table_->most_sessions() < sessions || table_->most_ids() < tokens)
    table_ = std::make_unique<BatchTable>(sessions, std::max(tokens, most_tokens_));
  if (residual_.size() < tokens * D) {
    residual_ = Buffer<float>(tokens * D);
    dynamics_ = Buffer<float>(tokens * network_.mixer().dynamics_rows());
  }
  if (hidden_.size() < sessions * D) hidden_ = Buffer<float>(sessions * D);
  chain_.prepare(tokens);
  tokens_ = tokens;
  sessions_ = sessions;
}

template <typename T>
void Prefill<T>::fill_table(std::span<const Piece> pieces) {
  TokenId* ids = table_->host_ids();
  std::int64_t start = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    table_->set(at, *pieces[i].state);
    table_->set_start(at, start);
    ids = std::ranges::copy(pieces[i].ids, ids).out;
    start += std::ssize(pieces[i].ids);
  }
  table_->set_start(std::ssize(pieces), start);
  table_->send(stream_);
}

// A sequence starts from a checkpoint: tails of single steps go into it.
template <typename T>
void Prefill<T>::fold(std::span<const Piece> pieces) {
  const auto has_tail = [](const Piece& piece) { return piece.state->layers.front().tail > 0; };
  if (std::ranges::none_of(pieces, has_tail)) return;
  const Mamba3Sessions sessions{table_->states(), table_->positions(), table_->tails(), sessions_};
  for (std::int64_t offset = 0; const NetworkLayer& layer : network_.all()) {
    fold_tails(network_.layout(), layer.mixer.mimo_x, sessions, offset, stream_);
    offset += network_.layout().size;
  }
}

template <typename T>
void Prefill<T>::mix(const NetworkLayer& layer, std::int64_t index, const MixerRows<T>& rows,
                     std::int64_t longest) {
  const Mamba3Config& c = network_.mixer();
  const std::int64_t H = c.n_heads(), offset = index * network_.layout().size;
  float* const adt = dynamics_.data();
  const Mamba3Dynamics made{adt, adt + tokens_ * H, adt + 2 * tokens_ * H, adt + 3 * tokens_ * H};
  mamba3_inputs(c, layer.mixer, tokens_, rows.projected, rows.dynamics, made, stream_);
  const T* const z = rows.projected;
  const T* const x = z + c.d_inner();
  const T* const B = x + c.d_inner();
  const T* const C = B + c.bc_width();
  if constexpr (std::is_same_v<T, bf16>) {
    if (scan_fits(c)) {
      const ScanSequences sequences{sessions_, tokens_, longest, table_->starts(), table_->states(), offset};
      const std::size_t needed = scan_workspace_bytes(c, sequences);
      if (scan_workspace_.size() < static_cast<std::int64_t>(needed))
        scan_workspace_ = Buffer<std::byte>(static_cast<std::int64_t>(needed));
      scan_forward(c, {z, x, B, C, made.adt, made.dt, made.trap, made.rate, c.in_rows(), c.in_rows()},
                   layer.mixer, sequences, rows.gated, scan_workspace_.data(), stream_);
      return;
    }
  }
  mamba3_recurrent<T>(c, network_.layout(), layer.mixer,
                      {.z = z,
                       .x = x,
                       .B = B,
                       .C = C,
                       .adt = made.adt,
                       .dt = made.dt,
                       .trap = made.trap,
                       .rate = made.rate,
                       .zx_stride = c.in_rows(),
                       .bc_stride = c.in_rows(),
                       .out = rows.gated},
                      {sessions_, table_->starts(), table_->states(), offset}, stream_);
}

// The hidden vector of every piece's last token. The copies wait for the stream, so all of the window is
// done.
template <typename T>
void Prefill<T>::keep_last(std::span<const Piece> pieces) {
  const std::int64_t D = network_.config().d_model;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    row += std::ssize(pieces[i].ids);
    chain_.final_norm(1, residual_.data() + (row - 1) * D, hidden_.data() + static_cast<std::int64_t>(i) * D,
                      stream_);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    NetworkState& state = *pieces[i].state;
    const std::int64_t last = state.position + std::ssize(pieces[i].ids) - 1;
    download(state.hidden_of(last), hidden_.data() + static_cast<std::int64_t>(i) * D,
             static_cast<std::size_t>(D) * sizeof(float), stream_);
  }
}

template <typename T>
void Prefill<T>::show(std::span<const Piece> pieces, std::int64_t depth, const ResidualVisitor& visitor) {
  const std::int64_t D = network_.config().d_model;
  std::vector<float> values(static_cast<std::size_t>(tokens_ * D));
  download(values.data(), residual_.data(), values.size() * sizeof(float), stream_);
  for (const float* rows = values.data(); const Piece& piece : pieces) {
    visitor(depth, rows_of(*piece.state, std::ssize(piece.ids)), rows);
    rows += std::ssize(piece.ids) * D;
  }
}

template <typename T>
void Prefill<T>::show_hidden(std::span<const Piece> pieces, const HiddenVisitor& visitor) {
  const std::int64_t D = network_.config().d_model;
  std::vector<float> values(static_cast<std::size_t>(tokens_ * D));
  chain_.final_norm(tokens_, residual_.data(), residual_.data(), stream_);
  download(values.data(), residual_.data(), values.size() * sizeof(float), stream_);
  for (const float* rows = values.data(); const Piece& piece : pieces) {
    visitor(rows_of(*piece.state, std::ssize(piece.ids)), rows);
    rows += std::ssize(piece.ids) * D;
  }
}

template class Prefill<float>;
template class Prefill<bf16>;

}  // namespace mamba3::cuda
