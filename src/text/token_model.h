// The "model" of tokenizer.json: ids for one pre-tokenized piece. Each kind of model implements this. Immutable apart
// from caches: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "text/json_node.h"
#include "text/vocabulary.h"

namespace quire::text {

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of `piece`.
  virtual Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

// `pieces_are_bytes`: Tokenize gets text whose bytes the vocabulary spells in the byte-level alphabet, instead of text
// in that alphabet. kUnimplemented names a type of model that is not offered.
Result<std::unique_ptr<const TokenModel>> ParseTokenModel(const JsonNode& node, bool pieces_are_bytes);

}  // namespace quire::text
