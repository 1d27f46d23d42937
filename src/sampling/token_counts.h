// TokenCounts: how often each token stands in a sequence, kept as the sequence grows; what penalties read.
// Open addressing over a dense list of entries: reading it costs the number of distinct tokens, not the vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quire {

class TokenCounts {
 public:
  struct Entry {
    int32_t token = 0;
    bool in_prompt = false;
    int32_t output_count = 0;
  };

  // Forgets all tokens; keeps the memory.
  void Reset();
  // Up to num_distinct tokens then come without an allocation.
  void Reserve(size_t num_distinct);
  void AddPrompt(int32_t token) { At(token).in_prompt = true; }
  void AddOutput(int32_t token) { ++At(token).output_count; }
  bool Contains(int32_t token) const;
  // In the order of first appearance.
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& At(int32_t token);
  size_t FindCell(int32_t token) const;
  void Rehash(size_t num_cells);

  std::vector<Entry> entries_;
  std::vector<int32_t> cells_;  // index into entries_, or -1; a power of two, at most half full
};

}  // namespace quire
