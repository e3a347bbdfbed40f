#include "infer/state_file.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "core/atomic_file.h"
#include "core/error.h"
#include "mixers/mamba3/mamba3.h"
#include "model/rows.h"

namespace mamba3 {
namespace {

constexpr char kMagic[8] = {'M', 'A', 'M', 'B', 'A', '3', 'S', 'T'};
constexpr std::uint64_t kVersion = 2;  // 1 kept no hidden vectors of earlier tokens, and another layout
constexpr std::uint64_t kLastPosition = std::uint64_t{1} << 62;  // leaves room to go on without wrapping

// Little-endian on disk as in memory: every machine we build for.
struct Header {
  char magic[8];
  std::uint64_t version;
  std::uint64_t model;     // fingerprint
  std::uint64_t position;  // tokens read
  std::uint64_t layers;
  std::uint64_t values;  // floats of one layer
  std::uint64_t hidden;  // vectors of d_model floats: of the tail's tokens and the one before
  std::uint64_t note;    // bytes
};
static_assert(sizeof(Header) == 64);

using Checksum = std::uint64_t;  // XXH3 of all bytes before it

class Writer {
 public:
  explicit Writer(const std::filesystem::path& path) : file_(path), hash_(XXH3_createState()) {
    XXH3_64bits_reset(hash_);
  }
  ~Writer() { XXH3_freeState(hash_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void put(const void* data, std::size_t size) {
    XXH3_64bits_update(hash_, data, size);
    file_.write({static_cast<const std::byte*>(data), size});
  }

  void finish() {
    const Checksum sum = XXH3_64bits_digest(hash_);
    file_.write({reinterpret_cast<const std::byte*>(&sum), sizeof sum});
    file_.commit();
  }

 private:
  AtomicFile file_;
  XXH3_state_t* hash_;
};

// Reads on through bytes whose total was checked beforehand.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  void get(void* data, std::size_t size) {
    if (size > 0) std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }

