#include "kv/kv_policy.h"

#include <algorithm>
#include <bit>

namespace quire {
namespace {

constexpr const char* kNames[] = {"paged", "reserve-max", "reserve-pow2", "reserve-exact"};

class Paged final : public KvPolicy {
 public:
  bool contiguous() const override { return false; }
  uint32_t SlotsAtAdmission(const KvDemand& demand) const override { return demand.num_known_tokens; }
};

class ReserveMax final : public KvPolicy {
 public:
  bool contiguous() const override { return true; }
  uint32_t SlotsAtAdmission(const KvDemand& demand) const override { return demand.max_model_len; }
};

class ReservePow2 final : public KvPolicy {
 public:
  bool contiguous() const override { return true; }
  uint32_t SlotsAtAdmission(const KvDemand& demand) const override {
    const uint32_t output = std::bit_ceil(demand.max_total_tokens - demand.num_prompt_tokens);
    return std::min(demand.num_prompt_tokens + output, demand.max_model_len);
  }
};

class ReserveExact final : public KvPolicy {
 public:
  bool contiguous() const override { return true; }
  uint32_t SlotsAtAdmission(const KvDemand& demand) const override { return demand.max_total_tokens; }
};

}  // namespace

const char* KvPolicyName(KvPolicyKind kind) { return kNames[static_cast<size_t>(kind)]; }

const KvPolicy& KvPolicy::Of(KvPolicyKind kind) {
  static const Paged paged;
  static const ReserveMax reserve_max;
  static const ReservePow2 reserve_pow2;
  static const ReserveExact reserve_exact;
  const KvPolicy* const policies[] = {&paged, &reserve_max, &reserve_pow2, &reserve_exact};
  return *policies[static_cast<size_t>(kind)];
}

uint32_t ChunkBlocks(uint32_t num_slots, uint32_t block_size) {
  return std::bit_ceil((num_slots + block_size - 1) / block_size);
}

}  // namespace quire
