#include "kv/prefix_digest.h"

#include <xxhash.h>

#include <array>
#include <cstring>

#include "base/check.h"

namespace quire {
namespace {

PrefixDigest DigestOf(const XXH128_hash_t& hash) { return {.high = hash.high64, .low = hash.low64}; }

}  // namespace

PrefixDigest RootDigest(uint64_t seed, std::string_view salt, uint64_t adapter_id) {
  const XXH128_hash_t salt_hash = XXH3_128bits_withSeed(salt.data(), salt.size(), seed);
  const std::array<uint64_t, 3> parts = {salt_hash.high64, salt_hash.low64, adapter_id};
  return DigestOf(XXH3_128bits_withSeed(parts.data(), sizeof(parts), seed));
}

PrefixDigest NextDigest(const PrefixDigest& parent, std::span<const int32_t> tokens) {
  QUIRE_CHECK_LE(tokens.size(), kMaxDigestTokens);
  std::array<std::byte, sizeof(parent) + kMaxDigestTokens * sizeof(int32_t)> bytes;
  std::memcpy(bytes.data(), &parent, sizeof(parent));
  std::memcpy(bytes.data() + sizeof(parent), tokens.data(), tokens.size_bytes());
  return DigestOf(XXH3_128bits(bytes.data(), sizeof(parent) + tokens.size_bytes()));
}

PrefixDigest InGroup(const PrefixDigest& digest, uint32_t group) {
  if (group == 0) return digest;
  return DigestOf(XXH3_128bits_withSeed(&digest, sizeof(digest), group));
}

}  // namespace quire
