// The merges of a SentencePiece vocabulary that has scores instead. Pure; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "quire/result.h"
#include "text/gguf_vocabulary.h"
#include "text/vocabulary.h"

namespace quire::text {

// Ids of two pieces that together are a third.
struct ScoredMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t merged = 0;
};

// SentencePiece joins the neighbours whose token has the highest score. As merges: every pair of pieces that together
// are a piece, in the order of the scores, and of the ids where these are equal. Transformers converts such
// vocabularies in the same way. `ids`: of the vocabulary's tokens. Errors name the key.
Result<std::vector<ScoredMerge>> FindScoredMerges(const GgufVocabulary& vocabulary, const Vocabulary& ids);

}  // namespace quire::text
