// Which tensor becomes what, what the report says, and importance matrices that do not belong.
#include "model/quantize.h"

#include <cmath>
#include <fstream>

#include "core/error.h"
#include "core/threads.h"
#include "formats/gguf.h"
#include "model/network.h"
#include "model/store.h"
#include "support.h"

namespace mamba3 {
namespace {

// Rows of 256 (in_proj, up, gate, vocabulary), 512 (out_proj) and `ffn` (down).
ModelConfig config(std::int64_t d_model, std::int64_t ffn, bool tied = true) {
  ModelConfig c;
  c.d_model = c.mixer.d_model = d_model;
  c.n_layer = 2;
  c.vocab_size = 61;
  c.d_intermediate = c.ffn_width = ffn;
  c.tie_embeddings = tied;
  c.mixer.headdim = 32;
  c.mixer.d_state = 16;
  return c;
}

const Recipe& q4_k_m() {
  static const Recipe recipe = recipe_named("q4_k_m").value();
  return recipe;
}

std::string refusal(const std::function<void()>& call, ErrorCode code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words)
    EXPECT_NE(text.find(word), std::string::npos) << word << " in " << text;
}

class Quantize : public testing::Test {
 protected:
  test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "q.gguf";

  static std::map<std::string, DType> types(const ModelConfig& c, const Recipe& recipe) {
    const Checkpoint checkpoint = random_checkpoint(c, "c", 1, DType::bf16);
    const auto planned = planned_types(checkpoint, recipe);
    std::map<std::string, DType> result;
    for (std::size_t i = 0; i < planned.size(); ++i)
      result[checkpoint.parameters[i].name] = planned[i].stored;
    return result;
  }
};

TEST_F(Quantize, TheMixGivesMoreBitsToTheVocabularyAndTheSensitiveMatrices) {
  auto found = types(config(256, 512), q4_k_m());
  EXPECT_EQ(found.at("embedding"), DType::q6_k);
  EXPECT_EQ(found.at("layers.0.mixer.in_proj"), DType::q4_k);
  EXPECT_EQ(found.at("layers.1.mlp.gate"), DType::q4_k);
  EXPECT_EQ(found.at("layers.1.mlp.down"), DType::q4_k);
  EXPECT_EQ(found.at("layers.1.mixer.out_proj"), DType::q6_k);
  EXPECT_EQ(found.at("layers.1.mixer.dynamics"), DType::f32);
  EXPECT_EQ(found.at("layers.1.mixer.dt_bias"), DType::f32);
  EXPECT_EQ(found.at("norm_f.weight"), DType::f32);
  found = types(config(256, 512, false), q4_k_m());
  EXPECT_EQ(found.at("embedding"), DType::q6_k);
  EXPECT_EQ(found.at("head"), DType::q6_k);
}

TEST_F(Quantize, RowsThatBlocksDoNotDivideTakeWhatFits) {
  auto found = types(config(64, 128), q4_k_m());
  EXPECT_EQ(found.at("embedding"), DType::q8_0);
  EXPECT_EQ(found.at("layers.0.mixer.in_proj"), DType::q5_0);
  EXPECT_EQ(found.at("layers.0.mixer.out_proj"), DType::q8_0);
  found = types(config(64, 100), recipe_named("q5_k").value());
  EXPECT_EQ(found.at("layers.0.mlp.up"), DType::q5_1);
  EXPECT_EQ(found.at("layers.0.mlp.down"), DType::f32);
}

TEST_F(Quantize, EveryRecipeGivesAModelThatRunsAndAReportThatIsTrue) {
  const Checkpoint original = random_checkpoint(config(256, 512), "c", 1, DType::f32);
  const std::map<std::string, std::uint32_t> numbers = {
      {"q8_0", 7}, {"q6_k", 18}, {"q5_k", 16}, {"q4_k_m", 15}, {"q4_k", 14}, {"q5_1", 9},
      {"q5_0", 8}, {"q4_0", 2},  {"bf16", 32}, {"f16", 1},     {"f32", 0}};
  ASSERT_EQ(recipe_names().size(), numbers.size());
  for (const std::string& name : recipe_names()) {
    const auto report = quantize(original, path, recipe_named(name).value());
    EXPECT_EQ(read_gguf(path).integer("general.file_type"), numbers.at(name)) << name;
    Checkpoint found = load_checkpoint(path);
    ASSERT_EQ(report.size(), original.parameters.size());
    for (std::size_t i = 0; i < report.size(); ++i) {
      const Parameter& p = original.parameters[i];
      const TensorView& tensor = found.tensor(p.name);
      EXPECT_EQ(report[i].name, p.gguf);
      EXPECT_EQ(report[i].to, tensor.dtype) << p.name;
      EXPECT_EQ(report[i].bytes, std::ssize(tensor.bytes)) << p.name;
      EXPECT_EQ(report[i].relative_rms, squared_error(original.tensor(p.name), tensor).relative_rms());
      EXPECT_EQ(report[i].relative_rms > 0, p.precision == Precision::weight && name != "f32") << p.name;
      EXPECT_LT(report[i].relative_rms, 0.1) << p.name;
    }
    const Network network(std::move(found));
    NetworkState state = network.zero_state();
    Arena arena;
    std::vector<float> hidden(256, NAN), logits(static_cast<std::size_t>(network.config().vocab_rows()), NAN);
    network.prefill(arena, std::vector<TokenId>{1, 2, 3}, state, hidden.data());
    network.logits(arena, hidden.data(), 1, logits.data());
    for (const float value : logits) ASSERT_TRUE(std::isfinite(value)) << name;
  }
}

TEST_F(Quantize, ThreadsDoNotChangeAByte) {
  const Checkpoint c = random_checkpoint(config(256, 512), "c", 1, DType::f32);
  std::string first;
  for (const int count : {1, 3}) {
    use_threads(count);
    quantize(c, path, q4_k_m());
    const std::string bytes = test::read_file(path);
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << count << " threads";
  }
  use_threads(0);
}

TEST_F(Quantize, ProgressEndsAtTheWhole) {
  const Checkpoint c = random_checkpoint(config(64, 128), "c", 1, DType::f32);
  std::int64_t last = 0, all = 0;
  quantize(c, path, q4_k_m(), {}, [&](std::int64_t done, std::int64_t of) {
    EXPECT_GT(done, last);
    last = done;
    all = of;
  });
  EXPECT_GT(all, 0);
  EXPECT_EQ(last, all);
}

TEST_F(Quantize, QuantizedSourcesAreRefusedUnlessAllowed) {
  const Checkpoint c = random_checkpoint(config(64, 128), "c", 1, DType::q8_0);
  const auto text = refusal([&] { quantize(c, path, q4_k_m()); }, ErrorCode::invalid_argument);
  expect_words(text, {"blk.0.ssm_in.weight", "Q8_0", "--allow-requantize"});
  EXPECT_FALSE(std::filesystem::exists(path));
  quantize(c, path, q4_k_m(), {.allow_requantize = true});
  EXPECT_EQ(load_checkpoint(path).tensor("layers.0.mixer.in_proj").dtype, DType::q5_0);
  quantize(c, path, recipe_named("q8_0").value());  // nothing changes its type
}

TEST_F(Quantize, ValuesThatATypeCannotHoldAreNamed) {
  Checkpoint c = random_checkpoint(config(64, 128), "c", 1, DType::f32);
  TensorView& tensor = c.tensors.at("layers.1.mixer.out_proj");
  std::vector<std::byte> changed(tensor.bytes.begin(), tensor.bytes.end());
  const float huge = 1e20f;
  std::memcpy(changed.data() + 400, &huge, sizeof huge);
  tensor.bytes = changed;
  const auto text = refusal([&] { quantize(c, path, q4_k_m()); }, ErrorCode::numeric);
  expect_words(text, {"blk.1.ssm_out.weight", "Q8_0"});
  EXPECT_FALSE(std::filesystem::exists(path));
}

class Importance : public Quantize {
 protected:
  const Checkpoint checkpoint = random_checkpoint(config(64, 128), "c", 1, DType::f32);

