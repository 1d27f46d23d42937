// KvPolicy: how KV memory is promised to a sequence, as the paper's section 6 compares them. Paged memory promises what
// is known to be needed and grows block by block. The others reserve a contiguous chunk for the longest output when a
// request is admitted (Orca's three variants, over a buddy allocator): no sharing, no growth, and so no preemption.
#pragma once

#include <cstdint>

namespace quire {

enum class KvPolicyKind : uint8_t {
  kPaged,
  kReserveMax,    // for the model's longest sequence
  kReservePow2,   // for the prompt and the next power of two of the output
  kReserveExact,  // for the prompt and the output: an oracle, told by max_tokens
};

// "paged", "reserve-max", "reserve-pow2", "reserve-exact".
const char* KvPolicyName(KvPolicyKind kind);

struct KvDemand {
  uint32_t num_prompt_tokens = 0;
  uint32_t num_known_tokens = 0;  // prompt and output so far
  uint32_t max_total_tokens = 0;  // prompt and the longest output that was asked for
  uint32_t max_model_len = 0;
};

class KvPolicy {
 public:
  virtual ~KvPolicy() = default;
  // Whether a sequence's blocks are one contiguous chunk of its own, a power of two long, that never grows.
  virtual bool contiguous() const = 0;
  // Token slots that a sequence gets when it is admitted: at least its known tokens, at most max_model_len.
  virtual uint32_t SlotsAtAdmission(const KvDemand& demand) const = 0;

  static const KvPolicy& Of(KvPolicyKind kind);
};

// Blocks of the chunk that holds num_slots: ceil(num_slots / block_size), rounded up to a power of two.
uint32_t ChunkBlocks(uint32_t num_slots, uint32_t block_size);

}  // namespace quire
