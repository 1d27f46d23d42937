// The prefix cache's hit rate over the most recent requests: what an operator watches.
#pragma once

#include <cstdint>
#include <deque>

namespace quire {

class HitRateWindow {
 public:
  explicit HitRateWindow(uint32_t max_requests = 1000) : max_requests_(max_requests) {}

  // num_hit of num_queried tokens, over num_requests requests. Of no requests: no effect.
  void Add(uint32_t num_requests, uint64_t num_queried, uint64_t num_hit);
  double Rate() const;  // 0 to 1; 0 when nothing was queried
  void Reset();

 private:
  struct Sample {
    uint32_t num_requests = 0;
    uint64_t num_queried = 0;
    uint64_t num_hit = 0;
  };
  const uint32_t max_requests_;
  std::deque<Sample> samples_;
  Sample sum_;
};

}  // namespace quire
