// PrefixDigest: the name of a prefix in full blocks, in every process and on disk: a 128-bit chained hash of its
// tokens, of the cache salt and the adapter, and of what makes keys and values comparable (weights, tokenizer, layout).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace quire {

struct PrefixDigest {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const PrefixDigest&, const PrefixDigest&) = default;
};

}  // namespace quire

template <>
struct std::hash<quire::PrefixDigest> {
  size_t operator()(const quire::PrefixDigest& digest) const { return digest.low; }
};
