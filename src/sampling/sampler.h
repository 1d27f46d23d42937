// Sampler: one row of logits and the request's parameters -> a token, its log-probability, its rank, alternatives.
// A draw is a function of (seed, stream, position) and the row alone. Thread-safe between rows: one SamplerScratch per
// thread.
//
// Log-probabilities are of the raw model distribution (before any processing), as in vLLM's default `raw_logprobs`.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"
#include "quire/sampling_params.h"

namespace quire {

// How often each token stands in a sequence, kept by the runner as the sequence grows; what penalties read.
class TokenCounts {
 public:
  TokenCounts();
  ~TokenCounts();
  void Reset();
  void AddPrompt(int32_t token);
  void AddOutput(int32_t token);
  struct Entry {
    int32_t token;
    bool in_prompt;
    int32_t output_count;
  };
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& At(int32_t token);
  std::vector<Entry> entries_;
  std::vector<int32_t> index_;  // open addressing over entries_
};

struct SampleRequest {
  const SamplingParams* params = nullptr;
  const TokenCounts* counts = nullptr;     // null: no penalties asked
  std::span<const int32_t> masked_tokens;  // forbidden now (stop tokens before min_tokens)
  std::span<const uint32_t> allowed_mask;  // structured output: one bit per token; empty: all
  RngKey key;
};

struct SampledCandidate {
  int32_t token = 0;
  float logprob = 0;
};

struct SampleOutcome {
  bool is_nan = false;
  int32_t token = 0;
  float logprob = 0;
  uint32_t rank = 0;  // 1: most likely
};

// Work memory of one thread: sized once for a vocabulary.
class SamplerScratch {
 public:
  explicit SamplerScratch(int32_t vocab_size);
  std::vector<float> logits;
  std::vector<int32_t> indices;
  std::vector<float> values;
};

// logits [vocab] are left as they were. `top`, if not empty, receives the most likely tokens, best first, ties by id.
SampleOutcome SampleToken(std::span<const float> logits, const SampleRequest& request, SamplerScratch& scratch,
                          std::span<SampledCandidate> top);

// The log-probability and rank of a given token (prompt_logprobs).
SampleOutcome ScoreToken(std::span<const float> logits, int32_t token, SamplerScratch& scratch,
                         std::span<SampledCandidate> top);

}  // namespace quire
