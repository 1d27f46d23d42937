// What OpenAI's completions and chat have in common in their answers, whole and as chunks of a stream, with vLLM's
// additions: ids, usage, ends, token ids, log-probabilities of the prompt.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "engine/request_handle.h"
#include "server/api/answer_writer.h"
#include "server/api/generation_request.h"

namespace quire::server {

class JsonWriter;
class TokenStrings;

class OpenAiWriter : public AnswerWriter {
 public:
  std::string Whole(std::span<const ChoiceNews> choices, const Usage& usage) final;
  void AppendNews(const ChoiceNews& news, std::string& out) final;
  void AppendEnd(const Usage& usage, std::string& out) final;
  void AppendError(const ApiError& error, std::string& out) final;

 protected:
  // What an answer and a chunk call themselves.
  struct ObjectNames {
    const char* whole;
    const char* chunk;
  };

  // `strings` outlives the writer.
  OpenAiWriter(GenerationRequest request, const TokenStrings& strings, ObjectNames names)
      : request_(std::move(request)), strings_(strings), names_(names) {}

  // The members of a choice but its index, of a whole answer or of a chunk.
  virtual void WriteChoice(const ChoiceNews& news, bool chunk, JsonWriter& json) = 0;
  // Members of the answer or chunk itself; `news` of its first or only choice.
  virtual void WriteBesideChoices(const ChoiceNews& news, bool chunk, JsonWriter& json) const;

  const GenerationRequest& request() const { return request_; }
  const TokenStrings& strings() const { return strings_; }
  // A token in log-probabilities.
  std::string Name(int32_t token) const;

  // finish_reason, stop_reason and, of a beam, score.
  static void WriteEnd(const ChoiceNews& news, JsonWriter& json);
  static void WriteTokenIds(const ChoiceNews& news, JsonWriter& json);
  void WritePromptIds(size_t choice, JsonWriter& json) const;
  void WritePromptLogprobs(const ChoiceNews& news, JsonWriter& json) const;

 private:
  void BeginAnswer(const char* object, JsonWriter& json) const;

  const GenerationRequest request_;
  const TokenStrings& strings_;
  const ObjectNames names_;
};

// What JSON gets for minus infinity is finite.
float FiniteLogprob(float logprob);
bool Contains(std::span<const Candidate> candidates, int32_t token);

}  // namespace quire::server
