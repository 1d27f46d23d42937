#include "base/work_ranges.h"

#include "base/check.h"

namespace quire {

void WorkRanges::Deal(int64_t count) {
  QUIRE_CHECK_LT(count, int64_t{1} << 32);
  const auto threads = static_cast<int64_t>(ranges_.size());
  for (int64_t t = 0; t < threads; ++t) {
    const auto begin = static_cast<uint64_t>(count * t / threads);
    const auto end = static_cast<uint64_t>(count * (t + 1) / threads);
    ranges_[static_cast<size_t>(t)].bounds.store(begin << 32 | end, std::memory_order_relaxed);
  }
}

int64_t WorkRanges::Take(int thread) {
  std::atomic<uint64_t>& bounds = ranges_[static_cast<size_t>(thread)].bounds;
  uint64_t now = bounds.load(std::memory_order_relaxed);
  while (Begin(now) < End(now)) {
    const uint64_t rest = now + (uint64_t{1} << 32);
    if (bounds.compare_exchange_weak(now, rest, std::memory_order_relaxed)) return static_cast<int64_t>(Begin(now));
  }
  return TakeFromLongest();
}

int64_t WorkRanges::TakeFromLongest() {
  for (;;) {
    Range* longest = nullptr;
    uint64_t bounds = 0, length = 0;
    for (Range& range : ranges_) {
      const uint64_t now = range.bounds.load(std::memory_order_relaxed);
      if (End(now) <= Begin(now) + length) continue;
      longest = &range;
      bounds = now;
      length = End(now) - Begin(now);
    }
    if (longest == nullptr) return -1;
    if (longest->bounds.compare_exchange_strong(bounds, bounds - 1, std::memory_order_relaxed)) {
      return static_cast<int64_t>(End(bounds)) - 1;
    }
  }
}

}  // namespace quire
