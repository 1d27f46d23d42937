// A bounded cache from short pieces of text to their ids, shared by all threads without a lock: each entry is one
// cache line that carries a version, odd while somebody writes (a seqlock). A reader that meets a writer misses.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace quire::text {

class WordCache {
 public:
  static constexpr size_t kMaxKeyBytes = 24;
  static constexpr size_t kMaxIds = 8;

  WordCache();

  // Appends the ids of `word` and returns true, or returns false.
  bool Lookup(std::string_view word, std::vector<int32_t>& ids) const;
  // May drop another word, or do nothing if the word or its ids are too long.
  void Insert(std::string_view word, std::span<const int32_t> ids);

 private:
  static constexpr size_t kKeyWords = kMaxKeyBytes / 8;
  static constexpr size_t kIdWords = kMaxIds / 2;
  static constexpr size_t kNumBuckets = 1 << 15;  // 4 MiB in all
  static constexpr size_t kWays = 2;

  using Key = std::array<uint64_t, kKeyWords>;
  struct alignas(64) Entry {
    std::atomic<uint32_t> version{0};
    std::atomic<uint32_t> sizes{0};  // key bytes | ids << 8; 0: free
    std::array<std::atomic<uint64_t>, kKeyWords> key{};
    std::array<std::atomic<uint64_t>, kIdWords> ids{};
  };
  struct Bucket {
    std::array<Entry, kWays> ways;
  };

  static Key KeyOf(std::string_view word);
  static uint64_t HashOf(const Key& key, size_t size);
  static bool Read(const Entry& entry, const Key& key, size_t size, std::vector<int32_t>& ids);
  static void Write(Entry& entry, const Key& key, size_t size, std::span<const int32_t> ids);

  std::unique_ptr<std::array<Bucket, kNumBuckets>> buckets_;
};

}  // namespace quire::text
