// Admission: a request is checked, completed and proved to fit before the engine takes it. Any thread.
#pragma once

#include <cstdint>

#include "engine/engine_options.h"
#include "quire/result.h"
#include "sched/request.h"

namespace quire {

// Checks the request, sets its max_tokens and what ends it, and proves that it fits beside the blocks that are pinned.
// Its id, arrival and seed, if it has none, are the engine's to give.
Status CompleteRequest(const EngineOptions& options, uint32_t num_pinned_blocks, Request& request);

// The seed of a request that has none: of the engine's seed and the request's place in the order of admission.
uint64_t NewSeed(const EngineOptions& options, uint64_t request_id);

}  // namespace quire
