// A generation: a request's choices in the engine, gathered into one answer or streamed as they come.
#pragma once

#include <functional>
#include <memory>

#include "server/generation_request.h"
#include "server/http.h"

namespace quire::server {

struct ModelContext;
class WorkerPool;

// Submits every prompt; the exchange answers with an error if one is refused. Any thread. The context and the pool
// outlive the exchange.
std::unique_ptr<HttpExchange> StartGeneration(const ModelContext& context, GenerationRequest request, WorkerPool& pool,
                                              std::function<void()> notify);

}  // namespace quire::server
