#include <algorithm>
#include <fstream>
#include <map>

#include "expect.h"
#include "file_bytes.h"
#include "formats/tensor_file.h"
#include "support.h"

namespace mamba3 {
namespace {

using test::bytes_of;
using test::expect_mentions;
using test::refusal;
using test::safetensors;

std::string refused(const std::string& header, const std::string& data = "") {
  return refusal([&] { parse_safetensors(bytes_of(safetensors(header, data)), "some.safetensors"); });
}

std::string row(const std::string& fields) {
  return R"({"w":{)" + fields + "}}";
}

TEST(Safetensors, ReadsTypesShapesAndMetadataInPlace) {
  const std::string data = test::le_all<double>({1.5, -2}) + test::le_all<std::int16_t>({7, -8, 9}) + "\x01";
  const std::string header = R"({"__metadata__":{"format":"pt","empty":""},)"
                             R"("a":{"dtype":"F64","shape":[2,1],"data_offsets":[0,16]},)"
                             R"("c":{"data_offsets":[22,23],"shape":[],"dtype":"BOOL"},)"
                             R"("b":{"dtype":"I16","shape":[3],"data_offsets":[16,22]},)"
                             R"("none":{"dtype":"F32","shape":[0,5],"data_offsets":[22,22]}}   )";
  const std::string bytes = safetensors(header, data);
  const TensorFile file = parse_safetensors(bytes_of(bytes), "some.safetensors");
  ASSERT_EQ(file.tensors.size(), 4u);
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"empty", ""}, {"format", "pt"}}));
  const TensorView& a = file.tensors.at("a");
  EXPECT_EQ(a.dtype, DType::f64);
  EXPECT_EQ(a.shape, (Shape{2, 1}));
  EXPECT_EQ(test::values_of<double>(a), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(reinterpret_cast<const char*>(a.bytes.data()), bytes.data() + 8 + header.size())
      << "a view, not a copy";
  EXPECT_EQ(test::values_of<std::int16_t>(file.tensors.at("b")), (std::vector<std::int16_t>{7, -8, 9}));
  EXPECT_EQ(file.tensors.at("c").shape, Shape{});
  EXPECT_EQ(file.tensors.at("c").elements(), 1);
  EXPECT_EQ(file.tensors.at("none").bytes.size(), 0u);
}

TEST(Safetensors, AFileWithoutTensorsIsAFile) {
  EXPECT_TRUE(parse_safetensors(bytes_of(safetensors("{}", "")), "empty").tensors.empty());
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole =
      safetensors(row(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), std::string(16, 'x'));
  EXPECT_EQ(parse_safetensors(bytes_of(whole), "whole").tensors.size(), 1u);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::byte> part(bytes_of(whole).begin(),
                                      bytes_of(whole).begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THROW(parse_safetensors(part, "part"), Error) << size;
  }
}

TEST(Safetensors, TheHeaderIsOneStrictObject) {
  for (const std::string header :
       {"", "[]", "null", "{}{}", "{} x", R"({"w":1})", R"({"w":[]})", R"({"w":null})", R"({"w":{}})",
        "{\"w\":\"\t\"}", "// note\n{}", "{\"a\":{},}", "[1]", "7", "\"w\""}) {
    expect_mentions(refused(header), {"some.safetensors"});
  }
  EXPECT_THROW(parse_safetensors(bytes_of(safetensors(std::string("{}\0{", 4), "")), "zero"), Error);
}

