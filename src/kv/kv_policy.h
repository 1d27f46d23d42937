// KvPolicy: how KV memory is promised to a sequence. Paged memory promises what is known to be needed and grows block
// by block; a policy that reserves for the longest possible output promises more, earlier.
#pragma once

#include <cstdint>

namespace quire {

struct KvDemand {
  uint32_t num_known_tokens = 0;  // prompt and output so far
  uint32_t max_total_tokens = 0;  // prompt and the longest output that was asked for
};

class KvPolicy {
 public:
  virtual ~KvPolicy() = default;
  // Token slots that a sequence gets when it is admitted: at least its known tokens, at most its longest total.
  virtual uint32_t SlotsAtAdmission(const KvDemand& demand) const = 0;

  static const KvPolicy& Paged();
};

}  // namespace quire
