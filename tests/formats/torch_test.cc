#include <cmath>

#include "expect.h"
#include "file_bytes.h"
#include "formats/tensor_file.h"
#include "support.h"

namespace mamba3 {
namespace {

using test::bytes_of;
using test::expect_mentions;
using test::floats_of;
using test::le_all;
using test::PickleBytes;
using test::refusal;
using test::state_dict;
using test::torch_file;
using test::ZipBytes;
using Floats = std::vector<float>;
using Storages = std::vector<std::pair<std::string, std::string>>;

const std::string kFour = le_all<float>({0, 1, 2, 3});
const std::string kSix = le_all<float>({0, 1, 2, 3, 4, 5});

/// A file and the bytes that it views.
struct Parsed {
  std::string bytes;
  TensorFile file = parse_torch(bytes_of(bytes), "some.bin");
  const TensorView& operator[](const std::string& name) const { return file.tensors.at(name); }
};

Parsed parsed(const std::string& pickle, const Storages& storages = {{"0", kFour}},
              const ZipBytes::Options& options = {}) {
  return {torch_file(pickle, storages, options)};
}

std::string refused(const std::string& pickle, const Storages& storages = {{"0", kFour}},
                    const ZipBytes::Options& options = {}) {
  const std::string bytes = torch_file(pickle, storages, options);
  const std::string message = refusal([&] { parse_torch(bytes_of(bytes), "some.bin"); });
  expect_mentions(message, {"some.bin"});
  return message;
}

std::string refused_tensor(const PickleBytes::Tensor& tensor, const Storages& storages = {{"0", kFour}}) {
  return refused(state_dict({{"w", tensor}}), storages);
}

bool lies_in(const TensorView& view, const std::string& bytes) {
  const auto* begin = reinterpret_cast<const char*>(view.bytes.data());
  return begin >= bytes.data() && begin + view.bytes.size() <= bytes.data() + bytes.size();
}

// ---- the fixtures

Floats some_of(const TensorView& view) {
  const Floats all = floats_of(view);
  return {all[0], all[1], all[2], all[3], all[all.size() - 2], all.back()};
}

TEST(TorchFixtures, TinySiso) {
  const TensorFile file = read_torch(test::fixtures() / "tiny-siso" / "pytorch_model.bin");
  ASSERT_EQ(file.tensors.size(), 21u);
  const TensorView& embedding = file.tensors.at("backbone.embedding.weight");
  EXPECT_EQ(embedding.dtype, DType::bf16);
  EXPECT_EQ(embedding.shape, (Shape{64, 32}));
  EXPECT_EQ(some_of(embedding),
            (Floats{0.045166015625f, -0.5f, -1.2734375f, -0.51953125f, -0.2353515625f, -0.0023193359375f}));
  EXPECT_EQ(file.tensors.at("lm_head.weight").bytes.data(), embedding.bytes.data()) << "one shared storage";
  EXPECT_EQ(file.tensors.at("backbone.layers.0.norm.weight").dtype, DType::f16);
  EXPECT_EQ(
      floats_of(file.tensors.at("backbone.layers.0.mixer.dt_bias")),
      (Floats{-0.003208160400390625f, -3.7978293895721436f, -2.717494249343872f, -4.2027997970581055f}));
  const TensorView& inside =
      file.tensors.at("backbone.layers.0.mixer.B_bias");  // from element 5 of its storage
  EXPECT_EQ(inside.shape, (Shape{4, 1, 8}));
  EXPECT_EQ(some_of(inside), (Floats{0.77734375f, 0.6484375f, 2.4375f, 1.5546875f, 0.79296875f, 1.375f}));
  const TensorView& transposed = file.tensors.at("backbone.layers.1.mixer.out_proj.weight");
  EXPECT_EQ(transposed.shape, (Shape{32, 64}));
  EXPECT_EQ(some_of(transposed), (Floats{-0.013916015625f, -0.1865234375f, -0.031494140625f, -0.036376953125f,
                                         0.23828125f, 0.11181640625f}));
}

TEST(TorchFixtures, TinyMimo) {
  const TensorFile file = read_torch(test::fixtures() / "tiny-mimo" / "pytorch_model.bin");
  ASSERT_EQ(file.tensors.size(), 40u);
  EXPECT_EQ(
      some_of(file.tensors.at("backbone.layers.1.mixer.out_proj.weight")),
      (Floats{0.1142578125f, 0.054931640625f, -0.0888671875f, -0.0400390625f, -0.08544921875f, 0.234375f}));
  EXPECT_EQ(some_of(file.tensors.at("backbone.layers.0.mixer.B_bias")),
            (Floats{1.109375f, 1.2890625f, 1.203125f, 0.79296875f, 0.357421875f, 2.1875f}));
  EXPECT_EQ(some_of(file.tensors.at("lm_head.weight")),
            (Floats{0.1572265625f, 0.330078125f, -0.14453125f, 0.041015625f, -0.11083984375f, -0.2265625f}));
}

TEST(TorchFixtures, SumsAreRightAndADamagedByteIsFound) {
  std::string bytes = test::read_file(test::fixtures() / "tiny-siso" / "pytorch_model.bin");
  EXPECT_NO_THROW(check_torch_sums(bytes_of(bytes), "tiny"));
  bytes[bytes.size() / 2] ^= 1;
  expect_mentions(refusal([&] { check_torch_sums(bytes_of(bytes), "tiny"); }),
                  {"tiny", "pytorch_model/data/", "CRC-32"});
}

TEST(TorchFixtures, EveryTruncationIsRefused) {
  const std::string whole = test::read_file(test::fixtures() / "bad" / "good.bin");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::byte> part(bytes_of(whole).begin(),
                                      bytes_of(whole).begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THROW(parse_torch(part, "part"), Error) << size;
  }
}

TEST(TorchFixtures, ReferenceModelsLoad) {
  MAMBA3_NEEDS_TEST_DATA(data);
  EXPECT_EQ(read_torch(data / "models" / "classics-siso-20m" / "pytorch_model.bin").tensors.size(), 99u);
  EXPECT_EQ(read_torch(data / "models" / "classics-mimo-20m" / "pytorch_model.bin").tensors.size(), 123u);
}

// ---- tensors

TEST(TorchTensor, EveryTypeIsAView) {
  const std::vector<std::pair<std::string, DType>> types = {
      {"DoubleStorage", DType::f64},    {"FloatStorage", DType::f32}, {"HalfStorage", DType::f16},
      {"BFloat16Storage", DType::bf16}, {"LongStorage", DType::i64},  {"IntStorage", DType::i32},
      {"ShortStorage", DType::i16},     {"CharStorage", DType::i8},   {"ByteStorage", DType::u8},
      {"BoolStorage", DType::boolean}};
  for (const auto& [name, type] : types) {
    const std::string data(static_cast<std::size_t>(4 * block_of(type).bytes), '\x01');
    const Parsed file = parsed(state_dict({{"w", {.type = name}}}), {{"0", data}});
    EXPECT_EQ(file["w"].dtype, type);
    EXPECT_TRUE(lies_in(file["w"], file.bytes)) << name;
    EXPECT_TRUE(std::ranges::equal(file["w"].bytes, bytes_of(data))) << name;
    EXPECT_TRUE(file.file.owners.empty());
  }
}

Floats strided(std::int64_t offset, const Shape& shape, const Shape& strides) {
  return floats_of(
      parsed(state_dict({{"w", {.elements = 6, .offset = offset, .shape = shape, .strides = strides}}}),
             {{"0", kSix}})["w"]);
}

TEST(TorchTensor, StridesAreUndone) {
  EXPECT_EQ(strided(0, {3, 2}, {1, 3}), (Floats{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(strided(1, {2, 2}, {3, 1}), (Floats{1, 2, 4, 5}));
  EXPECT_EQ(strided(1, {3}, {2}), (Floats{1, 3, 5}));
  EXPECT_EQ(strided(2, {2, 3}, {0, 1}), (Floats{2, 3, 4, 2, 3, 4}));
  EXPECT_EQ(strided(0, {2, 1, 3}, {1, 77, 2}), (Floats{0, 2, 4, 1, 3, 5}));
  EXPECT_EQ(strided(0, {2, 2, 1, 2}, {1, 2, 9, 1}), (Floats{0, 1, 2, 3, 1, 2, 3, 4}));
}

TEST(TorchTensor, ContiguousOnesStayInPlace) {
  EXPECT_EQ(strided(3, {3}, {1}), (Floats{3, 4, 5}));
  EXPECT_EQ(strided(5, {}, {}), Floats{5});
  EXPECT_EQ(strided(4, {1, 2}, {1000, 1}), (Floats{4, 5}));
  EXPECT_EQ(strided(6, {0, 3}, {3, 1}), Floats{});
  const Parsed file = parsed(
      state_dict({{"w", {.elements = 6, .offset = 2, .shape = {1, 2}, .strides = {99, 1}}}}), {{"0", kSix}});
  EXPECT_TRUE(lies_in(file["w"], file.bytes));
}

TEST(TorchTensor, MayShareAStorage) {
  const Parsed file = parsed(state_dict({{"a", {}}, {"b", {.offset = 1, .shape = {2}, .strides = {1}}}}));
  EXPECT_EQ(file["a"].bytes.data() + sizeof(float), file["b"].bytes.data());
}

TEST(TorchTensor, StaysWithinItsStorage) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  const std::vector<PickleBytes::Tensor> outside = {
      {.offset = 1},
      {.offset = -1},
      {.offset = 5, .shape = {0}, .strides = {1}},
      {.offset = kHuge},
      {.shape = {-2, 2}},
      {.strides = {-2, 1}},
      {.strides = {2}},
      {.shape = {2, 2}, .strides = {3, 1}},
      {.shape = {kHuge, 4}, .strides = {0, 0}},
      {.shape = {kHuge, 2}, .strides = {1, 0}},
      {.shape = {3, 2}, .strides = {kHuge, 1}},
      {.shape = {5}, .strides = {kHuge}},
  };
  for (const auto& tensor : outside)
    expect_mentions(refused_tensor(tensor), {"\"w\"", "storage of 4 elements"});
}

TEST(TorchTensor, TheStorageHasItsBytes) {
  expect_mentions(refused_tensor({.elements = 5}), {"\"w\"", "storage \"0\"", "5 elements", "16 bytes"});
  expect_mentions(refused_tensor({.type = "DoubleStorage"}), {"\"w\"", "storage \"0\"", "F64", "16 bytes"});
  expect_mentions(refused_tensor({.elements = std::int64_t{1} << 62}), {"\"w\"", "storage \"0\""});
  expect_mentions(refused_tensor({.elements = -4, .shape = {0}, .strides = {1}}), {"\"w\""});
  expect_mentions(refused_tensor({.key = "../data.pkl"}), {"../data.pkl", "not in the file"});
}

TEST(TorchTensor, CopiesAreBounded) {
  const Parsed expanded = parsed(state_dict({{"w", {.shape = {100'000}, .strides = {0}}}}));
  EXPECT_EQ(floats_of(expanded["w"]), Floats(100'000, 0.0f));
  EXPECT_EQ(expanded.file.owners.size(), 1u);
  expect_mentions(refused_tensor({.shape = {std::int64_t{1} << 40}, .strides = {0}}), {"\"w\"", "copied"});
  expect_mentions(refused_tensor({.shape = {std::int64_t{1} << 62}, .strides = {0}}), {"\"w\""});
  std::vector<std::pair<std::string, PickleBytes::Tensor>> many;
  for (int i = 0; i < 100; ++i) many.push_back({std::to_string(i), {.shape = {100'000}, .strides = {0}}});
  expect_mentions(refused(state_dict(many)), {"copied"});
}

TEST(TorchTensor, HasAtMostSixtyFourAxes) {
  EXPECT_EQ(floats_of(parsed(state_dict({{"w", {.shape = Shape(64, 1), .strides = Shape(64, 1)}}}))["w"]),
            Floats{0});
  expect_mentions(refused_tensor({.shape = Shape(65, 1), .strides = Shape(65, 1)}), {"\"w\"", "65 axes"});
}

// ---- state dicts

PickleBytes start(const std::string& opcodes) {
  PickleBytes pickle;
  pickle.add(opcodes);
  return pickle;
}

TEST(TorchDict, OtherValuesAreIgnored) {
  const std::string pickle = start("}(")
                                 .text("step")
                                 .number(7)
                                 .text("rate")
                                 .add("G")
                                 .add(std::string(8, '\x40'))
                                 .text("none")
                                 .add("N")
                                 .text("big")
                                 .add("\x8a\x0a")
                                 .add(std::string(10, '\x7f'))
                                 .text("list")
                                 .add("](K\x01K\x02")
                                 .add("e")
                                 .text("bytes")
                                 .add("C\x02xy")
                                 .text("w")
                                 .tensor({})
                                 .add("u")
                                 .finish();
  EXPECT_EQ(parsed(pickle).file.tensors.size(), 1u);
}

TEST(TorchDict, AnOrderedDictWithAttributes) {
  const std::string pickle = start("")
                                 .global("collections", "OrderedDict")
                                 .add(")R(")
                                 .text("w")
                                 .tensor({})
                                 .add("u}")
                                 .text("_metadata")
                                 .add("}sb")
                                 .finish();
  EXPECT_EQ(floats_of(parsed(pickle)["w"]), (Floats{0, 1, 2, 3}));
}

TEST(TorchDict, ParametersAndSizes) {
  const std::string parameter = start("}")
                                    .text("w")
                                    .global("torch._utils", "_rebuild_parameter")
                                    .add("(")
                                    .tensor({})
                                    .add("\x88")
                                    .global("collections", "OrderedDict")
                                    .add(")RtRs")
                                    .finish();
  EXPECT_EQ(floats_of(parsed(parameter)["w"]), (Floats{0, 1, 2, 3}));
  const std::string size = start("}")
                               .text("w")
                               .global("torch._utils", "_rebuild_tensor_v2")
                               .add("(")
                               .storage("FloatStorage", "0", 4)
                               .number(0)
                               .global("torch", "Size")
                               .numbers({2})
                               .add("\x85R")
                               .numbers({1})
                               .add("\x89N}tRs")
                               .finish();
  EXPECT_EQ(floats_of(parsed(size)["w"]), (Floats{0, 1}));
}

TEST(TorchDict, ATrainingCheckpointHoldsItsModel) {
  for (const std::string name : {"state_dict", "model"}) {
    const std::string pickle =
        start("}(").text("epoch").number(3).text(name).add("}").text("w").tensor({}).add("su").finish();
    EXPECT_EQ(parsed(pickle).file.tensors.size(), 1u) << name;
  }
  const std::string both =
      start("}(").text("model").add("}").text("w").tensor({}).add("s").text("state_dict").add("}u").finish();
  expect_mentions(refused(both), {"state_dict", "model"});
}

TEST(TorchDict, MustHoldTensorsByName) {
  expect_mentions(refused(start("}").finish()), {"no tensor"});
  expect_mentions(refused(start("}").text("optimizer").add("}").text("w").tensor({}).add("ss").finish()),
                  {"no tensor"});
  expect_mentions(refused(start("").tensor({}).finish()), {"dict"});
  expect_mentions(refused(start("}").number(1).tensor({}).add("s").finish()), {"name"});
  expect_mentions(refused(state_dict({{"w", {}}, {"w", {}}})), {"\"w\"", "twice"});
}

// ---- pickles

TEST(TorchPickle, NewerProtocols) {
  PickleBytes pickle;
  pickle.add("\x80\x04\x95").add(std::string(8, '\0')).add("}\x94\x8c\x01w\x94");
  pickle.add("\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94(");
  pickle.storage("FloatStorage", "0", 4).number(0).numbers({4}).numbers({1}).add("\x89}tRs");
  EXPECT_EQ(floats_of(parsed(pickle.finish())["w"]), (Floats{0, 1, 2, 3}));
}

TEST(TorchPickle, MemoReferencesShare) {
  const std::string pickle = start("}(")
                                 .text("a")
                                 .tensor({})
                                 .add("q\x05")
                                 .text("b")
                                 .add("h\x05")
                                 .text("c")
                                 .add("j\x05")
                                 .add(std::string(3, '\0'))
                                 .add("u")
                                 .finish();
  const Parsed file = parsed(pickle);
  EXPECT_EQ(file["a"].bytes.data(), file["c"].bytes.data());
}

TEST(TorchPickle, OnlyKnownGlobals) {
  expect_mentions(refused(start("").global("os", "system").add("(").text("true").add("tR").finish()),
                  {"os.system"});
  expect_mentions(refused(start("\x8c\x02os\x8c\x06system\x93").finish()), {"os.system"});
  expect_mentions(
      refused(start("}(").text("w").tensor({}).text("x").global("builtins", "eval").add("0u").finish()),
      {"builtins.eval"});
  expect_mentions(refused(start("").global("torch.storage", "UntypedStorage").finish()),
                  {"torch.storage.UntypedStorage"});
  expect_mentions(refused(start("").global("torch", "QUInt8Storage").finish()), {"QUInt8Storage"});
  expect_mentions(refused(start("").global("collections", "OrderedDict\x1b[2J").finish()), {"\\x1b"});
  expect_mentions(refused(start("").global("os", std::string(100'000, 'x')).finish()), {"xxx\"..."});
}

TEST(TorchPickle, OpcodesThatWeightsDoNotNeed) {
  const std::string number_of[] = {"\x81", "\x82", "i", "o", "2", "P", "I", "\x92", "\x8f", "\x97", "\xff"};
  for (const std::string& opcode : number_of) {
    expect_mentions(refused(start("))").add(opcode).add("xx\nyy\n").finish()), {"opcode 0x"});
  }
  expect_mentions(refused(start(std::string("\x80\x01", 2)).finish()), {"protocol 1"});
  expect_mentions(refused(start("\x80\x06").finish()), {"protocol 6"});
}

TEST(TorchPickle, BrokenOnes) {
  const std::vector<std::string> broken = {"",
                                           "0",
                                           "t",
                                           "u",
                                           "s",
                                           "(u",
                                           "}(K\x01u",
                                           "\x85",
                                           "(\x85",
                                           "R",
                                           ")R",
                                           "))R",
                                           "Q",
                                           "K\x01Q",
                                           ")Q",
                                           "h\x07",
                                           "j\x01\x02\x03\x04",
                                           "q\x01",
                                           "b",
                                           "}b",
                                           "a",
                                           "}K\x01"
                                           "a",
                                           "K\x01K\x01"
                                           "a",
                                           "(",
                                           "X\xff\xff\xff\xff"
                                           "a",
                                           "\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
                                           "\x8a\x05"
                                           "ab",
                                           "cos",
                                           "cos\nsystem",
                                           "G12",
                                           "](K\x01.",
                                           "K\x01K\x02\x93",
                                           "(K\x01"
                                           "e"};
  for (const std::string& opcodes : broken) {
    const std::string bytes = torch_file("\x80\x02" + opcodes, {});
    EXPECT_THROW(parse_torch(bytes_of(bytes), "some.bin"), Error) << testing::PrintToString(opcodes);
  }
}

TEST(TorchPickle, BrokenTensors) {
  const auto rebuild = [](const std::string& arguments) {
    return start("").global("torch._utils", "_rebuild_tensor_v2").add(arguments + "R").finish();
  };
  expect_mentions(refused(rebuild(")")), {"0 arguments"});
  expect_mentions(refused(rebuild("(NNNNNNt")), {"storage"});
  expect_mentions(refused(rebuild("(NNNNNNNNt")), {"8 arguments"});
  expect_mentions(refused(start("").global("torch._utils", "_rebuild_parameter").add("(NNNtR").finish()),
                  {"tensor"});
  expect_mentions(refused(start("").global("torch", "Size").add("N\x85R").finish()), {"torch.Size"});
  expect_mentions(refused(start("").global("collections", "OrderedDict").add("]\x85R").finish()),
                  {"OrderedDict"});
  expect_mentions(refused(start("(").text("storage").add("NNNNtQ").finish()), {"storage type"});
  expect_mentions(refused(start("(").text("module").add("NNNNtQ").finish()), {"persistent id"});
  expect_mentions(refused(start("").global("torch", "FloatStorage").add(")R").finish()), {"function"});
  const std::string axes = start("}")
                               .text("w")
                               .global("torch._utils", "_rebuild_tensor_v2")
                               .add("(")
                               .storage("FloatStorage", "0", 4)
                               .number(0)
                               .add("N\x85")
                               .numbers({1})
                               .add("\x89N}tRs")
                               .finish();
  expect_mentions(refused(axes), {"\"w\"", "shape", "integers"});
}

TEST(TorchPickle, TowersAndCyclesCostNothing) {
  std::string tower;
  for (int i = 0; i < 1'000'000; ++i) tower += "]";
  tower += std::string(999'999, 'a');
  EXPECT_EQ(
      parsed(start("}(").text("tower").add(tower).text("w").tensor({}).add("u").finish()).file.tensors.size(),
      1u);
  std::string doubled = "]q\x01";
  for (int i = 0; i < 1000; ++i)
    doubled +=
        "](h\x01h\x01"
        "eq\x01";
  EXPECT_EQ(parsed(start("}(").text("doubled").add(doubled).text("w").tensor({}).add("u").finish())
                .file.tensors.size(),
            1u);
  const std::string cycle = start("}q\x01(")
                                .text("self")
                                .add("h\x01")
                                .text("model")
                                .add("h\x01")
                                .text("w")
                                .tensor({})
                                .add("u")
                                .finish();
  EXPECT_EQ(parsed(cycle).file.tensors.size(), 1u);
}

TEST(TorchPickle, ItsValuesAreCounted) {
  expect_mentions(refused(start(std::string(5'000'000, ')')).finish()), {"values"});
  expect_mentions(refused(start(std::string(40'000'000, 'N')).finish()), {"bytes", "40000003"});
}

// ---- zip archives

TEST(TorchZip, VariantsThatLoad) {
  for (const ZipBytes::Options& options :
       {ZipBytes::Options{}, ZipBytes::Options{.zip64 = true}, ZipBytes::Options{.flags = 0x0808},
        ZipBytes::Options{.extra = 61}, ZipBytes::Options{.comment = "PK\x05\x06 is no end record"}}) {
    const Parsed file = parsed(state_dict({{"w", {}}}), {{"0", kFour}}, options);
    EXPECT_EQ(floats_of(file["w"]), (Floats{0, 1, 2, 3}));
    EXPECT_NO_THROW(check_torch_sums(bytes_of(file.bytes), "some.bin"));
  }
}

TEST(TorchZip, VariantsThatDoNot) {
  const std::string pickle = state_dict({{"w", {}}});
  expect_mentions(refused(pickle, {}, {.method = 8}), {"any/", "compressed", "8"});
  expect_mentions(refused(pickle, {}, {.flags = 1}), {"any/", "encrypted"});
  expect_mentions(refused(pickle, {}, {.local_name = "any/other"}), {"any/", "another name"});
  expect_mentions(refused(pickle, {{"0", kFour}, {"0", kFour}}), {"any/data/0", "twice"});
}

TEST(TorchZip, TheRootIsOneFolder) {
  const std::string pickle = state_dict({{"w", {}}});
  const auto message = [](const ZipBytes& zip) {
    const std::string bytes = zip.finish();
    return refusal([&] { parse_torch(bytes_of(bytes), "some.bin"); });
  };
  expect_mentions(message(ZipBytes().add("data.pkl", pickle)), {"data.pkl", "found 0"});
  expect_mentions(message(ZipBytes().add("a/data.pkl", pickle).add("b/data.pkl", pickle)),
                  {"data.pkl", "found 2"});
  expect_mentions(message(ZipBytes().add("a/data.pkl", pickle).add("a/byteorder", "big")),
                  {"byte order", "big", "little"});
  const std::string none = ZipBytes().add("a/data.pkl", pickle).add("a/data/0", kFour).finish();
  EXPECT_EQ(parse_torch(bytes_of(none), "old").tensors.size(), 1u) << "no byteorder";
}

/// Every byte of the archive's own records, set to each of some values: an Error or tensors inside the file.
TEST(TorchZip, DamageNeverLeadsOutside) {
  for (const bool zip64 : {false, true}) {
    const std::string whole = torch_file(state_dict({{"w", {}}}), {{"0", kFour}}, {.zip64 = zip64});
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const char value : {'\0', '\x7f', '\xff'}) {
        std::string damaged = whole;
        damaged[at] = value;
        try {
          const TensorFile file = parse_torch(bytes_of(damaged), "damaged");
          for (const auto& [name, view] : file.tensors) {
            EXPECT_TRUE(lies_in(view, damaged) || !file.owners.empty())
                << at;  // a damaged stride makes a copy
          }
        } catch (const Error&) {
        }
      }
    }
  }
}

}  // namespace
}  // namespace mamba3