TEST(Safetensors, DeepNestingIsRefusedAtOnce) {
  expect_mentions(refused(std::string(5'000'000, '[')), {"some.safetensors"});
  std::string objects;
  for (int i = 0; i < 500'000; ++i) objects += R"({"a":)";
  expect_mentions(refused(objects), {"\"a\""});
  expect_mentions(refused(R"({"w":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", "1234"),
                  {"w", "shape"});
}

TEST(Safetensors, FieldsHaveTheirTypes) {
  const std::string offsets = R"(,"data_offsets":[0,4])";
  expect_mentions(refused(row(R"("dtype":5,"shape":[1])" + offsets), "1234"), {"w", "dtype", "5"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":"1")" + offsets), "1234"), {"w", "shape"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[1.0])" + offsets), "1234"), {"w", "1.0"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[true])" + offsets), "1234"), {"w", "true"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[-1])" + offsets), "1234"), {"w", "-1"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[18446744073709551615])" + offsets), "1234"),
                  {"w", "18446744073709551615"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[99999999999999999999999])" + offsets), "1234"),
                  {"w", "99999"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), "1234"),
                  {"w", "data_offsets"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,4])"), "1234"),
                  {"w", "data_offsets"});
  expect_mentions(refused(row(R"("dtype":"F32","data_offsets":[0,4])"), "1234"), {"w", "shape"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[1],"stride":[1])" + offsets), "1234"),
                  {"w", "stride"});
  expect_mentions(refused(row(R"("dtype":"F32","shape":[1],"shape":[1])" + offsets), "1234"),
                  {"w", "shape", "twice"});
  expect_mentions(refused(R"({"__metadata__":{"a":1}})"), {"__metadata__", "a"});
  expect_mentions(refused(R"({"__metadata__":{"a":"1","a":"2"}})"), {"__metadata__", "a", "twice"});
  expect_mentions(refused(R"({"__metadata__":{},"__metadata__":{}})"), {"__metadata__", "twice"});
}

TEST(Safetensors, TypesWithoutARowAreNamed) {
  for (const std::string type : {"U16", "U32", "U64", "F8_E4M3", "Q8_0", "f32", ""}) {
    expect_mentions(refused(row(R"("dtype":")" + type + R"(","shape":[1],"data_offsets":[0,4])"), "1234"),
                    {"w", "\"" + type + "\""});
  }
}

TEST(Safetensors, TheTensorsCoverTheData) {
  const auto two = [](int begin, int end) {
    return R"({"first":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"second":{"dtype":"U8","shape":[4],"data_offsets":[)" +
           std::to_string(begin) + "," + std::to_string(end) + "]}}";
  };
  EXPECT_EQ(parse_safetensors(bytes_of(safetensors(two(4, 8), "12345678")), "good").tensors.size(), 2u);
  expect_mentions(refused(two(5, 9), "123456789"), {"second", "5", "4"});
  expect_mentions(refused(two(3, 7), "1234567"), {"second", "3", "4"});
  expect_mentions(refused(two(0, 4), "1234"), {"begins at byte 0"});
  expect_mentions(refused(two(8, 4), "12345678"), {"second"});
  expect_mentions(refused(two(4, 8), "123456789"), {"8", "9"});
  expect_mentions(refused(row(R"("dtype":"U8","shape":[2],"data_offsets":[2,4])"), "1234"), {"w", "2"});
  expect_mentions(refused("{}", "1234"), {"4"});
}

TEST(Safetensors, TheHeaderHasALimit) {
  const std::string bytes = test::le<std::uint64_t>(100'000'001) + "{}";
  expect_mentions(refusal([&] { parse_safetensors(bytes_of(bytes), "large"); }),
                  {"large", "100000001", "100000000"});
}

