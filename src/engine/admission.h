// Admission: a request is checked, completed and proved to fit before the engine takes it. Any thread.
#pragma once

#include <cstdint>

#include "engine/engine.h"
#include "quire/result.h"
#include "sched/request.h"

namespace quire {

// The request that `args` ask for, with max_tokens set; its id, arrival and seed, if it has none, are the engine's to
// give.
// Blocks that are pinned are out of its reach.
Result<Request> MakeRequest(const EngineOptions& options, SubmitArgs args, uint32_t num_pinned_blocks);

// The seed of a request that has none: of the engine's seed and the request's place in the order of admission.
uint64_t NewSeed(const EngineOptions& options, uint64_t request_id);

}  // namespace quire
