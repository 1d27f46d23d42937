// Tokenizer: text to ids and back, exactly as Hugging Face `tokenizers` does it for the same tokenizer.json. Immutable
// once made: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "text/gguf_vocabulary.h"

namespace quire {

// One run of a tokenizer's decoder over one sequence, token by token; what it has appended is final. Not thread-safe.
class TokenStream {
 public:
  virtual ~TokenStream() = default;
  virtual void Append(int32_t id, std::string& out) = 0;
  virtual void Flush(std::string& out) = 0;
};

// A token with a role: "bos_token" and its text.
struct NamedToken {
  std::string name;
  std::string text;

  bool operator==(const NamedToken&) const = default;
};

class Tokenizer {
 public:
  // `directory` holds tokenizer.json and, if they are there, the files that say more of its tokens
  // (tokenizer_config.json, special_tokens_map.json, added_tokens.json).
  static Result<std::unique_ptr<Tokenizer>> Load(const std::string& directory);
  // From the text of tokenizer.json alone.
  static Result<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer_json);
  // From a GGUF file's metadata. Errors name the key. `vocabulary` is needed during the call only.
  static Result<std::unique_ptr<Tokenizer>> FromGguf(const GgufVocabulary& vocabulary);
  virtual ~Tokenizer() = default;

  // Special tokens in the text are recognised; add_special_tokens applies the post-processor's template (BOS, ...).
  // An error if the text is not UTF-8 or a regex limit is hit.
  virtual Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const = 0;
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;

  virtual int32_t vocab_size() const = 0;  // largest id + 1
  virtual bool IsSpecial(int32_t id) const = 0;
  // The token that ends an answer, as the files beside tokenizer.json or the GGUF file name it.
  virtual std::optional<int32_t> eos_token_id() const { return std::nullopt; }
  // That one and whatever else ends an answer (a turn, a message), as far as the tokenizer's files say.
  virtual std::vector<int32_t> end_token_ids() const { return {}; }
  // Those that have a name, as a chat template knows them.
  virtual std::span<const NamedToken> special_tokens() const { return {}; }
  // The stored token, as in tokenizer.json's vocabulary ("Ġthe", "<0x0A>"); empty if there is none.
  virtual std::string_view TokenText(int32_t id) const = 0;
  virtual std::optional<int32_t> TokenId(std::string_view token) const = 0;

  // What a Detokenizer runs on. By default each token is decoded alone, which suits a tokenizer whose tokens do not
  // depend on each other.
  virtual std::unique_ptr<TokenStream> NewStream(bool skip_special_tokens) const;
};

// Streams the text of one sequence: never half a UTF-8 character, and the concatenation of all pieces equals
// Tokenizer::Decode of the ids. Not thread-safe; cheap to make. An id outside of the vocabulary decodes to nothing.
class Detokenizer {
 public:
  // `prompt`: text before the first generated token decides its leading space; only its tail is looked at.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens, std::span<const int32_t> prompt = {});
  ~Detokenizer();
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;

  // Appends the text that `id` completes to `out`.
  void Append(int32_t id, std::string& out);
  // What is held back at the end (an incomplete character decodes to U+FFFD).
  void Flush(std::string& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quire
