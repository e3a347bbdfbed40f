#include "formats/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "formats/expect.h"
#include "support.h"

namespace mamba3 {
namespace {

using test::TemporaryFolder;

/// A file put together by hand.
class Bytes {
 public:
  template <typename T>
  Bytes& add(T value) {
    data_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Bytes& u32(std::uint32_t value) { return add(value); }
  Bytes& u64(std::uint64_t value) { return add(value); }
  Bytes& raw(std::string_view bytes) {
    data_.append(bytes);
    return *this;
  }
  Bytes& text(std::string_view value) { return u64(value.size()).raw(value); }
  Bytes& pad(std::size_t alignment) {
    while (data_.size() % alignment != 0) data_.push_back('\0');
    return *this;
  }
  Bytes& header(std::uint64_t tensors, std::uint64_t keys) {
    return raw("GGUF").u32(3).u64(tensors).u64(keys);
  }
  /// ne is innermost first, as in the file.
  Bytes& info(std::string_view name, const std::vector<std::uint64_t>& ne, std::uint32_t type,
              std::uint64_t offset) {
    text(name).u32(static_cast<std::uint32_t>(ne.size()));
    for (const std::uint64_t size : ne) u64(size);
    return u32(type).u64(offset);
  }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(data_)); }
  const std::string& string() const { return data_; }

 private:
  std::string data_;
};

GgufFile parse(const Bytes& file) {
  return parse_gguf(file.bytes(), "toy.gguf");
}

/// The call is refused with this code and a sentence that holds every one of `words`.
template <typename Call>
void expect_error(Call call, ErrorCode code, const std::vector<std::string>& words) {
  const auto checked = [&] {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      throw;
    }
  };
  test::expect_mentions(test::refusal(checked), words);
}

void expect_refused(const Bytes& file, ErrorCode code, std::vector<std::string> words) {
  words.emplace_back("toy.gguf: ");
  expect_error([&] { parse(file); }, code, words);
}

void expect_bad(const Bytes& file, const std::vector<std::string>& words) {
  expect_refused(file, ErrorCode::bad_format, words);
}

GgufFile with_keys(const GgufMetadata& metadata) {
  GgufFile file;
  file.metadata = metadata;
  file.file.name = "toy.gguf";
  return file;
}

/// Every scalar and array type. (As one braced list this takes g++ 12 more memory than there is.)
GgufMetadata every_type() {
  GgufMetadata metadata;
  const auto add = [&](std::string key, GgufValue value) {
    metadata.emplace_back(std::move(key), std::move(value));
  };
  add("u8", std::uint8_t{255});
  add("i8", std::int8_t{-128});
  add("u16", std::uint16_t{65535});
  add("i16", std::int16_t{-32768});
  add("u32", std::uint32_t{4294967295});
  add("i32", std::int32_t{-2147483647});
  add("f32", 1.5f);
  add("bool", true);
  add("string", std::string("any bytes: \xff\0 \xc3", 15));
  add("u64", std::uint64_t{1} << 63);
  add("i64", std::int64_t{-5});
  add("f64", 0.1);
  add("[u8]", std::vector<std::uint8_t>{1, 2});
  add("[i8]", std::vector<std::int8_t>{-1});
  add("[u16]", std::vector<std::uint16_t>{3});
  add("[i16]", std::vector<std::int16_t>{-3, 4});
  add("[u32]", std::vector<std::uint32_t>{});
  add("[i32]", std::vector<std::int32_t>{-7});
  add("[f32]", std::vector<float>{0.5f, -0.25f});
  add("[bool]", std::vector<bool>{true, false, true});
  add("[string]", std::vector<std::string>{"", "\xe2\x82", "token"});
  add("[u64]", std::vector<std::uint64_t>{~std::uint64_t{0}});
  add("[i64]", std::vector<std::int64_t>{1, -1});
  add("[f64]", std::vector<double>{2.5});
  add("general.alignment", std::uint32_t{64});
  return metadata;
}

void fill_counting(std::size_t index, std::span<std::byte> out) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(i * 7 + index);
}

