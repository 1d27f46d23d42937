// POST /v1/chat/completions: OpenAI's chat, with vLLM's additions.
#pragma once

#include <memory>
#include <string_view>
#include <variant>

#include "server/api/generation_request.h"
#include "server/api/route.h"

namespace quire::server {

using ParsedChat = std::variant<GenerationRequest, ApiError>;
ParsedChat ParseChat(const ModelContext& context, std::string_view body, ServerCounters& counters);

std::unique_ptr<HttpExchange> AnswerChat(const Call& call);

}  // namespace quire::server
