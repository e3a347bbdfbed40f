// Conversions between the types that implementations compute in.
#pragma once

#include <algorithm>
#include <vector>

#include "mixers/mamba3/reference.h"

namespace mamba3::selftest {

template <typename To, typename From>
std::vector<To> cast(const std::vector<From>& values) {
  return {values.begin(), values.end()};
}

template <typename To, typename From>
reference::Mamba3Params<To> cast(const reference::Mamba3Params<From>& p) {
  return {cast<To>(p.in_proj), cast<To>(p.dt_bias), cast<To>(p.B_bias), cast<To>(p.C_bias),
          cast<To>(p.B_norm),  cast<To>(p.C_norm),  cast<To>(p.D),      cast<To>(p.mimo_x),
          cast<To>(p.mimo_z),  cast<To>(p.mimo_o),  cast<To>(p.norm),   cast<To>(p.out_proj)};
}

template <typename To, typename From>
reference::Mamba3State<To> cast(const reference::Mamba3State<From>& s) {
  return {cast<To>(s.theta), cast<To>(s.h), cast<To>(s.k), cast<To>(s.x)};
}

template <typename To, typename From>
reference::ScanInput<To> cast(const reference::ScanInput<From>& in) {
  return {in.tokens,        cast<To>(in.q),  cast<To>(in.k),    cast<To>(in.x),    cast<To>(in.z),
          cast<To>(in.adt), cast<To>(in.dt), cast<To>(in.trap), cast<To>(in.angle)};
}

/// Rows [begin, end) of `values`, which has `rows` of them.
template <typename T>
std::vector<T> rows_between(const std::vector<T>& values, std::int64_t rows, std::int64_t begin,
                            std::int64_t end) {
  const auto width = static_cast<std::int64_t>(values.size()) / rows;
  return {values.begin() + begin * width, values.begin() + end * width};
}

/// Tokens [begin, end) of a scan's inputs.
template <typename T>
reference::ScanInput<T> rows_between(const reference::ScanInput<T>& in, std::int64_t begin,
                                     std::int64_t end) {
  const auto part = [&](const std::vector<T>& values) { return rows_between(values, in.tokens, begin, end); };
  return {end - begin,  part(in.q),  part(in.k),    part(in.x),    part(in.z),
          part(in.adt), part(in.dt), part(in.trap), part(in.angle)};
}

template <typename T>
void append(std::vector<T>& to, const std::vector<T>& values) {
  to.insert(to.end(), values.begin(), values.end());
}

}  // namespace mamba3::selftest
