#include "text/word_cache.h"

#include <cstring>

namespace quire::text {

WordCache::WordCache() : buckets_(std::make_unique<std::array<Bucket, kNumBuckets>>()) {}

WordCache::Key WordCache::KeyOf(std::string_view word) {
  Key key{};
  std::memcpy(key.data(), word.data(), word.size());
  return key;
}

uint64_t WordCache::HashOf(const Key& key, size_t size) {
  const auto mix = [](uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const uint64_t low = mix(key[0] ^ 0x9E3779B97F4A7C15U, key[1] ^ 0xC2B2AE3D27D4EB4FU);
  return mix(low ^ 0x165667B19E3779F9U, key[2] ^ (size * 0xD6E8FEB86659FD93U));
}

bool WordCache::Lookup(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() > kMaxKeyBytes || word.empty()) return false;
  const Key key = KeyOf(word);
  const Bucket& bucket = (*buckets_)[HashOf(key, word.size()) % kNumBuckets];
  return Read(bucket.ways[0], key, word.size(), ids) || Read(bucket.ways[1], key, word.size(), ids);
}

// Acquire loads keep the second look at the version behind the data; the writer's release stores put its odd version
// in front of them. So equal even versions prove that no write came between.
bool WordCache::Read(const Entry& entry, const Key& key, size_t size, std::vector<int32_t>& ids) {
  const uint32_t version = entry.version.load(std::memory_order_acquire);
  const uint32_t sizes = entry.sizes.load(std::memory_order_acquire);
  if ((version & 1) != 0 || (sizes & 0xFF) != size) return false;
  for (size_t i = 0; i < kKeyWords; ++i) {
    if (entry.key[i].load(std::memory_order_acquire) != key[i]) return false;
  }
  const size_t num_ids = sizes >> 8;
  std::array<uint64_t, kIdWords> packed;
  for (size_t i = 0; i < kIdWords; ++i) packed[i] = entry.ids[i].load(std::memory_order_acquire);
  if (entry.version.load(std::memory_order_relaxed) != version) return false;
  for (size_t i = 0; i < num_ids; ++i) {
    ids.push_back(static_cast<int32_t>(static_cast<uint32_t>(packed[i / 2] >> (i % 2 * 32))));
  }
  return true;
}

void WordCache::Insert(std::string_view word, std::span<const int32_t> ids) {
  if (word.size() > kMaxKeyBytes || word.empty() || ids.size() > kMaxIds) return;
  const Key key = KeyOf(word);
  const uint64_t hash = HashOf(key, word.size());
  Bucket& bucket = (*buckets_)[hash % kNumBuckets];
  const bool first_is_free = bucket.ways[0].sizes.load(std::memory_order_relaxed) == 0;
  Write(bucket.ways[first_is_free ? 0 : hash >> 63], key, word.size(), ids);
}

void WordCache::Write(Entry& entry, const Key& key, size_t size, std::span<const int32_t> ids) {
  uint32_t version = entry.version.load(std::memory_order_relaxed);
  if ((version & 1) != 0) return;  // somebody else writes: their word is as good
  if (!entry.version.compare_exchange_strong(version, version + 1, std::memory_order_acquire)) return;
  std::array<uint64_t, kIdWords> packed{};
  for (size_t i = 0; i < ids.size(); ++i) {
    packed[i / 2] |= static_cast<uint64_t>(static_cast<uint32_t>(ids[i])) << (i % 2 * 32);
  }
  entry.sizes.store(static_cast<uint32_t>(size | ids.size() << 8), std::memory_order_release);
  for (size_t i = 0; i < kKeyWords; ++i) entry.key[i].store(key[i], std::memory_order_release);
  for (size_t i = 0; i < kIdWords; ++i) entry.ids[i].store(packed[i], std::memory_order_release);
  entry.version.store(version + 2, std::memory_order_release);
}

}  // namespace quire::text
