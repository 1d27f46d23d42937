#include "server/api/foreign_fields.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "server/api/json_fields.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

struct ForeignField {
  std::string_view name;
  std::string_view what;
  std::optional<double> neutral = std::nullopt;  // the number that asks for nothing; null, false and empty always do
};

constexpr std::string_view kStructured = "structured output";
constexpr std::string_view kReasoning = "a separate reasoning part of the answer";

constexpr ForeignField kRefused[] = {
    // Structured output.
    {"grammar", kStructured},
    {"json_schema", kStructured},
    {"regex", kStructured},
    {"ebnf", kStructured},
    {"structural_tag", kStructured},
    {"guided_whitespace_pattern", kStructured},
    {"guided_decoding_backend", kStructured},
    // Reasoning.
    {"thinking", kReasoning},
    {"reasoning", kReasoning},
    {"thinking_token_budget", kReasoning},
    {"thinking_budget_tokens", kReasoning},
    {"reasoning_budget", kReasoning, -1},
    // Sampling.
    {"typical_p", "locally typical sampling", 1},
    {"tfs_z", "tail-free sampling", 1},
    {"top_a", "top-a sampling", 0},
    {"top_n_sigma", "top-n-sigma sampling", -1},
    {"mirostat", "Mirostat sampling", 0},
    {"mirostat_mode", "Mirostat sampling", 0},
    {"dynatemp_range", "a dynamic temperature", 0},
    {"dry_multiplier", "the DRY repetition penalty", 0},
    {"xtc_probability", "XTC sampling", 0},
    {"adaptive_target", "adaptive sampling", -1},
    {"epsilon_cutoff", "epsilon sampling", 0},
    {"eta_cutoff", "eta sampling", 0},
    {"smoothing_factor", "quadratic sampling", 0},
    {"penalty_alpha", "contrastive search", 0},
    {"guidance_scale", "classifier-free guidance", 1},
    {"encoder_repetition_penalty", "a penalty for leaving the prompt", 1},
    {"no_repeat_ngram_size", "banning repeated n-grams", 0},
    {"samplers", "another order of samplers"},
    {"sampler_order", "another order of samplers"},
    {"sampler_seq", "another order of samplers"},
    {"custom_logit_processor", "logits processors"},
    {"custom_params", "logits processors"},
    {"repetition_detection", "ending an answer that repeats itself"},
    {"stop_regex", "stopping at a regular expression"},
    // What the answer holds.
    {"n_probs", "llama.cpp's probabilities; logprobs gives those of OpenAI's API", 0},
    {"logprob_token_ids", "log-probabilities of chosen tokens"},
    {"return_hidden_states", "hidden states in the answer"},
    {"prompt_logprobs_token_ids", "log-probabilities of chosen tokens"},
    // Other models and places.
    {"lora", "LoRA adapters"},
    {"lora_path", "LoRA adapters"},
    {"lora_request", "LoRA adapters"},
    {"adapter_id", "LoRA adapters"},
    {"session_params", "sessions"},
    {"kv_transfer_params", "moving the KV cache between servers"},
    {"vllm_xargs", "arguments for extensions of vLLM"},
    {"mm_processor_kwargs", "input but text"},
    {"media_io_kwargs", "input but text"},
    {"image_data", "input but text"},
    {"image_url", "input but text"},
};

bool AsksForNothing(const ForeignField& field, const ordered_json& value) {
  if (!field.neutral || !value.is_number()) return false;
  const auto number = value.get<double>();
  // Negative numbers turn off what is a probability, a range or a count.
  return number == *field.neutral || (*field.neutral <= 0 && number <= 0);
}

}  // namespace

void RefuseForeignFields(FieldReader& fields) {
  for (const ForeignField& field : kRefused) {
    const ordered_json* value = fields.Find(field.name);
    if (value != nullptr && !AsksForNothing(field, *value)) fields.Unsupported(field.name, field.what);
  }
  // Refinements of what is refused above, hints about speed, and what other servers report beside an answer.
  fields.Ignore({"mirostat_tau",
                 "mirostat_eta",
                 "dynatemp_exponent",
                 "dry_base",
                 "dry_allowed_length",
                 "dry_penalty_last_n",
                 "dry_sequence_breakers",
                 "xtc_threshold",
                 "adaptive_decay",
                 "smoothing_curve",
                 "min_keep",
                 "penalize_nl",
                 "n_keep",
                 "n_discard",
                 "n_indent",
                 "id_slot",
                 "slot_id",
                 "t_max_predict_ms",
                 "t_max_prompt_ms",
                 "post_sampling_probs",
                 "timings_per_token",
                 "return_progress",
                 "include_reasoning",
                 "separate_reasoning",
                 "stream_reasoning",
                 "reasoning_format",
                 "thinking_forced_open",
                 "parse_tool_calls",
                 "add_bos_token",
                 "watermark"});
}

std::string_view NameInUse(FieldReader& fields, std::initializer_list<std::string_view> names) {
  std::string_view used;
  for (const std::string_view name : names) {
    if (fields.Has(name) && used.empty()) used = name;  // each is asked for, so that it counts as known
  }
  return used.empty() ? *names.begin() : used;
}

}  // namespace quire::server
