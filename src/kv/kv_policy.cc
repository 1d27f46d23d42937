#include "kv/kv_policy.h"

namespace quire {
namespace {

class PagedPolicy final : public KvPolicy {
 public:
  uint32_t SlotsAtAdmission(const KvDemand& demand) const override { return demand.num_known_tokens; }
};

}  // namespace

const KvPolicy& KvPolicy::Paged() {
  static const PagedPolicy policy;
  return policy;
}

}  // namespace quire
