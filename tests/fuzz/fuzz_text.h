// For fuzz targets: puts texts through a tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/tokenizer.h"

namespace quire::testing {

inline void CheckStreaming(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special_tokens) {
  std::string streamed;
  Detokenizer detokenizer(tokenizer, skip_special_tokens);
  for (const int32_t id : ids) detokenizer.Append(id, streamed);
  detokenizer.Flush(streamed);
  const std::string whole = tokenizer.Decode(ids, skip_special_tokens);
  QUIRE_CHECK(streamed == whole, "streamed \"{}\", decoded \"{}\"", streamed, whole);
}

inline void CheckText(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool adds_special : {false, true}) {
    const Result<std::vector<int32_t>> ids = tokenizer.Encode(text, adds_special);
    if (!ids.ok()) continue;
    for (const int32_t id : *ids) QUIRE_CHECK(id >= 0 && id < tokenizer.vocab_size(), "id {}", id);
    CheckStreaming(tokenizer, *ids, adds_special);
  }
}

// Of ids that no text may give.
inline void CheckAnyIds(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = {-1, 5, 3, 0, 1, 2, tokenizer.vocab_size() - 1, tokenizer.vocab_size(), 4, 4, INT32_MAX};
  CheckStreaming(tokenizer, ids, false);
  CheckStreaming(tokenizer, ids, true);
}

inline void CheckTokenizer(const Tokenizer& tokenizer, std::string_view own_text) {
  CheckText(tokenizer, "Hello  world, it's 12345\n\n\xC3\xA9\xCC\x81 \xF0\x9F\x99\x82<s></s> \xE2\x96\x81");
  CheckText(tokenizer, "  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  ");
  CheckText(tokenizer, own_text);
  CheckAnyIds(tokenizer);
  for (const int32_t id : tokenizer.end_token_ids()) {
    static_cast<void>(tokenizer.IsSpecial(id));
    static_cast<void>(tokenizer.TokenId(tokenizer.TokenText(id)));
  }
}

}  // namespace quire::testing
