// Answers of /v1/completions.
#pragma once

#include <cstddef>
#include <vector>

#include "server/api/openai_writer.h"

namespace quire::server {

class CompletionWriter final : public OpenAiWriter {
 public:
  // `echo`: each choice begins with its prompt.
  CompletionWriter(GenerationRequest request, bool echo, const TokenStrings& strings);

 private:
  void WriteChoice(const ChoiceNews& news, bool chunk, JsonWriter& json) override;

  void WriteLogprobs(const ChoiceNews& news, JsonWriter& json);
  void WriteTopLogprobs(const TokenLogprob& token, JsonWriter& json) const;
  std::vector<size_t> OffsetsOf(const Prompt& prompt) const;
  size_t CountShownCharacters(int32_t token) const;

  const bool echo_;
  std::vector<size_t> text_offsets_;  // [choices]: characters so far
};

}  // namespace quire::server
