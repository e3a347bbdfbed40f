// Files whose matrices lie in tiles: the same model as in rows, from every reader.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "formats/gguf.h"
#include "model/finite.h"
#include "model/network.h"
#include "model/quantize.h"
#include "model/reference_model.h"
#include "model/store.h"
#include "ops/linear/pack.h"
#include "support.h"

namespace mamba3 {
namespace {

// 64 rows in `dynamics`, so that they fit tiles; up [ffn, 256], down [256, ffn].
ModelConfig config(std::int64_t ffn) {
  ModelConfig c;
  c.d_model = c.mixer.d_model = 256;
  c.n_layer = 1;
  c.vocab_size = 61;
  c.d_intermediate = c.ffn_width = ffn;
  c.mixer.headdim = 32;
  c.mixer.d_state = 64;
  return c;
}

std::vector<float> logits(Checkpoint checkpoint) {
  const Network network(std::move(checkpoint));
  NetworkState state = network.zero_state();
  Arena arena;
  std::vector<float> hidden(256, NAN), found(static_cast<std::size_t>(network.config().vocab_rows()), NAN);
  network.prefill(arena, std::vector<TokenId>{1, 2, 3}, state, hidden.data());
  network.logits(arena, hidden.data(), 1, found.data());
  return found;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool same_bytes(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && std::ranges::equal(a.bytes, b.bytes);
}

class LayoutOfFiles : public testing::TestWithParam<std::string_view> {
 protected:
  const test::TemporaryFolder folder;
  const std::filesystem::path rows_path = folder / "rows.gguf", tiles_path = folder / "tiles.gguf",
                              back_path = folder / "back.gguf";

  std::vector<QuantizedTensor> write(const Checkpoint& from, const std::filesystem::path& to, Layout layout) {
    return quantize(from, to, recipe_named(GetParam()).value(), {.layout = layout});
  }
};

TEST_P(LayoutOfFiles, RowsToTilesAndBackIsTheSameFile) {
  for (const std::int64_t ffn : {512, 100, 101}) {  // 100, 101: rows that fill no tiles, odd columns
    const Checkpoint original = random_checkpoint(config(ffn), "c", 1, DType::f32);
    const auto report = write(original, rows_path, Layout::rows);
    const auto tiled_report = write(original, tiles_path, Layout::tiles);
    const Checkpoint rows = load_checkpoint(rows_path), tiles = load_checkpoint(tiles_path);
    write(tiles, back_path, Layout::rows);
    const Checkpoint back = load_checkpoint(back_path);
    EXPECT_EQ(read_gguf(back_path).find("mamba3.layout"), nullptr);
    EXPECT_EQ(read_gguf(tiles_path).text("mamba3.layout"), "tiles16");
    EXPECT_EQ(read_gguf(tiles_path).integer("general.alignment"), 64);
    for (std::size_t i = 0; i < report.size(); ++i) {
      const Parameter& p = original.parameters[i];
      const TensorView &a = rows.tensor(p.name), &b = tiles.tensor(p.name);
      EXPECT_FALSE(a.tiled);
      EXPECT_EQ(b.tiled, packs_in_place(b.dtype, p.shape)) << p.name;
      EXPECT_EQ(same_bytes(a, b), !b.tiled) << p.name;
      EXPECT_TRUE(same_bytes(a, back.tensor(p.name))) << p.name;
      EXPECT_EQ(report[i].relative_rms, tiled_report[i].relative_rms) << p.name;
      EXPECT_EQ(squared_error(a, b).error, 0) << p.name;
    }
    EXPECT_TRUE(tiles.tensor("embedding").tiled);
    EXPECT_EQ(tiles.tensor("layers.0.mlp.up").tiled, ffn % 16 == 0);
    write(tiles, back_path, Layout::tiles);
    for (const Parameter& p : original.parameters) {
      EXPECT_TRUE(same_bytes(load_checkpoint(back_path).tensor(p.name), tiles.tensor(p.name))) << p.name;
    }
  }
}

TEST_P(LayoutOfFiles, TheModelIsTheSame) {
  const Checkpoint original = random_checkpoint(config(512), "c", 1, DType::f32);
  write(original, rows_path, Layout::rows);
  write(original, tiles_path, Layout::tiles);
  const Checkpoint rows = load_checkpoint(rows_path), tiles = load_checkpoint(tiles_path);
  const std::vector<float> expected = logits(rows);
  EXPECT_TRUE(same_bits(logits(tiles), expected));

  const std::string file = test::read_file(tiles_path);
  for (const std::size_t off : {0, 4}) {  // a file may lie anywhere
    std::vector<std::byte, CacheLineAllocator<std::byte>> memory(file.size() + off);
    std::memcpy(memory.data() + off, file.data(), file.size());
    EXPECT_TRUE(same_bits(logits(parse_gguf_checkpoint(std::span(memory).subspan(off), "memory")), expected))
        << off;
  }
  for (const Parameter& p : original.parameters) {
    EXPECT_EQ(reference::values_of<double>(tiles.tensor(p.name)),
              reference::values_of<double>(rows.tensor(p.name)))
        << p.name;
    EXPECT_EQ(reference::values_of<float>(tiles.tensor(p.name)),
              reference::values_of<float>(rows.tensor(p.name)))
        << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LayoutOfFiles,
                         testing::Values("f32", "f16", "bf16", "q8_0", "q5_0", "q4_k", "q6_k", "q4_k_m"),
                         [](const auto& each) { return std::string(each.param); });

class Tiled : public testing::Test {
 protected:
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "tiles.gguf";
  Checkpoint checkpoint = random_checkpoint(config(512), "c", 1, DType::bf16);
  std::vector<std::vector<std::byte>> memories;

  // The parameter as `type`, in tiles or in rows.
  void store_as(Checkpoint& c, const char* name, DType type, bool tiled) {
    TensorView& tensor = c.tensors.at(name);
    auto& rows = memories.emplace_back(static_cast<std::size_t>(*bytes_of(type, tensor.elements())));
    store_tensor(tensor, type, nullptr, rows);
    tensor = {type, tensor.shape, rows};
    if (!tiled) return;
    auto& tiles = memories.emplace_back(rows.size());
    pack(matrix_of(tensor), tiles.data());
    tensor = {type, tensor.shape, tiles, true};
  }

  // The checkpoint's bytes as they are, with this said of them.
  std::string file(const GgufValue& layout) {
    std::vector<DType> types;
    for (const Parameter& p : checkpoint.parameters) types.push_back(checkpoint.tensor(p.name).dtype);
    write_model_gguf(checkpoint, path, 32, types, {{"mamba3.layout", layout}},
                     [&](std::size_t i, std::span<std::byte> out) {
                       std::ranges::copy(checkpoint.tensor(checkpoint.parameters[i].name).bytes, out.begin());
                     });
    return test::read_file(path);
  }

  static std::string said(const std::string& bytes, ErrorCode code) {
    try {
      parse_gguf_checkpoint(std::as_bytes(std::span(bytes)), "it.gguf");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return error.what();
    }
    ADD_FAILURE() << "nothing was refused";
    return "";
  }
};

TEST_F(Tiled, MatricesThatChangeTheirTypeAreUnpacked) {
  const char* dynamics = "layers.0.mixer.dynamics";
  for (const DType type : {DType::bf16, DType::q8_0}) {
    Checkpoint rows = checkpoint, tiles = checkpoint;
    ASSERT_TRUE(packs_in_place(type, rows.tensor(dynamics).shape));
    store_as(rows, dynamics, type, false);
    store_as(tiles, dynamics, type, true);
    EXPECT_TRUE(same_bits(logits(tiles), logits(rows))) << name_of(type);
  }
}

TEST_F(Tiled, ValuesThatAreNoNumbersAreNamedByTheirPlace) {
  TensorView& embedding = checkpoint.tensors.at("embedding");
  std::vector<std::byte> changed(embedding.bytes.begin(), embedding.bytes.end());
  changed[2 * 1000] = std::byte{0xc0};
  changed[2 * 1000 + 1] = std::byte{0x7f};
  embedding.bytes = changed;
  save_gguf(checkpoint, path, DType::bf16, Layout::tiles);
  try {
    check_finite(load_checkpoint(path));
    ADD_FAILURE() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("token_embd.weight holds NaN at element 1000"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(Tiled, LayoutsOfOtherNamesAreRefused) {
  const std::string text = said(file(std::string("tiles32")), ErrorCode::unsupported);
  for (const char* word : {"it.gguf", "mamba3.layout", "tiles32", "tiles16"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << " in " << text;
  }
  EXPECT_NE(said(file(std::uint32_t{16}), ErrorCode::bad_format).find("mamba3.layout"), std::string::npos);
}

TEST_F(Tiled, RowsByNameAreRows) {
  const std::string bytes = file(std::string("rows"));
  const Checkpoint found = parse_gguf_checkpoint(std::as_bytes(std::span(bytes)), "it.gguf");
  for (const auto& [name, tensor] : found.tensors) EXPECT_FALSE(tensor.tiled) << name;
}

TEST_F(Tiled, ATensorThatEndsBehindTheFileIsRefused) {
  save_gguf(checkpoint, path, DType::bf16, Layout::tiles);
  std::string bytes = test::read_file(path);
  bytes.resize(bytes.size() - 8192);
  said(bytes, ErrorCode::bad_format);
}

TEST(PacksInPlace, AsksForWholeTilesAndWholeBlocks) {
  EXPECT_TRUE(packs_in_place(DType::q8_0, {32, 64}));
  EXPECT_FALSE(packs_in_place(DType::q8_0, {40, 64}));
  EXPECT_TRUE(packs_in_place(DType::bf16, {16, 6}));
  EXPECT_FALSE(packs_in_place(DType::bf16, {16, 7}));
  EXPECT_TRUE(packs_in_place(DType::f16, {16, 7}));
  EXPECT_FALSE(packs_in_place(DType::f64, {16, 8}));
  EXPECT_FALSE(packs_in_place(DType::f32, {16}));
  EXPECT_FALSE(packs_in_place(DType::f32, {16, 2, 2}));
  for (const DType type : {DType::f32, DType::bf16, DType::q8_0, DType::q4_1, DType::q5_k, DType::q6_k}) {
    EXPECT_TRUE(packs_in_place(type, {32, 256}));
    EXPECT_EQ(packed_bytes(type, 32, 256), bytes_of(type, 32 * 256)) << name_of(type);
  }
}

}  // namespace
}  // namespace mamba3
