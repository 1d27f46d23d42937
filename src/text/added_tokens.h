// The "added_tokens" of tokenizer.json: whole words that are recognised in a text before it is cut into pieces, some of
// them special. Immutable after construction: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"
#include "text/normalizer.h"
#include "text/token_trie.h"
#include "text/vocabulary.h"

namespace quire::text {

struct AddedToken {
  std::string content;
  bool special = false;
  bool single_word = false;  // only if no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;
  bool normalized = false;  // sought in the normalized text
};

// Reads the flags; `content` is given where the node has none.
Result<AddedToken> ParseAddedToken(const JsonNode& node);

// A part of a text: an added token, or text between two (id < 0).
struct TextPart {
  std::string_view text;
  int32_t id = -1;
};

class AddedTokens {
 public:
  // A token of the model keeps its id; others get the ids after the model's, in the order given. One that is there gets
  // these flags, but stays special.
  Status Add(const AddedToken& token, const Vocabulary& model);
  // One that is there keeps its flags, but becomes special.
  Status AddSpecial(const AddedToken& token, const Vocabulary& model);
  // REQUIRES: called once, after the last Add and before the rest. `normalizers` rewrite the tokens that are sought in
  // normalized text.
  Status Finish(const std::vector<std::unique_ptr<const Normalizer>>& normalizers);

  // Special tokens in a text are text from now on.
  void SplitSpecialTokens() { splits_special_ = true; }

  // Cuts `text` at the tokens that are sought in raw or in normalized text. REQUIRES: valid UTF-8.
  std::vector<TextPart> Split(std::string_view text, bool normalized) const;

  bool IsSpecial(int32_t id) const;
  // What `id` decodes to: its content, normalized if it is sought so. Empty if it is not an added token.
  std::string_view DecodedText(int32_t id) const;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  // Index into tokens_.
  size_t IndexOf(int32_t id) const;
  // nullptr if it is not there.
  AddedToken* Find(std::string_view content);
  static bool TouchesWord(std::string_view text, const TokenTrie::Match& match);

  Vocabulary vocabulary_;
  std::vector<AddedToken> tokens_;
  std::vector<std::string> sought_;  // tokens_' contents as they stand in the text where they are sought
  std::vector<int32_t> ids_;         // of tokens_
  std::vector<int32_t> by_id_;       // id -> index into tokens_, -1: none
  TokenTrie raw_;                    // values are indices into tokens_
  TokenTrie normalized_;
  bool splits_special_ = false;
};

}  // namespace quire::text