TEST(GgufWrite, LaysOutAFileByteForByte) {
  const TemporaryFolder folder;
  const std::vector<TensorToWrite> tensors = {{"w", DType::f32, {2, 3}}, {"b", DType::i8, {1}}};
  write_gguf(folder / "toy.gguf", {{"arch", std::string("mamba3")}}, tensors, fill_counting);

  std::string w(24, '\0');
  fill_counting(0, std::as_writable_bytes(std::span(w)));
  const Bytes expected = Bytes()
                             .raw("GGUF")
                             .raw({"\3\0\0\0", 4})                   // version
                             .raw({"\2\0\0\0\0\0\0\0", 8})           // tensors
                             .raw({"\2\0\0\0\0\0\0\0", 8})           // keys
                             .raw({"\4\0\0\0\0\0\0\0arch", 12})      // the first key
                             .raw({"\10\0\0\0", 4})                  // a string
                             .raw({"\6\0\0\0\0\0\0\0mamba3", 14})    //
                             .raw({"\21\0\0\0\0\0\0\0", 8})          // the second key's length, 17
                             .raw("general.alignment")               //
                             .raw({"\4\0\0\0\100\0\0\0", 8})         // uint32 64
                             .raw({"\1\0\0\0\0\0\0\0w", 9})          //
                             .raw({"\2\0\0\0", 4})                   // two axes, innermost first
                             .raw({"\3\0\0\0\0\0\0\0", 8})           //
                             .raw({"\2\0\0\0\0\0\0\0", 8})           //
                             .raw({"\0\0\0\0", 4})                   // F32
                             .raw({"\0\0\0\0\0\0\0\0", 8})           // offset
                             .raw({"\1\0\0\0\0\0\0\0b", 9})          //
                             .raw({"\1\0\0\0\1\0\0\0\0\0\0\0", 12})  // one axis
                             .raw({"\30\0\0\0", 4})                  // I8
                             .raw({"\100\0\0\0\0\0\0\0", 8})         // offset 64
                             .pad(64)
                             .raw(w)
                             .pad(64)
                             .raw("\1")
                             .pad(64);
  EXPECT_EQ(test::read_file(folder / "toy.gguf"), expected.string());
}

TEST(GgufWrite, ReturnsEveryMetadataTypeUnchanged) {
  const TemporaryFolder folder;
  write_gguf(folder / "toy.gguf", every_type(), {}, fill_counting);
  const GgufFile file = read_gguf(folder / "toy.gguf");
  EXPECT_EQ(file.metadata, every_type());
  EXPECT_TRUE(file.file.tensors.empty());
  EXPECT_EQ(file.file.format, "gguf");
  EXPECT_EQ(file.file.name, (folder / "toy.gguf").string());
}

TEST(GgufWrite, ReturnsEveryTensorTypeUnchanged) {
  const TemporaryFolder folder;
  const std::vector<TensorToWrite> tensors = {
      {"f32", DType::f32, {5, 7}},   {"f16", DType::f16, {2, 3, 4, 5}}, {"q8", DType::q8_0, {3, 64}},
      {"i8", DType::i8, {9}},        {"i16", DType::i16, {9}},          {"i32", DType::i32, {1, 9}},
      {"i64", DType::i64, {9}},      {"f64", DType::f64, {}},           {"bf16", DType::bf16, {17, 2}},
      {"empty", DType::f32, {0, 4}},
  };
  write_gguf(folder / "toy.gguf", {}, tensors, fill_counting);
  const GgufFile file = read_gguf(folder / "toy.gguf");
  ASSERT_EQ(file.file.tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorView& view = file.file.tensors.at(tensors[i].name);
    EXPECT_EQ(view.dtype, tensors[i].dtype) << tensors[i].name;
    EXPECT_EQ(view.shape, tensors[i].shape) << tensors[i].name;
    std::vector<std::byte> expected(static_cast<std::size_t>(*bytes_of(view.dtype, view.elements())));
    fill_counting(i, expected);
    EXPECT_TRUE(std::ranges::equal(view.bytes, expected)) << tensors[i].name;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.bytes.data()) % 64, 0u) << tensors[i].name;
  }
}

