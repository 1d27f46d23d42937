// A tokenizer for tests: token id i is the text "i,".
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace quire {

class NumberTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kVocab = 100;

  Result<std::vector<int32_t>> Encode(std::string_view, bool) const override { return std::vector<int32_t>{}; }
  std::string Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += std::to_string(id) + ',';
    return text;
  }
  int32_t vocab_size() const override { return kVocab; }
  bool IsSpecial(int32_t) const override { return false; }
  std::string_view TokenText(int32_t) const override { return {}; }
  std::optional<int32_t> TokenId(std::string_view) const override { return {}; }
};

}  // namespace quire
