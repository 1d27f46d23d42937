// SampleTask: what is wanted of a step's logits, and where it goes. The operands of a backend's operation Sample.
#pragma once

#include <cstdint>
#include <span>

#include "base/rng.h"
#include "quire/sampling_params.h"
#include "sampling/token_counts.h"

namespace quire {

struct SampledCandidate {
  int32_t token = 0;
  float logprob = 0;
};

struct SampleOutcome {
  int32_t token = 0;
  float logprob = 0;  // these two only if params.logprobs is set or alternatives are asked
  uint32_t rank = 0;  // 1: most likely; equal logits by id
};

// Which tokens draws may give (structured output): bit t of a mask is token t's, in words of 32; tokens behind the last
// word are forbidden.
struct AllowedTokens {
  static constexpr uint32_t kAll = 0xFFFFFFFF;

  std::span<const uint32_t> words;    // of many masks
  std::span<const uint32_t> offsets;  // by draw: where its mask begins in `words`, or kAll; empty: kAll for each
  uint32_t words_per_mask = 0;

  // Empty: all.
  std::span<const uint32_t> mask(uint32_t draw) const {
    if (offsets.empty() || offsets[draw] == kAll) return {};
    return words.subspan(offsets[draw], words_per_mask);
  }
};

struct SampleTask {
  enum class Kind : uint8_t {
    kDraw,    // a token for each stream from key.stream on, all of one row
    kVerify,  // of the rows from `row` on a token each, at key.position and after it, for as long as the token is the
              // draft that the next row was computed from
    kScore,   // `target` alone
    kBest,    // the most likely tokens that are not masked, best first, equal ones by id
  };
  Kind kind = Kind::kDraw;
  uint32_t row = 0;                        // of the logits
  const SamplingParams* params = nullptr;  // of draws
  const TokenCounts* counts = nullptr;     // of draws, without the drafts; null: no penalties asked
  std::span<const int32_t> masked_tokens;  // ascending: forbidden at positions before masked_before
  uint32_t masked_before = 0;
  AllowedTokens allowed;            // kVerify: a mask for each draw; kDraw: one for all
  RngKey key;                       // of the first draw; kBest: its position
  std::span<const int32_t> drafts;  // kVerify: one fewer than outcomes
  int32_t target = -1;

  // kDraw: one per stream; kVerify: one per row; kScore: one; kBest: as many as are wanted.
  std::span<SampleOutcome> outcomes;
  // [outcomes, top.size() / outcomes.size()]: of each outcome but kBest's the most likely tokens, best first.
  std::span<SampledCandidate> top;
  // How many there are. 0: the first row holds a NaN or +inf, or nothing in it may be drawn. kVerify ends without one
  // where that is so of a later row.
  uint32_t num_outcomes = 0;

  std::span<const int32_t> MaskedAt(uint32_t position) const {
    return position < masked_before ? masked_tokens : std::span<const int32_t>();
  }
};

}  // namespace quire
