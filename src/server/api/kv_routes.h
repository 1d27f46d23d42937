// GET /debug/kv and POST /reset_prefix_cache: what the engine's thread is asked for between two steps.
#pragma once

#include <memory>

#include "server/api/route.h"

namespace quire::server {

std::unique_ptr<HttpExchange> AnswerKvReport(const Call& call);
std::unique_ptr<HttpExchange> AnswerPrefixCacheReset(const Call& call);

}  // namespace quire::server
