// Units of work dealt out to the threads of a team. Each begins with a contiguous range and takes it in order, so that
// what a thread reads next in memory follows what it reads now; one that has nothing left takes from the end of the
// longest range, so that no thread waits for a slower one. Allocates in its constructor only.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace quire {

class WorkRanges {
 public:
  // REQUIRES: num_threads >= 1.
  explicit WorkRanges(int num_threads) : ranges_(static_cast<size_t>(num_threads)) {}

  // Deals units [0, count), count < 2^32. REQUIRES: no thread is taking.
  void Deal(int64_t count);

  // A unit for this thread, each unit once; -1 when none is left. Any thread, at any time between two Deals.
  int64_t Take(int thread);

 private:
  struct alignas(64) Range {
    std::atomic<uint64_t> bounds{0};  // begin in the upper half, end in the lower
  };
  static uint64_t Begin(uint64_t bounds) { return bounds >> 32; }
  static uint64_t End(uint64_t bounds) { return bounds & 0xFFFFFFFF; }
  int64_t TakeFromLongest();

  std::vector<Range> ranges_;
};

}  // namespace quire
