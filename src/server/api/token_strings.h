// Tokens one by one as text, for log-probabilities: with the space that a token begins with, so that they concatenate
// to the answer. Immutable: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

class Tokenizer;

namespace server {

class TokenStrings {
 public:
  explicit TokenStrings(const Tokenizer& tokenizer);

  // A token that holds only a part of a character reads as U+FFFD.
  std::string Text(int32_t id) const;
  // The token's own bytes, also when they are not whole characters. `text` is Text(id).
  std::string Bytes(int32_t id, const std::string& text) const;
  bool IsSpecial(int32_t id) const;
  // No token spells more bytes.
  size_t longest_token() const { return longest_token_; }

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> anchor_;  // a token before, so that decoders do not trim the space
  std::string anchor_text_;
  size_t longest_token_ = 1;
};

// A character counts where it begins: bytes that go on with one do not.
size_t CountCharacters(std::string_view utf8);

}  // namespace server
}  // namespace quire
