// Both kinds of requests for text, parsed as far as they are alike.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "server/api/chat.h"
#include "server/api/completions.h"

namespace quire::server {

using ParsedRequest = std::variant<GenerationRequest, ApiError>;

inline ParsedRequest ParseRequest(const ModelContext& context, bool chat, const std::string& body,
                                  ServerCounters& counters) {
  if (chat) return ParseChat(context, body, counters);
  ParsedCompletion parsed = ParseCompletion(context, body, counters);
  if (auto* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  return GenerationRequest(std::get<CompletionRequest>(std::move(parsed)));
}

}  // namespace quire::server
