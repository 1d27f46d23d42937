#include <algorithm>
#include <vector>

#include "text/tokenizer.h"

namespace quire {
namespace {

// Enough of the prompt to know what its end looks like to the first generated token.
constexpr int kPromptTailTokens = 16;

class IndependentTokens final : public TokenStream {
 public:
  IndependentTokens(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}
  void Append(int32_t id, std::string& out) override {
    out.append(tokenizer_.Decode(std::span(&id, 1), skip_special_tokens_));
  }
  void Flush(std::string&) override {}

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
};

bool IsByteToken(std::string_view token) { return token.size() == 6 && token.starts_with("<0x"); }

// The end of `prompt` from its last few tokens that leave text; a run of byte tokens is not cut.
std::span<const int32_t> TailOf(const Tokenizer& tokenizer, bool skip_special_tokens, std::span<const int32_t> prompt) {
  size_t begin = prompt.size();
  bool in_run = false;
  for (int tokens = 0; begin > 0 && (tokens < kPromptTailTokens || in_run);) {
    const int32_t id = prompt[--begin];
    const std::string_view token = tokenizer.TokenText(id);
    if (token.empty() || (skip_special_tokens && tokenizer.IsSpecial(id))) continue;
    ++tokens;
    in_run = IsByteToken(token);
  }
  return prompt.subspan(begin);
}

}  // namespace

std::unique_ptr<TokenStream> Tokenizer::NewStream(bool skip_special_tokens) const {
  return std::make_unique<IndependentTokens>(*this, skip_special_tokens);
}

struct Detokenizer::State {
  std::unique_ptr<TokenStream> stream;
  // Text of the prompt that the stream still holds back: dropped when it comes out.
  std::string prompt_rest;
  std::string piece;

  void Start(const Tokenizer& tokenizer, bool skip_special_tokens, std::span<const int32_t> prompt) {
    stream = tokenizer.NewStream(skip_special_tokens);
    const std::span<const int32_t> tail = TailOf(tokenizer, skip_special_tokens, prompt);
    if (tail.empty()) return;
    const std::unique_ptr<TokenStream> whole = tokenizer.NewStream(skip_special_tokens);
    std::string settled, all;
    for (const int32_t id : tail) {
      stream->Append(id, settled);
      whole->Append(id, all);
    }
    whole->Flush(all);
    if (all.starts_with(settled)) prompt_rest = all.substr(settled.size());
  }

  void Emit(std::string& out) {
    std::string_view text = piece;
    if (!text.empty()) {
      if (text.starts_with(prompt_rest)) text.remove_prefix(prompt_rest.size());
      prompt_rest.clear();
    }
    out.append(text);
  }
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens, std::span<const int32_t> prompt)
    : state_(std::make_unique<State>()) {
  state_->Start(tokenizer, skip_special_tokens, prompt);
}
Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;

void Detokenizer::Append(int32_t id, std::string& out) {
  state_->piece.clear();
  state_->stream->Append(id, state_->piece);
  state_->Emit(out);
}

void Detokenizer::Flush(std::string& out) {
  state_->piece.clear();
  state_->stream->Flush(state_->piece);
  state_->Emit(out);
}

}  // namespace quire
