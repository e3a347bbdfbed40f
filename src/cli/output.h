// Results go to standard output, checked; everything else goes to standard error.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mamba3::cli {

using Json = nlohmann::ordered_json;

/// Before any file is opened: a closed standard stream must not become the number of a model's file. Throws
/// Error(io) when standard output is closed.
void check_streams();

/// Writes all of it to standard output, at once. Throws Error(io) for a closed pipe or a full disk.
void print(std::string_view text);
/// The same for a JSON value and a line end; bytes that are not UTF-8 become U+FFFD.
void print_json(const Json& value);

/// A line on standard error.
void say(std::string_view line);

/// A whole file; "-" is standard input. Throws Error: not_found, io.
std::string read_text(const std::string& path);

/// What messages call a file: "standard input" for "-".
std::string shown_path(const std::string& path);

/// A name from a file, safe for a terminal: control characters become question marks.
std::string printable(std::string text);

/// For people: "12.3 MB", "1.5 GB".
std::string shown_bytes(double bytes);

}  // namespace mamba3::cli
