// Safetensors files, pickles and zip archives written byte by byte, so that exactly one thing can be wrong.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mamba3::test {

/// A number as its little-endian bytes.
template <typename T>
std::string le(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

template <typename T>
std::string le_all(const std::vector<T>& values) {
  std::string bytes;
  for (const T value : values) bytes += le(value);
  return bytes;
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string safetensors(const std::string& header, const std::string& data) {
  return le(std::uint64_t{header.size()}) + header + data;
}

/// A zip archive of stored members.
class ZipBytes {
 public:
  struct Options {
    bool zip64 = false;        ///< sizes, offsets and the end record in their zip64 forms
    std::uint16_t method = 0;  ///< as claimed; the bytes are stored
    std::uint16_t flags = 0;   ///< general purpose bits
    std::size_t extra = 0;     ///< bytes of padding in the local header, as torch.save aligns its data
    std::string local_name{};  ///< a different name in the local header
    std::string comment{};     ///< behind the end record
  };
  ZipBytes() = default;
  explicit ZipBytes(Options options) : options_(std::move(options)) {}

  ZipBytes& add(const std::string& name, const std::string& data) {
    const std::uint64_t offset = bytes_.size();
    const std::uint32_t crc =
        static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()));
    const std::string& local_name = options_.local_name.empty() ? name : options_.local_name;
    const auto size = static_cast<std::uint32_t>(data.size());
    bytes_ += "PK\x03\x04" + le<std::uint16_t>(45) + le(options_.flags) + le(options_.method) +
              le<std::uint32_t>(0) + le(crc) + le(size) + le(size) +
              le(static_cast<std::uint16_t>(local_name.size())) +
              le(static_cast<std::uint16_t>(options_.extra)) + local_name + std::string(options_.extra, 'Z') +
              data;
    const std::uint32_t narrow = options_.zip64 ? 0xffffffff : size;
    const std::string extra = options_.zip64 ? le<std::uint16_t>(1) + le<std::uint16_t>(24) +
                                                   le(std::uint64_t{data.size()}) +
                                                   le(std::uint64_t{data.size()}) + le(offset)
                                             : "";
    directory_ += "PK\x01\x02" + le<std::uint16_t>(45) + le<std::uint16_t>(45) + le(options_.flags) +
                  le(options_.method) + le<std::uint32_t>(0) + le(crc) + le(narrow) + le(narrow) +
                  le(static_cast<std::uint16_t>(name.size())) + le(static_cast<std::uint16_t>(extra.size())) +
                  le<std::uint16_t>(0) + le<std::uint16_t>(0) + le<std::uint16_t>(0) + le<std::uint32_t>(0) +
                  le(options_.zip64 ? 0xffffffff : static_cast<std::uint32_t>(offset)) + name + extra;
    ++members_;
    return *this;
  }

  std::string finish() const {
    const std::uint64_t at = bytes_.size();
    std::string end;
    if (options_.zip64) {
      end = "PK\x06\x06" + le<std::uint64_t>(44) + le<std::uint16_t>(45) + le<std::uint16_t>(45) +
            le<std::uint32_t>(0) + le<std::uint32_t>(0) + le(std::uint64_t{members_}) +
            le(std::uint64_t{members_}) + le(std::uint64_t{directory_.size()}) + le(at) + "PK\x06\x07" +
            le<std::uint32_t>(0) + le(at + directory_.size()) + le<std::uint32_t>(1);
    }
    const auto count = options_.zip64 ? std::uint16_t{0xffff} : members_;
    end += "PK\x05\x06" + le<std::uint32_t>(0) + le(count) + le(count) +
           le(options_.zip64 ? 0xffffffff : static_cast<std::uint32_t>(directory_.size())) +
           le(options_.zip64 ? 0xffffffff : static_cast<std::uint32_t>(at)) +
           le(static_cast<std::uint16_t>(options_.comment.size())) + options_.comment;
    return bytes_ + directory_ + end;
  }

 private:
  Options options_;
  std::string bytes_;
  std::string directory_;
  std::uint16_t members_ = 0;
};

/// A pickle of protocol 2, opcode by opcode.
class PickleBytes {
 public:
  PickleBytes& add(std::string_view raw) {
    bytes_ += raw;
    return *this;
  }
  PickleBytes& text(const std::string& value) {
    return add("X").add(le(static_cast<std::uint32_t>(value.size()))).add(value);
  }
  PickleBytes& number(std::int64_t value) { return add("\x8a\x08").add(le(value)); }
  PickleBytes& numbers(const std::vector<std::int64_t>& values) {
    add("(");
    for (const std::int64_t value : values) number(value);
    return add("t");
  }
  PickleBytes& global(const std::string& module, const std::string& name) {
    return add("c").add(module).add("\n").add(name).add("\n");
  }
  PickleBytes& storage(const std::string& type, const std::string& key, std::int64_t elements) {
    return add("(").text("storage").global("torch", type).text(key).text("cpu").number(elements).add("tQ");
  }

  struct Tensor {
    std::string type = "FloatStorage";
    std::string key = "0";
    std::int64_t elements = 4;
    std::int64_t offset = 0;
    std::vector<std::int64_t> shape{2, 2};
    std::vector<std::int64_t> strides{2, 1};
  };
  PickleBytes& tensor(const Tensor& t) {
    global("torch._utils", "_rebuild_tensor_v2").add("(").storage(t.type, t.key, t.elements).number(t.offset);
    return numbers(t.shape).numbers(t.strides).add("\x89").global("collections", "OrderedDict").add(")RtR");
  }
  std::string finish() const { return bytes_ + "."; }

 private:
  std::string bytes_ = "\x80\x02";
};

/// data.pkl of a dict of tensors.
inline std::string state_dict(const std::vector<std::pair<std::string, PickleBytes::Tensor>>& tensors) {
  PickleBytes pickle;
  pickle.add("}(");
  for (const auto& [name, tensor] : tensors) pickle.text(name).tensor(tensor);
  return pickle.add("u").finish();
}

/// The archive of torch.save with storages by key.
inline std::string torch_file(const std::string& pickle,
                              const std::vector<std::pair<std::string, std::string>>& storages,
                              const ZipBytes::Options& options = {}) {
  ZipBytes zip(options);
  zip.add("any/data.pkl", pickle).add("any/byteorder", "little");
  for (const auto& [key, data] : storages) zip.add("any/data/" + key, data);
  return zip.finish();
}

}  // namespace mamba3::test
