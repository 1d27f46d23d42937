#include "sched/ngram_index.h"

#include <algorithm>

namespace quire {

// Of the min_tokens tokens before `end`.
uint64_t NgramIndex::HashBefore(std::span<const int32_t> tokens, size_t end) const {
  uint64_t hash = 0x9E3779B97F4A7C15ULL;
  for (size_t i = end - options_.min_tokens; i < end; ++i) {
    hash = (hash ^ static_cast<uint32_t>(tokens[i])) * 0xBF58476D1CE4E5B9ULL;
    hash ^= hash >> 29;
  }
  return hash;
}

// All ends but the last, which would find itself.
void NgramIndex::Extend(std::span<const int32_t> tokens) {
  before_.reserve(tokens.size());
  for (size_t end = before_.size(); end < tokens.size(); ++end) {
    before_.push_back(kNone);
    if (end < options_.min_tokens) continue;
    const auto [place, is_new] = latest_.try_emplace(HashBefore(tokens, end), static_cast<uint32_t>(end));
    if (is_new) continue;
    before_[end] = place->second;
    place->second = static_cast<uint32_t>(end);
  }
}

void NgramIndex::Propose(std::span<const int32_t> tokens, uint32_t max_drafts, std::vector<int32_t>& drafts) {
  Extend(tokens);
  const size_t num_tokens = tokens.size();
  if (num_tokens <= options_.min_tokens) return;
  const auto found = latest_.find(HashBefore(tokens, num_tokens));
  if (found == latest_.end()) return;
  uint32_t best_end = kNone, best_length = 0, num_looked_at = 0;
  for (uint32_t end = found->second; end != kNone && num_looked_at < kMaxLookedAt; end = before_[end]) {
    ++num_looked_at;
    uint32_t length = 0;
    while (length < std::min(options_.max_tokens, end) && tokens[end - 1 - length] == tokens[num_tokens - 1 - length]) {
      ++length;
    }
    if (length < options_.min_tokens || length <= best_length) continue;
    best_end = end;
    best_length = length;
    if (length == options_.max_tokens) break;
  }
  if (best_end == kNone) return;
  const auto follows = tokens.subspan(best_end, std::min<size_t>(max_drafts, num_tokens - best_end));
  drafts.insert(drafts.end(), follows.begin(), follows.end());
}

}  // namespace quire
