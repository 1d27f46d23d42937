// Admission: a request is checked, completed and proved to fit before the engine takes it. Any thread.
#pragma once

#include <cstdint>

#include "engine/engine.h"
#include "quire/result.h"
#include "sched/request.h"

namespace quire {

// The request that `args` ask for, with max_tokens and the seed set; its id and arrival are the engine's to give.
// Blocks that are pinned are out of its reach.
Result<Request> MakeRequest(const EngineOptions& options, SubmitArgs args, uint32_t num_pinned_blocks);

}  // namespace quire