 private:
  std::span<const std::byte> bytes_;
};

// Hidden vectors that a session may need again: those of the tail's tokens and of the one before them.
std::uint64_t hidden_rows(std::int64_t position, std::int64_t tail) {
  return static_cast<std::uint64_t>(std::min(position, tail + 1));
}

void check_sizes(const Header& header, std::size_t file_size, std::string_view name, const Network& network,
                 const NetworkState& zero) {
  const std::uint64_t values = zero.layers.front().values.size(), most_hidden = zero.hidden.size();
  const auto layers = static_cast<std::uint64_t>(network.config().n_layer);
  const auto d_model = static_cast<std::uint64_t>(network.config().d_model);
  const bool fits = header.layers == layers && header.values == values &&
                    header.hidden <= std::min<std::uint64_t>(header.position, most_hidden) &&
                    header.position <= kLastPosition;
  const std::uint64_t fixed = sizeof(Header) + layers * (8 + values * sizeof(float)) +
                              header.hidden * d_model * sizeof(float) + sizeof(Checksum);
  if (!fits || file_size < fixed || header.note != file_size - fixed) {
    fail(ErrorCode::bad_format, "{}: the state is damaged: its sizes contradict its {} bytes", name,
         file_size);
  }
}

// Bytes from each end of a tensor: they tell trained models apart, and few pages are read.
constexpr std::int64_t kEnds = 256;

std::vector<std::byte> bytes_of_rows(const StoredRows& rows, std::int64_t first, std::int64_t count) {
  std::vector<std::byte> bytes, memory;
  for (std::int64_t i = first; i < first + count; ++i) {
    const std::byte* row = rows.row(i, memory);
    bytes.insert(bytes.end(), row, row + rows.bytes());
  }
  return bytes;
}

}  // namespace

std::uint64_t fingerprint(const Checkpoint& checkpoint) {
  std::string text = config_to_json(checkpoint.config);
  XXH3_state_t* hash = XXH3_createState();
  XXH3_64bits_reset(hash);
  XXH3_64bits_update(hash, text.data(), text.size());
  for (const Parameter& p : checkpoint.parameters) {
    const TensorView& tensor = checkpoint.tensor(p.name);
    const std::string row =
        fmt::format("{} {} {}", p.name, name_of(tensor.dtype), fmt::join(tensor.shape, " "));
    XXH3_64bits_update(hash, row.data(), row.size());
    const StoredRows rows(tensor);
    const std::int64_t some = std::min(rows.count(), kEnds / rows.bytes() + 1);
    const auto begin = bytes_of_rows(rows, 0, some), end = bytes_of_rows(rows, rows.count() - some, some);
    const std::size_t ends = std::min<std::size_t>(kEnds, begin.size());
    XXH3_64bits_update(hash, begin.data(), ends);
    XXH3_64bits_update(hash, end.data() + end.size() - ends, ends);
  }
  const std::uint64_t digest = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  return digest;
}

void write_state(const std::filesystem::path& path, std::uint64_t model, const SavedState& state) {
  Header header{.magic = {},
                .version = kVersion,
                .model = model,
                .position = static_cast<std::uint64_t>(state.network.position),
                .layers = state.network.layers.size(),
                .values = state.network.layers.front().values.size(),
                .hidden = hidden_rows(state.network.position, state.network.layers.front().tail),
                .note = state.note.size()};
  std::ranges::copy(kMagic, header.magic);
  Writer out(path);
  out.put(&header, sizeof header);
  for (const LayerState& layer : state.network.layers) {
    out.put(&layer.tail, sizeof layer.tail);
    out.put(layer.values.data(), layer.values.size() * sizeof(float));
  }
  for (std::uint64_t token = header.position - header.hidden; token < header.position; ++token) {
    const auto row = static_cast<std::int64_t>(token);
    out.put(state.network.hidden_of(row), state.network.hidden.front().size() * sizeof(float));
  }
  out.put(state.note.data(), state.note.size());
  out.finish();
}

SavedState parse_state(std::span<const std::byte> bytes, std::string_view name, std::uint64_t model,
                       const Network& network) {
  Header header;
  if (bytes.size() < sizeof header || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) {
    fail(ErrorCode::bad_format, "{}: this is no state of a mamba3 session", name);
  }
  Reader in(bytes);
  in.get(&header, sizeof header);
  if (header.version != kVersion) {
    fail(ErrorCode::unsupported, "{}: the state has version {}, expected {} (another release wrote it)", name,
         header.version, kVersion);
  }
  if (header.model != model) {
    fail(ErrorCode::invalid_argument, "{}: the state belongs to another model than {}", name,
         network.checkpoint().name);
  }
  SavedState state;
  state.network = zero_host_state(network.config());
  check_sizes(header, bytes.size(), name, network, state.network);
  Checksum stored;
  std::memcpy(&stored, bytes.data() + bytes.size() - sizeof stored, sizeof stored);
  if (XXH3_64bits(bytes.data(), bytes.size() - sizeof stored) != stored) {
    fail(ErrorCode::bad_format, "{}: the state is damaged: its checksum does not match", name);
  }
  state.network.position = static_cast<std::int64_t>(header.position);
  const std::int64_t chunk = mamba3_chunk(network.config().mixer);
  const std::int64_t longest = state.network.position % chunk;  // a tail never reaches beyond its chunk
  for (LayerState& layer : state.network.layers) {
    in.get(&layer.tail, sizeof layer.tail);
    if (layer.tail < 0 || layer.tail > longest) {
      fail(ErrorCode::bad_format, "{}: the state is damaged: a tail of {} tokens, expected 0 to {}", name,
           layer.tail, longest);
    }
    if (header.hidden != hidden_rows(state.network.position, layer.tail)) {
      fail(ErrorCode::bad_format,
           "{}: the state is damaged: {} hidden vectors do not fit a tail of {} tokens", name, header.hidden,
           layer.tail);
    }
    in.get(layer.values.data(), layer.values.size() * sizeof(float));
  }
  for (std::uint64_t token = header.position - header.hidden; token < header.position; ++token) {
    in.get(state.network.hidden_of(static_cast<std::int64_t>(token)),
           state.network.hidden.front().size() * sizeof(float));
  }
  state.note.resize(header.note);
  in.get(state.note.data(), header.note);
  return state;
}

}  // namespace mamba3
