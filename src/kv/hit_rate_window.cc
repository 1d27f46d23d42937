#include "kv/hit_rate_window.h"

namespace quire {

void HitRateWindow::Add(uint32_t num_requests, uint64_t num_queried, uint64_t num_hit) {
  if (num_requests == 0) return;
  samples_.push_back({num_requests, num_queried, num_hit});
  sum_ = {sum_.num_requests + num_requests, sum_.num_queried + num_queried, sum_.num_hit + num_hit};
  while (samples_.size() > 1 && sum_.num_requests > max_requests_) {
    const Sample& old = samples_.front();
    sum_ = {sum_.num_requests - old.num_requests, sum_.num_queried - old.num_queried, sum_.num_hit - old.num_hit};
    samples_.pop_front();
  }
}

double HitRateWindow::Rate() const {
  return sum_.num_queried == 0 ? 0.0 : static_cast<double>(sum_.num_hit) / static_cast<double>(sum_.num_queried);
}

void HitRateWindow::Reset() {
  samples_.clear();
  sum_ = {};
}

}  // namespace quire
