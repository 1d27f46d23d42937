// The sampling fields that completions and chat share, under OpenAI's and vLLM's names.
#pragma once

#include "quire/sampling_params.h"

namespace quire::server {

class FieldReader;
struct GenerationRequest;

// All but max_tokens and logprobs, whose fields differ.
void ReadSamplingParams(FieldReader& fields, SamplingParams& params);
// n, stream, stream_options, and the like.
void ReadAnswerFields(FieldReader& fields, GenerationRequest& request);
// Fails on what is asked for and not offered.
void RefuseUnsupported(FieldReader& fields);

}  // namespace quire::server
