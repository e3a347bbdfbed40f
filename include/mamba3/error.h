// What goes wrong, in one sentence.
#pragma once

#include <stdexcept>
#include <string>

namespace mamba3 {

/// Why a call failed. The C API returns these numbers (see mamba3.h).
enum class ErrorCode {
  invalid_argument = 1,  ///< an argument or option outside what is allowed
  not_found = 2,         ///< a file, folder or tensor that is not there
  bad_format = 3,        ///< a file that contradicts its format or itself
  unsupported = 4,       ///< well formed, but not built (yet): named in the message
  io = 5,                ///< the system refused to read or write
  numeric = 6,           ///< NaN or infinity where numbers are needed
  internal = 7,          ///< a fault of this library
  device = 8,            ///< a device that is not there, or that failed
  out_of_memory = 9,     ///< a device's memory is too small: how much was needed and had
};

/// Every failure of the library is thrown as this. what() is one sentence that names the thing, what was
/// expected and what was found.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace mamba3
