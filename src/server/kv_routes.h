// GET /debug/kv and POST /reset_prefix_cache: what the engine's thread is asked for between two steps.
#pragma once

#include <functional>
#include <memory>

#include "engine/engine.h"
#include "server/http.h"

namespace quire::server {

class WorkerPool;

// The engine and the pool outlive the exchange. `notify` as in HttpService::Start.
std::unique_ptr<HttpExchange> StartKvReport(Engine& engine, WorkerPool& workers, std::function<void()> notify);
std::unique_ptr<HttpExchange> StartPrefixCacheReset(Engine& engine, std::function<void()> notify);

// The body of /debug/kv.
std::string KvReportJson(const EngineKvReport& report);

}  // namespace quire::server
