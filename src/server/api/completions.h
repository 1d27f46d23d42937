// POST /v1/completions: OpenAI's older protocol, with vLLM's additions.
#pragma once

#include <memory>
#include <string_view>
#include <variant>

#include "server/api/generation_request.h"
#include "server/api/route.h"

namespace quire::server {

struct CompletionRequest : GenerationRequest {
  bool echo = false;  // each choice begins with its prompt
};

using ParsedCompletion = std::variant<CompletionRequest, ApiError>;
ParsedCompletion ParseCompletion(const ModelContext& context, std::string_view body, ServerCounters& counters);

std::unique_ptr<HttpExchange> AnswerCompletion(const Call& call);

}  // namespace quire::server
