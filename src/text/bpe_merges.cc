#include "text/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <span>

namespace quire::text {
namespace {

uint64_t PairOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// A linked list of symbols over an array, and the merges that are possible now or were when they were queued.
class Merger {
 public:
  Merger(const BpeMerges& merges, std::span<const int32_t> ids) : merges_(merges), symbols_(ids.size()) {
    const int32_t count = static_cast<int32_t>(ids.size());
    for (int32_t i = 0; i < count; ++i) {
      symbols_[static_cast<size_t>(i)] = {.id = ids[static_cast<size_t>(i)], .previous = i - 1, .next = i + 1};
    }
    symbols_.back().next = kNone;
    queue_.reserve(ids.size());
    for (int32_t i = 0; i + 1 < count; ++i) Queue(i);
    std::make_heap(queue_.begin(), queue_.end(), IsLater);
    is_heap_ = true;
  }

  void Run() {
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), IsLater);
      const Candidate candidate = queue_.back();
      queue_.pop_back();
      if (StillApplies(candidate)) Merge(candidate);
    }
  }

  void AppendIds(std::vector<int32_t>& out) const {
    for (int32_t at = 0; at != kNone; at = At(at).next) out.push_back(At(at).id);
  }

 private:
  static constexpr int32_t kNone = -1;
  struct Symbol {
    int32_t id = 0;
    int32_t previous = kNone;
    int32_t next = kNone;
    bool is_gone = false;
  };
  struct Candidate {
    uint64_t order = 0;  // rank, then position
    int32_t merged = 0;
    int32_t position() const { return static_cast<int32_t>(static_cast<uint32_t>(order)); }
  };
  static bool IsLater(const Candidate& a, const Candidate& b) { return a.order > b.order; }

  Symbol& At(int32_t i) { return symbols_[static_cast<size_t>(i)]; }
  const Symbol& At(int32_t i) const { return symbols_[static_cast<size_t>(i)]; }

  // Queues the merge of the symbol at `position` with the one after it, if there is a rule.
  void Queue(int32_t position) {
    const Symbol& left = At(position);
    const BpeMerges::Rule* rule = merges_.Find(left.id, At(left.next).id);
    if (rule == nullptr) return;
    queue_.push_back({.order = PairOf(rule->rank, position), .merged = rule->merged});
    if (is_heap_) std::push_heap(queue_.begin(), queue_.end(), IsLater);
  }

  bool StillApplies(const Candidate& candidate) const {
    const Symbol& left = At(candidate.position());
    if (left.is_gone || left.next == kNone) return false;
    const BpeMerges::Rule* rule = merges_.Find(left.id, At(left.next).id);
    return rule != nullptr && rule->merged == candidate.merged;
  }

  void Merge(const Candidate& candidate) {
    const int32_t position = candidate.position();
    Symbol& left = At(position);
    Symbol& right = At(left.next);
    left.id = candidate.merged;
    right.is_gone = true;
    left.next = right.next;
    if (left.next != kNone) {
      At(left.next).previous = position;
      Queue(position);
    }
    if (left.previous != kNone) Queue(left.previous);
  }

  const BpeMerges& merges_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> queue_;  // a heap, the next merge in front
  bool is_heap_ = false;
};

}  // namespace

BpeMerges::BpeMerges(size_t num_rules) : slots_(std::bit_ceil(std::max<size_t>(16, num_rules * 2))) {}

size_t BpeMerges::Probe(uint64_t pair) const {
  const size_t mask = slots_.size() - 1;
  size_t at = static_cast<size_t>((pair * 0x9E3779B97F4A7C15U) >> 20) & mask;
  while (slots_[at].pair != kFree && slots_[at].pair != pair) at = (at + 1) & mask;
  return at;
}

void BpeMerges::Add(int32_t left, int32_t right, Rule rule) {
  const uint64_t pair = PairOf(left, right);
  slots_[Probe(pair)] = {.pair = pair, .rule = rule};
}

const BpeMerges::Rule* BpeMerges::Find(int32_t left, int32_t right) const {
  const Slot& slot = slots_[Probe(PairOf(left, right))];
  return slot.pair == kFree ? nullptr : &slot.rule;
}

void BpeMerges::Apply(std::vector<int32_t>& symbols, size_t first) const {
  if (symbols.size() - first < 2) return;
  Merger merger(*this, std::span<const int32_t>(symbols).subspan(first));
  merger.Run();
  symbols.resize(first);
  merger.AppendIds(symbols);
}

}  // namespace quire::text
