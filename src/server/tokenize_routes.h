// POST /tokenize and /detokenize, with vLLM's bodies. On worker threads.
#pragma once

#include <string_view>

#include "server/http.h"

namespace quire::server {

struct ModelContext;
struct ServerCounters;

// {prompt | messages, ...} -> {count, max_model_len, tokens, token_strs}
HttpReply AnswerTokenize(const ModelContext& context, std::string_view body, ServerCounters& counters);
// {tokens} -> {prompt}
HttpReply AnswerDetokenize(const ModelContext& context, std::string_view body, ServerCounters& counters);

}  // namespace quire::server
