// POST /tokenize and /detokenize, with vLLM's bodies.
#pragma once

#include "server/api/route.h"

namespace quire::server {

// {prompt | messages, ...} -> {count, max_model_len, tokens, token_strs}
HttpReply ReplyTokenize(const Call& call);
// {tokens} -> {prompt}
HttpReply ReplyDetokenize(const Call& call);

}  // namespace quire::server
