// --speculative-config: a JSON object with vLLM's names.
#pragma once

#include <cstdint>
#include <string>

#include "quire/result.h"
#include "sched/ngram_index.h"

namespace quire {

struct SpeculationOptions {
  uint32_t num_tokens = 0;  // drafts of one sequence in a step, at most; 0: no speculation
  std::string model;        // that drafts: a path or a hub name; empty: tokens are looked up in the sequence itself
  NgramOptions ngram;
  bool adaptive = true;  // as many drafts as they are worth; otherwise all
};

// Empty: no speculation. Errors name the field.
Result<SpeculationOptions> ParseSpeculationOptions(const std::string& json);

}  // namespace quire
