// Random numbers by their place in a stream, without the ones before: splitmix64 (Steele, Lea and Flood
// 2014).
#pragma once

#include <cstdint>

namespace mamba3 {

/// 64 well-mixed bits for each i.
constexpr std::uint64_t splitmix(std::uint64_t i) {
  i += 0x9e3779b97f4a7c15u;
  i = (i ^ (i >> 30)) * 0xbf58476d1ce4e5b9u;
  i = (i ^ (i >> 27)) * 0x94d049bb133111ebu;
  return i ^ (i >> 31);
}

/// The i-th 64 bits of the stream that a seed names.
constexpr std::uint64_t random_bits(std::uint64_t seed, std::uint64_t i) {
  return splitmix(splitmix(seed) + i);
}

/// The same as a number in [0, 1).
constexpr double random_uniform(std::uint64_t seed, std::uint64_t i) {
  return static_cast<double>(random_bits(seed, i) >> 11) * 0x1p-53;
}

}  // namespace mamba3
