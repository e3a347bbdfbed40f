#include "cli/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>

#include "core/descriptor.h"
#include "core/error.h"

namespace mamba3::cli {
namespace {

constexpr std::size_t kLargestInput = std::size_t{1} << 31;

bool is_closed(int number) {
  return fcntl(number, F_GETFD) < 0;
}

}  // namespace

void check_streams() {
  const bool no_output = is_closed(STDOUT_FILENO);
  for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (is_closed(number)) (void)::open("/dev/null", O_RDWR);  // takes the lowest free number
  }
  if (no_output) fail(ErrorCode::io, "standard output is closed, there is nowhere to write the result");
}

void print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(ErrorCode::io, "standard output: {}", system_message(errno));
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void print_json(const Json& value) {
  print(value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void say(std::string_view line) {
  fmt::print(stderr, "{}\n", line);
}

std::string read_text(const std::string& path) {
  const bool standard = path == "-";
  const Descriptor file(standard ? dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) {
    const int error = errno;
    fail(error == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: {}", shown_path(path),
         system_message(error));
  }
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const ssize_t count = ::read(file.number(), buffer.data(), buffer.size());
    if (count < 0) fail(ErrorCode::io, "{}: {}", shown_path(path), system_message(errno));
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > kLargestInput) {
      fail(ErrorCode::invalid_argument, "{}: the text is longer than {} bytes", shown_path(path),
           kLargestInput);
    }
  }
}

std::string shown_path(const std::string& path) {
  return path == "-" ? "standard input" : path;
}

std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; }, '?');
  return text;
}

std::string shown_bytes(double bytes) {
  constexpr std::array kUnits = {"bytes", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
  return unit == 0 ? fmt::format("{:.0f} bytes", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

}  // namespace mamba3::cli
