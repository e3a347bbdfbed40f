// What the tests of parsers say again and again.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "mamba3/error.h"

namespace mamba3::test {

/// The message of the Error that `action` throws; a failure when it throws none.
template <typename Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

inline void expect_mentions(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& word : words)
    EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
  EXPECT_LT(message.size(), 1000u) << message;
}

/// The values of a view of plain elements, which may lie at any alignment.
template <typename T>
std::vector<T> values_of(const TensorView& view) {
  std::vector<T> values(view.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), view.bytes.data(), values.size() * sizeof(T));
  return values;
}

inline std::vector<float> floats_of(const TensorView& view) {
  std::vector<float> values(static_cast<std::size_t>(view.elements()));
  to_float(view.dtype, view.bytes.data(), view.elements(), values.data());
  return values;
}

}  // namespace mamba3::test