TEST(Safetensors, HostileNamesAreShownHarmlesslyAndCut) {
  const std::string name(100'000, 'n');
  expect_mentions(refused("{\"" + name + R"(":{"dtype":"X","shape":[],"data_offsets":[0,0]}})"),
                  {"nnnn\"..."});
  const std::string message = refused(R"({"a\u001b[2J":{"dtype":"X","shape":[],"data_offsets":[0,0]}})");
  EXPECT_EQ(message.find('\x1b'), std::string::npos) << message;
  std::string ones = "1";
  for (int i = 0; i < 70; ++i) ones += ",1";
  expect_mentions(refused(row(R"("dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,1])"), "1"),
                  {"w", "64"});
}

TEST(Safetensors, ReadsTheGoldens) {
  const TensorFile file = read_safetensors(test::fixtures() / "mixer-siso.safetensors");
  EXPECT_EQ(file.tensors.at("u").shape[0], 2);
  EXPECT_EQ(file.tensors.at("u").shape[1], 67);
  EXPECT_TRUE(file.metadata.contains("about"));
  EXPECT_EQ(file.owners.size(), 1u);
}

struct Made {
  std::vector<TensorToWrite> tensors;
  std::vector<std::string> data;
};

Made mixed_types() {
  return {{{"byte", DType::u8, {3}},
           {"double", DType::f64, {1}},
           {"half", DType::f16, {1, 2}},
           {"scalar", DType::f32, {}},
           {"none", DType::bf16, {0, 4}},
           {"naïve \"name\"", DType::boolean, {1}}},
          {"abc", std::string(8, 'd'), "hhhh", "ssss", "", "\x01"}};
}

void write(const std::filesystem::path& path, const Made& made,
           const std::map<std::string, std::string>& metadata = {}) {
  const auto fill = [&](std::size_t index, std::span<std::byte> out) {
    ASSERT_EQ(out.size(), made.data[index].size());
    std::ranges::copy(bytes_of(made.data[index]), out.begin());
  };
  write_safetensors(path, made.tensors, fill, metadata);
}

TEST(WriteSafetensors, WhatIsWrittenIsRead) {
  const test::TemporaryFolder folder;
  const Made made = mixed_types();
  write(folder / "out.safetensors", made, {{"format", "pt"}, {"line\n", "\"quoted\""}});
  const TensorFile file = read_safetensors(folder / "out.safetensors");
  ASSERT_EQ(file.tensors.size(), made.tensors.size());
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"line\n", "\"quoted\""}}));
  for (std::size_t i = 0; i < made.tensors.size(); ++i) {
    const TensorView& view = file.tensors.at(made.tensors[i].name);
    EXPECT_EQ(view.dtype, made.tensors[i].dtype);
    EXPECT_EQ(view.shape, made.tensors[i].shape);
    EXPECT_TRUE(std::ranges::equal(view.bytes, bytes_of(made.data[i]))) << made.tensors[i].name;
    const auto address = reinterpret_cast<std::uintptr_t>(view.bytes.data());
    EXPECT_EQ(address % static_cast<std::uintptr_t>(block_of(view.dtype).bytes), 0u) << made.tensors[i].name;
  }
}

TEST(WriteSafetensors, NoTensorsMakeAFileToo) {
  const test::TemporaryFolder folder;
  write(folder / "out.safetensors", {});
  EXPECT_EQ(test::read_file(folder / "out.safetensors"), safetensors("{}      ", ""));
}

TEST(WriteSafetensors, WhatCannotBeReadIsNotWritten) {
  const test::TemporaryFolder folder;
  const auto message = [&](const Made& made) { return refusal([&] { write(folder / "out", made); }); };
  expect_mentions(message({{{"w", DType::u8, {1}}, {"w", DType::u8, {1}}}, {"1", "2"}}), {"w"});
  expect_mentions(message({{{"__metadata__", DType::u8, {1}}}, {"1"}}), {"__metadata__"});
  expect_mentions(message({{{"w", DType::u8, {-1}}}, {""}}), {"w", "-1"});
  expect_mentions(message({{{"w", DType::f32, {std::int64_t{1} << 61, 4}}}, {""}}), {"w"});
  expect_mentions(message({{{"w", DType::q8_0, {32}}}, {""}}), {"w", "Q8_0"});
  expect_mentions(message({{{"bad\xff", DType::u8, {1}}}, {"1"}}), {"bad"});
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

TEST(WriteSafetensors, AFailureInTheMiddleKeepsTheOldFile) {
  const test::TemporaryFolder folder;
  write(folder / "out", mixed_types());
  const std::string before = test::read_file(folder / "out");
  const auto fill = [](std::size_t index, std::span<std::byte>) {
    if (index == 1) throw Error(ErrorCode::numeric, "stop");
  };
  EXPECT_THROW(write_safetensors(folder / "out", {{"a", DType::f64, {1}}, {"b", DType::u8, {1}}}, fill),
               Error);
  EXPECT_EQ(test::read_file(folder / "out"), before);
  expect_mentions(refusal([] { write("/dev/full", mixed_types()); }),
                  {"/dev/full", "no space left on device"});
}

}  // namespace
}  // namespace mamba3
