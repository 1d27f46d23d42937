// EnumArray: one value for each enumerator of an enum that counts from 0.
#pragma once

#include <array>
#include <cstddef>

namespace quire {

template <typename Enum, typename T, size_t kSize>
struct EnumArray {
  std::array<T, kSize> values{};

  T& operator[](Enum index) { return values[static_cast<size_t>(index)]; }
  const T& operator[](Enum index) const { return values[static_cast<size_t>(index)]; }
  // The n-th enumerator.
  static constexpr Enum At(size_t n) { return static_cast<Enum>(n); }
};

}  // namespace quire
