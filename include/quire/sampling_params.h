// What a client asks of generation. Names and defaults are those of vLLM's SamplingParams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quire/result.h"

namespace quire {

// When beam search is content with the hypotheses that have ended (Transformers' generation_config names).
enum class EarlyStopping : uint8_t {
  kHeuristic,  // false: no running beam, at its present length, beats the worst of them
  kAlways,     // true: there are as many as beams
  kNever,      // "never": no running beam, at the best length it may still reach, beats the worst of them
};

struct SamplingParams {
  // Logits pipeline, in this order: logit_bias, penalties, min_tokens mask, temperature, min_p, top_k, top_p.
  float temperature = 1.0F;  // 0: greedy
  float top_p = 1.0F;
  int32_t top_k = 0;  // 0 or -1: all
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;  // over prompt and output
  float presence_penalty = 0.0F;    // over output
  float frequency_penalty = 0.0F;   // over output
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::optional<uint64_t> seed;  // absent: drawn by the engine at admission

  std::optional<int32_t> max_tokens;  // absent: what the context leaves
  int32_t min_tokens = 0;
  std::vector<std::string> stop;
  bool include_stop_str_in_output = false;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;

  std::optional<int32_t> logprobs;         // top-k alternatives per generated token; 0: the sampled token's only
  std::optional<int32_t> prompt_logprobs;  // the same for prompt tokens
  bool skip_special_tokens = true;
  bool detokenize = true;

  int32_t n = 1;                      // answers to one prompt
  std::optional<int32_t> best_of;     // sample so many and keep the n of the highest mean log-probability; absent: n
  bool use_beam_search = false;       // the n best hypotheses of a deterministic search, instead of samples
  std::optional<int32_t> beam_width;  // absent: best_of, or n
  float length_penalty = 1.0F;        // a hypothesis scores sum of log-probabilities / (tokens ^ length_penalty)
  EarlyStopping early_stopping = EarlyStopping::kHeuristic;

  // Sequences that the request runs side by side.
  int32_t num_streams() const {
    if (use_beam_search && beam_width) return *beam_width;
    return best_of.value_or(n);
  }
  // The field that says so.
  const char* streams_field() const {
    if (use_beam_search && beam_width) return "beam_width";
    return best_of ? "best_of" : "n";
  }
};

inline constexpr int32_t kMaxLogprobs = 20;
inline constexpr int32_t kMaxStreams = 128;
inline constexpr int32_t kMaxBeamWidth = 64;
// What is looked at again for every token.
inline constexpr size_t kMaxStopStrings = 128;
inline constexpr size_t kMaxStopBytes = size_t{16} << 10;  // of all stop strings together
inline constexpr size_t kMaxStopTokenIds = 1024;
inline constexpr size_t kMaxLogitBiases = 16384;

// Checks every range and every number of entries; token ids (logit_bias, stop_token_ids) against vocab_size. The error
// names the field, the value and the range.
Status ValidateSamplingParams(const SamplingParams& params, int32_t vocab_size);

}  // namespace quire