TEST(GgufWrite, SetsTheAlignmentInItsPlace) {
  const TemporaryFolder folder;
  const GgufMetadata metadata = {{"general.alignment", std::uint32_t{32}}, {"last", std::uint8_t{1}}};
  write_gguf(folder / "toy.gguf", metadata, {}, fill_counting);
  const GgufFile file = read_gguf(folder / "toy.gguf");
  EXPECT_EQ(file.metadata.front(),
            (std::pair<std::string, GgufValue>("general.alignment", std::uint32_t{64})));
  EXPECT_EQ(file.metadata.back().first, "last");
}

TEST(GgufWrite, RefusesWhatAReaderCouldNotHold) {
  const TemporaryFolder folder;
  const auto path = folder / "toy.gguf";
  const auto refused = [&](const GgufMetadata& metadata, const std::vector<TensorToWrite>& tensors,
                           ErrorCode code, const std::vector<std::string>& words) {
    expect_error([&] { write_gguf(path, metadata, tensors, fill_counting); }, code, words);
    EXPECT_FALSE(std::filesystem::exists(path));
  };
  const auto wrong = ErrorCode::invalid_argument;
  refused({{"a", true}, {"a", false}}, {}, wrong, {"toy.gguf", "key \"a\"", "twice"});
  refused({{"", true}}, {}, wrong, {"0 bytes"});
  refused({{std::string(65536, 'k'), true}}, {}, wrong, {"65536 bytes"});
  refused({}, {{"a", DType::f32, {1}}, {"a", DType::f32, {1}}}, wrong, {"tensor \"a\"", "twice"});
  refused({}, {{std::string(64, 'n'), DType::f32, {1}}}, wrong, {"64 bytes", "1 to 63"});
  refused({}, {{"a", DType::f32, {1, 1, 1, 1, 1}}}, wrong, {"5 axes"});
  refused({}, {{"a", DType::f32, {-1}}}, wrong, {"shape [-1]"});
  refused({}, {{"a", DType::q8_0, {32, 33}}}, wrong, {"Q8_0", "shape [32, 33]"});
  refused({}, {{"a", DType::f64, {std::int64_t{1} << 60, 8}}}, wrong, {"shape"});
  refused({}, {{"a", DType::boolean, {1}}}, ErrorCode::unsupported, {"BOOL", "GGUF does not have"});
}

