// The merge rules of byte-pair encoding, and their application to one piece (Sennrich et al., ACL 2016): of all
// neighbours that a rule joins, always the pair of lowest rank, leftmost first. Immutable: any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace quire::text {

class BpeMerges {
 public:
  struct Rule {
    int32_t rank = 0;
    int32_t merged = 0;  // id of the token that the pair becomes
  };

  explicit BpeMerges(size_t num_rules);

  // A pair that is given again gets the later rule. REQUIRES: at most num_rules pairs.
  void Add(int32_t left, int32_t right, Rule rule);
  const Rule* Find(int32_t left, int32_t right) const;

  // Replaces the symbols from `first` to the end by the tokens they merge to: O(n log n) for n symbols.
  void Apply(std::vector<int32_t>& symbols, size_t first) const;

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Slot {
    uint64_t pair = kFree;
    Rule rule;
  };

  size_t Probe(uint64_t pair) const;

  std::vector<Slot> slots_;  // open addressing; a power of two, at most half full
};

}  // namespace quire::text
