// NgramIndex: where in a sequence its last few tokens have stood before, and what followed them there ("prompt lookup":
// answers that quote, correct or continue their prompt say long parts of it again). A token costs one step of a hash
// chain to add; a lookup looks at a bounded number of places, the latest first. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace quire {

struct NgramOptions {
  uint32_t min_tokens = 2;  // that have to be the same
  uint32_t max_tokens = 4;  // more of them are not preferred to these
};

class NgramIndex {
 public:
  // REQUIRES: 1 <= min_tokens <= max_tokens.
  explicit NgramIndex(const NgramOptions& options) : options_(options) {}

  // `tokens` begins with the tokens of the calls before. Appends to `drafts` up to max_drafts tokens that followed the
  // longest match of its end, of matches as long the latest.
  void Propose(std::span<const int32_t> tokens, uint32_t max_drafts, std::vector<int32_t>& drafts);

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFF;
  static constexpr uint32_t kMaxLookedAt = 64;

  uint64_t HashBefore(std::span<const int32_t> tokens, size_t end) const;
  void Extend(std::span<const int32_t> tokens);

  const NgramOptions options_;
  std::unordered_map<uint64_t, uint32_t> latest_;  // by hash of min_tokens tokens: where they end
  std::vector<uint32_t> before_;                   // [tokens + 1]: the place before with this hash
};

}  // namespace quire
