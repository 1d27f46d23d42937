// How answers look: OpenAI's objects for completions and chat, whole and as chunks of a stream, with vLLM's additions.
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/request_handle.h"

namespace quire::server {

struct GenerationRequest;
struct Prompt;
class JsonWriter;
class TokenStrings;

struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t completion_tokens = 0;
};

// Of choices as of their newest deltas: each prompt counts once.
Usage UsageOf(const GenerationRequest& request, std::span<const OutputDelta> choices);

class AnswerFormat {
 public:
  // Both outlive the format.
  AnswerFormat(const GenerationRequest& request, const TokenStrings& strings);

  // The whole answer; one delta per choice holds everything.
  std::string Whole(std::span<const OutputDelta> choices);

  // Events of a stream: "data: {...}\n\n".
  void AppendChunk(size_t choice, const OutputDelta& delta, std::string& out);
  void AppendUsageChunk(const Usage& usage, std::string& out);

 private:
  struct ChoiceState {
    bool begun = false;
    size_t text_offset = 0;  // characters so far
  };

  void BeginAnswer(bool chunk, JsonWriter& json) const;
  void WriteChunkChoice(size_t choice, const OutputDelta& delta, JsonWriter& json);
  void WriteCompletionChoice(size_t choice, const OutputDelta& delta, JsonWriter& json);
  void WriteChatChoice(size_t choice, const OutputDelta& delta, JsonWriter& json);
  void WriteEnd(const OutputDelta& delta, JsonWriter& json) const;
  void WriteTokenIds(const OutputDelta& delta, JsonWriter& json) const;
  void WritePromptIds(size_t choice, JsonWriter& json) const;
  void WriteCompletionLogprobs(size_t choice, const OutputDelta& delta, JsonWriter& json);
  std::vector<size_t> OffsetsOf(const Prompt& prompt) const;
  size_t CountShownCharacters(int32_t token) const;
  void WriteChatLogprobs(const OutputDelta& delta, JsonWriter& json) const;
  void WriteTopLogprobs(const TokenLogprob& token, JsonWriter& json) const;
  void WriteChatToken(int32_t token, float logprob, JsonWriter& json) const;
  void WritePromptLogprobs(const OutputDelta& delta, JsonWriter& json) const;
  void WriteUsage(const Usage& usage, JsonWriter& json) const;
  std::string Name(int32_t token) const;

  const GenerationRequest& request_;
  const TokenStrings& strings_;
  std::vector<ChoiceState> states_;  // [choices]
};

}  // namespace quire::server
