// AdversarialDrafter: drafts that are right, wrong, right for a while, past the end of the answer, or missing, at
// random: none of it may show in what is said.
#pragma once

#include <algorithm>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "sched/drafter.h"

namespace quire {

class AdversarialDrafter final : public Drafter {
 public:
  // What the sequence will say next: max_drafts tokens, or fewer, which go on behind its end.
  using Truth = std::function<std::vector<int32_t>(const DraftRequest&)>;
  AdversarialDrafter(Truth truth, int32_t vocab_size, uint64_t seed)
      : truth_(std::move(truth)), vocab_size_(vocab_size), random_(static_cast<unsigned>(seed) + 1) {}

  void Propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) Propose(request);
  }
  void Forget(RequestId /*request*/) override {}

 private:
  void Propose(DraftRequest& request) {
    const auto kind = random_() % 5;
    if (kind == 0) return;
    if (kind != 1) request.drafts = truth_(request);
    const size_t num_drafts = 1 + random_() % request.max_drafts;
    const size_t num_right = kind == 2 ? num_drafts : random_() % (num_drafts + 1);
    request.drafts.resize(std::min(request.drafts.size(), num_right));
    while (request.drafts.size() < num_drafts) {
      request.drafts.push_back(static_cast<int32_t>(random_() % static_cast<size_t>(vocab_size_)));
    }
  }

  const Truth truth_;
  const int32_t vocab_size_;
  std::minstd_rand random_;
};

}  // namespace quire
