// The sampling fields that completions and chat share, under OpenAI's and vLLM's names.
#pragma once

#include "quire/sampling_params.h"

namespace quire::server {

class FieldReader;
struct GenerationRequest;

// All but max_tokens and logprobs, whose fields differ. `params` holds the model's defaults, which beam search ignores.
void ReadSamplingParams(FieldReader& fields, SamplingParams& params);
// stream, stream_options, priority, and the like. After ReadSamplingParams.
void ReadAnswerFields(FieldReader& fields, GenerationRequest& request);
// Fails on what is asked for and not offered.
void RefuseUnsupported(FieldReader& fields);

}  // namespace quire::server
