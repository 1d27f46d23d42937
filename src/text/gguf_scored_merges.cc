#include "text/gguf_scored_merges.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "text/gguf_special_tokens.h"

namespace quire::text {
namespace {

class ScoredMerges {
 public:
  ScoredMerges(const GgufVocabulary& vocabulary, const Vocabulary& ids) : vocabulary_(vocabulary), ids_(ids) {}

  Result<std::vector<ScoredMerge>> Find() {
    QUIRE_RETURN_IF_ERROR(Check());
    std::vector<int32_t> order;
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      is_piece_.push_back(TypeOf(vocabulary_, id) == GgufTokenType::kNormal);
      if (is_piece_.back()) order.push_back(static_cast<int32_t>(id));
    }
    std::ranges::stable_sort(order, std::ranges::greater(),
                             [&](int32_t id) { return vocabulary_.scores[static_cast<size_t>(id)]; });
    for (const int32_t id : order) AddPairsOf(id);
    return std::move(pairs_);
  }

 private:
  Status Check() const {
    constexpr uint64_t kMaxWork = uint64_t{1} << 32;  // bytes that are hashed to find the pairs
    uint64_t work = 0;
    for (const std::string_view token : vocabulary_.tokens) {
      work += std::min<uint64_t>(token.size(), kMaxWork) * token.size();
      if (work > kMaxWork)
        return InvalidArgument("{}: the tokens are too long to find out which merge", "tokenizer.ggml.tokens");
    }
    if (vocabulary_.scores.empty()) {
      return InvalidArgument("{}: is missing, and there is no tokenizer.ggml.merges either", "tokenizer.ggml.scores");
    }
    const auto odd = std::ranges::find_if(vocabulary_.scores, [](double score) { return std::isnan(score); });
    if (odd == vocabulary_.scores.end()) return {};
    return InvalidArgument("{}[{}]: is not a number", "tokenizer.ggml.scores", odd - vocabulary_.scores.begin());
  }

  bool IsPiece(int32_t id) const { return is_piece_[static_cast<size_t>(id)]; }

  void AddPairsOf(int32_t merged) {
    const std::string_view text = vocabulary_.tokens[static_cast<size_t>(merged)];
    const auto first = static_cast<std::ptrdiff_t>(pairs_.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if ((static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) continue;  // within a character
      const std::optional<int32_t> left = ids_.Find(text.substr(0, cut));
      if (!left || !IsPiece(*left)) continue;
      const std::optional<int32_t> right = ids_.Find(text.substr(cut));
      if (right && IsPiece(*right)) pairs_.push_back({.left = *left, .right = *right, .merged = merged});
    }
    std::sort(pairs_.begin() + first, pairs_.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
  }

  const GgufVocabulary& vocabulary_;
  const Vocabulary& ids_;
  std::vector<bool> is_piece_;  // by id
  std::vector<ScoredMerge> pairs_;
};

}  // namespace

Result<std::vector<ScoredMerge>> FindScoredMerges(const GgufVocabulary& vocabulary, const Vocabulary& ids) {
  return ScoredMerges(vocabulary, ids).Find();
}

}  // namespace quire::text
