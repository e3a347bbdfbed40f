// A file descriptor that closes itself, and the system's word on what failed.
#pragma once

#include <unistd.h>

#include <cctype>
#include <string>
#include <system_error>
#include <utility>

namespace mamba3 {

/// The system's sentence for an errno value, ready to stand inside one of ours: "no space left on device".
inline std::string system_message(int error_number) {
  std::string text = std::generic_category().message(error_number);
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

/// Owns an open file descriptor; -1 is none.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }

  bool is_open() const { return number_ >= 0; }
  int number() const { return number_; }
  /// Closes now; false, with errno set, when the system reports a failed write only here.
  bool close() {
    const int number = std::exchange(number_, -1);
    return number < 0 || ::close(number) == 0;
  }

 private:
  int number_;
};

}  // namespace mamba3
