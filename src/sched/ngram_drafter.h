// NgramDrafter: drafts from the sequence's own tokens, by an NgramIndex for each.
#pragma once

#include <map>
#include <utility>

#include "sched/drafter.h"
#include "sched/ngram_index.h"

namespace quire {

class NgramDrafter final : public Drafter {
 public:
  explicit NgramDrafter(const NgramOptions& options) : options_(options) {}

  void Propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) {
      NgramIndex& index = indexes_.try_emplace({request.request, request.stream}, options_).first->second;
      index.Propose(request.tokens, request.max_drafts, request.drafts);
    }
  }
  void Forget(RequestId request) override {
    indexes_.erase(indexes_.lower_bound({request, 0}), indexes_.upper_bound({request, 0xFFFFFFFF}));
  }

 private:
  const NgramOptions options_;
  std::map<std::pair<RequestId, uint32_t>, NgramIndex> indexes_;  // by request and stream
};

}  // namespace quire
