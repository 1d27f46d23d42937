// Answers of /v1/chat/completions.
#pragma once

#include <utility>

#include "server/api/openai_writer.h"

namespace quire::server {

class ChatWriter final : public OpenAiWriter {
 public:
  ChatWriter(GenerationRequest request, const TokenStrings& strings)
      : OpenAiWriter(std::move(request), strings, {.whole = "chat.completion", .chunk = "chat.completion.chunk"}) {}

 private:
  void WriteChoice(const ChoiceNews& news, bool chunk, JsonWriter& json) override;
  void WriteBesideChoices(const ChoiceNews& news, bool chunk, JsonWriter& json) const override;

  void WriteLogprobs(const ChoiceNews& news, JsonWriter& json) const;
  void WriteToken(int32_t token, float logprob, JsonWriter& json) const;
};

}  // namespace quire::server