TEST(GgufWrite, LeavesTheOldFileWhenFillingFails) {
  const TemporaryFolder folder;
  write_gguf(folder / "toy.gguf", {{"old", true}}, {}, fill_counting);
  const auto failing = [](std::size_t, std::span<std::byte>) { fail(ErrorCode::io, "gone"); };
  EXPECT_THROW(write_gguf(folder / "toy.gguf", {}, {{"a", DType::f32, {1}}}, failing), Error);
  EXPECT_TRUE(read_gguf(folder / "toy.gguf").flag("old"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(GgufWrite, RoundsQ8_0AsGgmlDoes) {
  const TemporaryFolder folder;
  std::vector<float> values(64);
  std::iota(values.begin(), values.end(), -15.5f);
  values[0] = -127.0f;  // the first block's scale is 1, so that the halves are exact
  write_gguf(folder / "toy.gguf", {}, {{"w", DType::q8_0, {64}}}, [&](std::size_t, std::span<std::byte> out) {
    from_float(DType::q8_0, values.data(), std::ssize(values), out.data());
  });
  const GgufFile file = read_gguf(folder / "toy.gguf");
  // gguf.quants.quantize of the Python package gguf 0.19.0.
  const std::vector<int> expected = {0,   60,  129, 241, 242, 243, 244, 245, 246, 247, 248, 249, 250, 251,
                                     252, 253, 254, 255, 1,   2,   3,   4,   5,   6,   7,   8,   9,   10,
                                     11,  12,  13,  14,  15,  16,  252, 53,  44,  47,  49,  52,  55,  57,
                                     60,  63,  66,  68,  71,  74,  76,  79,  82,  84,  87,  90,  92,  95,
                                     98,  100, 103, 106, 108, 111, 114, 116, 119, 122, 124, 127};
  std::vector<int> found;
  for (const std::byte byte : file.file.tensors.at("w").bytes) found.push_back(static_cast<int>(byte));
  EXPECT_EQ(found, expected);
}

TEST(GgufWrite, RefusesWhatQ8_0CannotHold) {
  std::vector<float> values(32);
  std::vector<std::byte> out(kQ8Bytes);
  for (const float value : {std::nanf(""), INFINITY, -INFINITY, 1e7f}) {
    values[7] = value;
    expect_error([&] { from_float(DType::q8_0, values.data(), 32, out.data()); }, ErrorCode::numeric,
                 {"Q8_0"});
  }
}

TEST(GgufRead, ReadsVersion2AndTheDefaultAlignment) {
  Bytes file = Bytes().raw("GGUF").u32(2).u64(2).u64(0);
  file.info("a", {2}, 0, 32).info("b", {1, 2}, 0, 0).pad(32).add(1.0f).add(2.0f).pad(32).add(3.0f).add(4.0f);
  const GgufFile gguf = parse(file);
  EXPECT_EQ(gguf.file.tensors.at("a").shape, Shape({2}));
  EXPECT_EQ(gguf.file.tensors.at("b").shape, Shape({2, 1}));
  float first = 0;
  std::memcpy(&first, gguf.file.tensors.at("a").bytes.data(), sizeof(first));
  EXPECT_EQ(first, 3.0f);
}

TEST(GgufRead, TensorsAreViewsIntoTheFile) {
  const Bytes file = Bytes().header(1, 0).info("a", {1}, 0, 0).pad(32).add(1.0f);
  EXPECT_EQ(parse(file).file.tensors.at("a").bytes.data(), file.bytes().last(4).data());
}

TEST(GgufRead, HonoursAnotherAlignment) {
  Bytes file = Bytes().header(2, 1).text("general.alignment").u32(4).u32(8);
  file.info("a", {1}, 0, 0).info("b", {1}, 0, 8).pad(8).add(1.0f).pad(8).add(2.0f);
  EXPECT_EQ(parse(file).file.tensors.at("b").bytes.size(), 4u);
}

TEST(GgufRead, RefusesForeignFiles) {
  expect_bad(Bytes(), {"ends inside the header"});
  expect_bad(Bytes().raw("GGML").u32(3).u64(0).u64(0), {"not a GGUF file"});
  expect_refused(Bytes().raw("GGUF").u32(1).u32(0).u32(0), ErrorCode::unsupported, {"version 1"});
  expect_refused(Bytes().raw("GGUF").u32(4).u64(0).u64(0), ErrorCode::unsupported, {"version 4"});
  expect_refused(Bytes().raw("GGUF").u32(3u << 24).u64(0).u64(0), ErrorCode::unsupported, {"big-endian"});
}

TEST(GgufRead, RefusesEveryTruncation) {
  const TemporaryFolder folder;
  write_gguf(folder / "toy.gguf", every_type(), {{"w", DType::f32, {2, 3}}}, fill_counting);
  const std::string whole = test::read_file(folder / "toy.gguf");
  const std::size_t last_of_data = whole.size() - 64 + 24;
  for (std::size_t size = 0; size < last_of_data; ++size) {
    EXPECT_THROW(parse(Bytes().raw(whole.substr(0, size))), Error) << size;
  }
  EXPECT_NO_THROW(parse(Bytes().raw(whole.substr(0, last_of_data))));
}

TEST(GgufRead, RefusesCountsBeyondTheFile) {
  const std::uint64_t huge = std::uint64_t{1} << 60;
  expect_bad(Bytes().header(huge, 0), {"claims 1152921504606846976 tensors", "8 bytes follow"});
  expect_bad(Bytes().header(0, huge), {"claims", "metadata keys"});
  expect_bad(Bytes().header(0, 1).u64(~std::uint64_t{0}).pad(64), {"ends inside metadata key 1 of 1"});
  const auto array = [&](std::uint32_t type) {
    return Bytes().header(0, 1).text("list").u32(9).u32(type).u64(huge);
  };
  for (const std::uint32_t type : {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12}) {
    expect_bad(array(type), {"key \"list\"", "claims 1152921504606846976 elements"});
  }
  expect_bad(Bytes().header(0, 1).text("word").u32(8).u64(huge).raw("abc"), {"key \"word\"", "3 there"});
}

TEST(GgufRead, RefusesBadMetadata) {
  expect_bad(Bytes().header(0, 2).text("a").u32(0).raw("x").text("a").u32(0).raw("y"),
             {"key \"a\"", "twice"});
  expect_bad(Bytes().header(0, 1).text("").u32(0).raw("x"), {"metadata key 1 of 1", "0 bytes"});
  expect_bad(Bytes().header(0, 1).text(std::string(65536, 'k')).u32(0).raw("x"), {"65536 bytes"});
  expect_bad(Bytes().header(0, 1).text("a").u32(13).u64(0), {"key \"a\"", "type 13"});
  expect_bad(Bytes().header(0, 1).text("a").u32(9).u32(13).u64(0), {"key \"a\"", "element type 13"});
  expect_bad(Bytes().header(0, 1).text("a").u32(7).raw("\2"), {"key \"a\"", "bool 2"});
  expect_refused(Bytes().header(0, 1).text("a").u32(9).u32(9).u64(1), ErrorCode::unsupported,
                 {"key \"a\"", "array of arrays"});
}

TEST(GgufRead, RefusesBadAlignments) {
  const auto aligned = [](std::uint32_t alignment) {
    return Bytes().header(0, 1).text("general.alignment").u32(4).u32(alignment);
  };
  for (const std::uint32_t alignment : {1u, 8u, 65536u}) EXPECT_NO_THROW(parse(aligned(alignment)));
  for (const std::uint32_t alignment : {0u, 24u, 131072u}) {
    expect_bad(aligned(alignment), {"\"general.alignment\"", fmt::format(" {},", alignment), "power of two"});
  }
  expect_bad(Bytes().header(0, 1).text("general.alignment").u32(8).text("32"), {"integer", "string"});
}

/// One tensor "w", the rest of the file being sound.
Bytes one_tensor(const std::vector<std::uint64_t>& ne, std::uint32_t type, std::uint64_t offset = 0) {
  return Bytes().header(1, 0).info("w", ne, type, offset).pad(32).raw(std::string(256, '\0'));
}

TEST(GgufRead, ReadsTheQuantizedTypes) {
  const std::vector<std::pair<std::uint32_t, DType>> types = {
      {2, DType::q4_0}, {3, DType::q4_1},  {6, DType::q5_0},  {7, DType::q5_1},
      {8, DType::q8_0}, {12, DType::q4_k}, {13, DType::q5_k}, {14, DType::q6_k}};
  for (const auto& [number, type] : types) {
    const Bytes file = one_tensor({256}, number);  // holds 256 bytes: one block of 256, or eight of up to 32
    if (*mamba3::bytes_of(type, 256) > 256) {
      expect_bad(file, {"tensor \"w\"", "ends at 256"});
    } else {
      EXPECT_EQ(parse(file).file.tensors.at("w").dtype, type);
    }
    expect_bad(one_tensor({48, 8}, number), {"tensor \"w\"", std::string(name_of(type)), "rows of 48"});
  }
}

TEST(GgufRead, ListsTypesThatItCannotRead) {
  const std::vector<std::pair<std::uint32_t, std::string>> types = {
      {10, "Q2_K"}, {11, "Q3_K"}, {17, "IQ2_XS"}, {20, "IQ4_NL"}, {23, "IQ4_XS"}, {39, "MXFP4"}};
  for (const auto& [number, name] : types) {
    const GgufFile gguf = parse(one_tensor({256}, number));
    EXPECT_TRUE(gguf.file.tensors.empty());
    const ForeignTensor& tensor = gguf.file.foreign.at("w");
    EXPECT_EQ(tensor.type, name);
    EXPECT_EQ(tensor.shape, Shape{256});
    EXPECT_GT(tensor.bytes, 0);
    expect_bad(one_tensor({48}, number), {"tensor \"w\"", name, "rows of 48"});
    expect_bad(one_tensor({std::uint64_t{1} << 40}, number), {"tensor \"w\"", "ends at 256"});
  }
  expect_bad(one_tensor({32}, 4), {"tensor \"w\"", "unknown GGUF type 4"});
  expect_bad(one_tensor({32}, 4000000000), {"unknown GGUF type 4000000000"});
}

TEST(GgufRead, RefusesBadShapes) {
  EXPECT_EQ(parse(one_tensor({}, 0)).file.tensors.at("w").shape, Shape{});
  EXPECT_EQ(parse(one_tensor({4, 0}, 0)).file.tensors.at("w").bytes.size(), 0u);
  EXPECT_NO_THROW(parse(one_tensor({32, 2}, 8)));
  const std::uint64_t half = std::uint64_t{1} << 32;
  expect_bad(one_tensor({1, 1, 1, 1, 1}, 0), {"tensor \"w\"", "5 axes"});
  expect_bad(one_tensor({~std::uint64_t{0}}, 0), {"tensor \"w\"", "shape"});
  expect_bad(one_tensor({half, half}, 0), {"tensor \"w\"", "shape"});
  expect_bad(one_tensor({half / 2, half / 2}, 28), {"tensor \"w\"", "shape"});
  expect_bad(one_tensor({half, half, 0, half}, 24), {"tensor \"w\"", "shape"});
  expect_bad(one_tensor({33}, 8), {"tensor \"w\"", "Q8_0", "rows of 33", "multiple of 32"});
  expect_bad(one_tensor({16, 2}, 8), {"rows of 16"});
  expect_bad(one_tensor({}, 8), {"rows of 1 "});
}

TEST(GgufRead, RefusesBadPlaces) {
  EXPECT_NO_THROW(parse(one_tensor({32}, 0, 128)));
  expect_bad(one_tensor({65}, 0), {"tensor \"w\"", "260 bytes", "ends at 256"});
  expect_bad(one_tensor({32}, 0, 160), {"tensor \"w\"", "from 160"});
  expect_bad(one_tensor({1}, 0, ~std::uint64_t{31}), {"tensor \"w\""});
  expect_bad(one_tensor({1}, 0, 4), {"tensor \"w\"", "multiple of the alignment 32"});
  Bytes overlapping = Bytes().header(2, 0).info("a", {1}, 0, 32).info("b", {16}, 0, 0);
  expect_bad(overlapping.pad(32).raw(std::string(256, '\0')), {"tensors \"b\" and \"a\" overlap"});
}

TEST(GgufRead, RefusesBadNames) {
  const auto named = [](std::string_view first, std::string_view second) {
    return Bytes()
        .header(2, 0)
        .info(first, {1}, 0, 0)
        .info(second, {1}, 0, 32)
        .pad(32)
        .raw(std::string(64, '\0'));
  };
  EXPECT_NO_THROW(parse(named("a", std::string(1024, 'n'))));
  expect_bad(named("a", "a"), {"tensor \"a\"", "twice"});
  expect_bad(named("a", ""), {"tensor 2 of 2", "0 bytes"});
  expect_bad(named("a", std::string(1025, 'n')), {"1025 bytes"});
  expect_bad(named("\x1b[31m\n", "\x1b[31m\n"), {"tensor \"\\x1b[31m\\n\" appears twice"});
}

TEST(GgufRead, NamesAMissingFile) {
  expect_error([] { read_gguf("/no/such/file.gguf"); }, ErrorCode::not_found, {"/no/such/file.gguf"});
}

TEST(GgufValues, ConvertToWhatIsAskedFor) {
  const GgufFile file = with_keys(every_type());
  EXPECT_EQ(file.integer("u8"), 255);
  EXPECT_EQ(file.integer("i8"), -128);
  EXPECT_EQ(file.integer("u32"), 4294967295);
  EXPECT_EQ(file.integer("i64"), -5);
  EXPECT_EQ(file.real("f32"), 1.5);
  EXPECT_EQ(file.real("f64"), 0.1);
  EXPECT_EQ(file.real("i16"), -32768.0);
  EXPECT_TRUE(file.flag("bool"));
  EXPECT_EQ(file.text("string").size(), 15u);
  EXPECT_EQ(file.integers("[i16]"), (std::vector<std::int64_t>{-3, 4}));
  EXPECT_EQ(file.integers("[u32]"), std::vector<std::int64_t>{});
  EXPECT_EQ(file.reals("[f32]"), (std::vector<double>{0.5, -0.25}));
  EXPECT_EQ(file.reals("[i32]"), std::vector<double>{-7});
  EXPECT_EQ(file.texts("[string]").at(2), "token");
  EXPECT_EQ(file.per_layer("[i64]", 2), (std::vector<std::int64_t>{1, -1}));
  EXPECT_EQ(file.per_layer("u8", 3), (std::vector<std::int64_t>{255, 255, 255}));
}

TEST(GgufValues, AbsentKeysAreNothingOrAnError) {
  const GgufFile file = with_keys({});
  EXPECT_EQ(file.find("k"), nullptr);
  EXPECT_EQ(file.find_integer("k"), std::nullopt);
  EXPECT_EQ(file.find_real("k"), std::nullopt);
  EXPECT_EQ(file.find_flag("k"), std::nullopt);
  EXPECT_EQ(file.find_text("k"), nullptr);
  EXPECT_EQ(file.find_integers("k"), std::nullopt);
  EXPECT_EQ(file.find_reals("k"), std::nullopt);
  EXPECT_EQ(file.find_texts("k"), nullptr);
  const std::vector<std::string> words = {"toy.gguf", "key \"k\"", "missing"};
  expect_error([&] { file.integer("k"); }, ErrorCode::bad_format, words);
  expect_error([&] { file.real("k"); }, ErrorCode::bad_format, words);
  expect_error([&] { file.flag("k"); }, ErrorCode::bad_format, words);
  expect_error([&] { file.text("k"); }, ErrorCode::bad_format, words);
  expect_error([&] { file.integers("k"); }, ErrorCode::bad_format, words);
  expect_error([&] { file.reals("k"); }, ErrorCode::bad_format, words);
  expect_error([&] { file.texts("k"); }, ErrorCode::bad_format, words);
  expect_error([&] { file.per_layer("k", 2); }, ErrorCode::bad_format, words);
}

TEST(GgufValues, WrongTypesAreNamed) {
  const GgufFile file = with_keys(every_type());
  const auto refused = [](auto call, const std::vector<std::string>& words) {
    expect_error(call, ErrorCode::bad_format, words);
  };
  refused([&] { file.integer("string"); }, {"toy.gguf", "key \"string\"", "integer", "of type string"});
  refused([&] { file.integer("f32"); }, {"integer", "float32"});
  refused([&] { file.integer("bool"); }, {"integer", "bool"});
  refused([&] { file.integer("u64"); }, {"integer below 2^63", "uint64"});
  refused([&] { file.integer("[u8]"); }, {"integer", "array of uint8"});
  refused([&] { file.find_integer("string"); }, {"integer", "string"});
  refused([&] { file.real("string"); }, {"number", "string"});
  refused([&] { file.real("bool"); }, {"number", "bool"});
  refused([&] { file.flag("u8"); }, {"bool", "uint8"});
  refused([&] { file.text("[string]"); }, {"string", "array of string"});
  refused([&] { file.integers("u8"); }, {"array of integers", "uint8"});
  refused([&] { file.integers("string"); }, {"array of integers", "string"});
  refused([&] { file.integers("[bool]"); }, {"array of integers", "array of bool"});
  refused([&] { file.integers("[u64]"); }, {"below 2^63", "array of uint64"});
  refused([&] { file.reals("[string]"); }, {"array of numbers", "array of string"});
  refused([&] { file.texts("string"); }, {"array of strings", "string"});
  refused([&] { file.per_layer("[i64]", 3); }, {"2 values", "3 layers"});
  refused([&] { file.per_layer("f32", 3); }, {"integer", "float32"});
}

}  // namespace
}  // namespace mamba3
