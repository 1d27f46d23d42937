// The names of a decoder's weights in two conventions side by side. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/arch_spec.h"

namespace quire {

struct WeightName {
  enum Part : uint8_t { kOther, kQuery, kKey };  // whose rows are those of heads

  std::string from;
  std::string to;
  Part part = kOther;
};

// All that families have; a model may lack biases, norms of heads, the head.
std::vector<WeightName> NamesOf(const WeightNames& from, const WeightNames& to, int32_t num_layers);

}  // namespace quire
