// PrefixDigest: the name of a prefix in full blocks, in every process and on disk: a 128-bit chained hash of its
// tokens, of the cache salt and the adapter, and of what makes keys and values comparable (weights, tokenizer, layout).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace quire {

struct PrefixDigest {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const PrefixDigest&, const PrefixDigest&) = default;
};

// The longest block that can be named, in tokens.
inline constexpr size_t kMaxDigestTokens = 256;

// The prefix of no blocks. `seed` stands for what makes keys and values comparable.
PrefixDigest RootDigest(uint64_t seed, std::string_view salt, uint64_t adapter_id);
// The prefix that is `parent` and one block of tokens more. REQUIRES: tokens.size() <= kMaxDigestTokens.
PrefixDigest NextDigest(const PrefixDigest& parent, std::span<const int32_t> tokens);

// The name of what a prefix's last block holds in one KV group; in the first one, the prefix's own.
PrefixDigest InGroup(const PrefixDigest& digest, uint32_t group);

// NextDigest, or what a test puts in its place to make prefixes collide.
using PrefixDigestFunction = PrefixDigest (*)(const PrefixDigest& parent, std::span<const int32_t> tokens);

}  // namespace quire

template <>
struct std::hash<quire::PrefixDigest> {
  size_t operator()(const quire::PrefixDigest& digest) const { return digest.low; }
};