  ImportanceMatrix matrix(const Checkpoint& of) const {
    ImportanceMatrix result;
    for (const Parameter* p : product_matrices(of.parameters)) {
      auto& entry = result.entries[p->gguf];
      entry.tokens = 512;
      for (std::int64_t i = 0; i < p->shape.back(); ++i)
        entry.mean_squares.push_back(i % 4 == 0 ? 64.0f : 0.25f);
    }
    result.dataset = "text";
    result.chunks = 1;
    result.chunk_tokens = 512;
    return result;
  }

  // What is said of a file with one thing changed.
  std::string said(const std::function<void(ImportanceMatrix&)>& change) {
    ImportanceMatrix changed = matrix(checkpoint);
    change(changed);
    save_importance(changed, path);
    return refusal([&] { load_importance(path, checkpoint); }, ErrorCode::bad_format);
  }
};

TEST_F(Importance, ComesBackFromItsFile) {
  const ImportanceMatrix original = matrix(checkpoint);
  save_importance(original, path);
  const ImportanceMatrix found = load_importance(path, checkpoint);
  ASSERT_EQ(found.entries.size(), original.entries.size());
  for (const auto& [name, entry] : original.entries) {
    EXPECT_EQ(found.entries.at(name).mean_squares, entry.mean_squares) << name;
    EXPECT_EQ(found.entries.at(name).tokens, 512);
  }
  EXPECT_EQ(found.dataset, "text");
  EXPECT_EQ(found.chunk_tokens, 512);
}

TEST_F(Importance, HasTheNamesThatLlamaCppReads) {
  save_importance(matrix(checkpoint), path);
  const GgufFile file = read_gguf(path);
  EXPECT_EQ(file.text("general.type"), "imatrix");
  EXPECT_EQ(file.integer("imatrix.chunk_count"), 1);
  EXPECT_EQ(file.integer("imatrix.chunk_size"), 512);
  EXPECT_EQ(file.texts("imatrix.datasets"), std::vector<std::string>{"text"});
  EXPECT_EQ(file.file.tensors.at("blk.0.ssm_in.weight.in_sum2").shape, (Shape{1, 64}));
  float first = 0;
  std::memcpy(&first, file.file.tensors.at("blk.0.ssm_in.weight.in_sum2").bytes.data(), sizeof first);
  EXPECT_EQ(first, 512 * 64.0f) << "a sum, not a mean";
  EXPECT_EQ(file.file.tensors.at("blk.0.ssm_in.weight.counts").shape, (Shape{1, 1}));
}

TEST_F(Importance, CoversEveryProductAndNoTable) {
  const auto has = [](const Checkpoint& c, const char* name) {
    const auto found = product_matrices(c.parameters);
    return std::ranges::any_of(found, [&](const Parameter* p) { return p->name == name; });
  };
  EXPECT_TRUE(has(checkpoint, "embedding")) << "a tied embedding is the head";
  const Checkpoint untied = random_checkpoint(config(64, 128, false), "c", 1, DType::f32);
  EXPECT_FALSE(has(untied, "embedding"));
  EXPECT_TRUE(has(untied, "head"));
  EXPECT_FALSE(has(untied, "layers.0.mixer.dynamics"));
}

TEST_F(Importance, MovesTheErrorToTheColumnsThatMatterLess) {
  const ImportanceMatrix importance = matrix(checkpoint);
  const auto weighted_error = [&](const ImportanceMatrix* used) {
    quantize(checkpoint, path, q4_k_m(), {.importance = used});
    const Checkpoint found = load_checkpoint(path);
    const TensorView &a = checkpoint.tensor("layers.0.mlp.up"), &b = found.tensor("layers.0.mlp.up");
    std::vector<float> x(static_cast<std::size_t>(a.elements())), y(x.size());
    to_float(a.dtype, a.bytes.data(), a.elements(), x.data());
    to_float(b.dtype, b.bytes.data(), b.elements(), y.data());
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      sum += (i % 4 == 0 ? 64.0 : 0.25) * (x[i] - y[i]) * (x[i] - y[i]);
    return sum;
  };
  const double with = weighted_error(&importance), without = weighted_error(nullptr);
  // The scale of 32 values, fitted to these weights: they count as (sum w)^2 / sum w^2 values, and one
  // parameter takes off the error of one of them. The choice of the codes takes off more.
  const double counting = (8 * 64 + 24 * 0.25) * (8 * 64 + 24 * 0.25) / (8 * 64 * 64 + 24 * 0.25 * 0.25);
  EXPECT_LT(with, (1 - 1 / counting) * without);
  EXPECT_EQ(read_gguf(path).find("quantize.imatrix.dataset"), nullptr);
  quantize(checkpoint, path, q4_k_m(), {.importance = &importance});
  EXPECT_EQ(read_gguf(path).text("quantize.imatrix.dataset"), "text");
}

TEST_F(Importance, OfAnotherModelIsRefusedByName) {
  const std::string name = "blk.1.ffn_down.weight";
  expect_words(said([&](auto& m) { m.entries.erase(name); }), {"q.gguf", name + ".in_sum2", "has no"});
  expect_words(said([&](auto& m) { m.entries.at(name).mean_squares.pop_back(); }),
               {name + ".in_sum2", "127 values", "expected 128"});
  expect_words(said([&](auto& m) { m.entries["blk.2.ffn_down.weight"] = m.entries.at(name); }),
               {"blk.2.ffn_down.weight", "which this model has not"});
  for (const float bad : {-1.0f, NAN, HUGE_VALF}) {
    expect_words(said([&](auto& m) { m.entries.at(name).mean_squares[5] = bad; }),
                 {name + ".in_sum2", "at element 5", "finite"});
  }
  expect_words(said([&](auto& m) { m.entries.at(name).tokens = 0; }),
               {name + ".counts", "at least one token"});
}

TEST_F(Importance, AModelIsNone) {
  save_gguf(checkpoint, path, DType::f32);
  expect_words(refusal([&] { load_importance(path, checkpoint); }, ErrorCode::bad_format),
               {"not an importance matrix"});
}

}  // namespace
}  // namespace mamba3
