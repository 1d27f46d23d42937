#include "model/arch_spec.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace quire {
namespace {

constexpr std::array kSpecs = {
    // Llama 1, 2, 3: the base of the others. As GGUF, Mistral's models are "llama", too.
    ArchSpec{
        .architecture = "LlamaForCausalLM",
        .model_type = "llama",
        .gguf_architecture = "llama",
        .gguf_pairs_rows = true,
        .qkv_bias = BiasRule::kAttentionBias,
        .o_bias = BiasRule::kAttentionBias,
        .mlp_bias = BiasRule::kMlpBias,
        .defaults = {.bos_token_id = 1, .eos_token_id = 2},
    },
    ArchSpec{
        .architecture = "MistralForCausalLM",
        .model_type = "mistral",
        .window = WindowRule::kAllLayers,
        .defaults = {.intermediate_size = 14336,
                     .num_kv_heads = 8,
                     .max_position = 131072,
                     .sliding_window = 4096,
                     .bos_token_id = 1,
                     .eos_token_id = 2},
    },
    // Qwen 2 and 2.5.
    ArchSpec{
        .architecture = "Qwen2ForCausalLM",
        .model_type = "qwen2",
        .gguf_architecture = "qwen2",
        .qkv_bias = BiasRule::kAlways,
        .window = WindowRule::kPerLayer,
        .defaults = {.vocab_size = 151936,
                     .intermediate_size = 22016,
                     .num_kv_heads = 32,
                     .max_position = 32768,
                     .sliding_window = 4096},
    },
    ArchSpec{
        .architecture = "Qwen3ForCausalLM",
        .model_type = "qwen3",
        .gguf_architecture = "qwen3",
        .qkv_bias = BiasRule::kAttentionBias,
        .o_bias = BiasRule::kAttentionBias,
        .qk_norm = true,
        .window = WindowRule::kPerLayer,
        .defaults = {.vocab_size = 151936,
                     .intermediate_size = 22016,
                     .num_kv_heads = 32,
                     .head_dim = 128,
                     .max_position = 32768,
                     .sliding_window = 4096},
    },
};

// The first conversions of Llama wrote "LLaMAForCausalLM".
bool EqualButForCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

std::span<const ArchSpec> AllArchSpecs() { return kSpecs; }

const ArchSpec* FindArchSpec(std::string_view architecture) {
  for (const ArchSpec& spec : kSpecs) {
    if (EqualButForCase(spec.architecture, architecture)) return &spec;
  }
  return nullptr;
}

const ArchSpec* FindArchSpecByModelType(std::string_view model_type) {
  for (const ArchSpec& spec : kSpecs) {
    if (EqualButForCase(spec.model_type, model_type)) return &spec;
  }
  return nullptr;
}

std::string SupportedArchitectures() {
  std::string names;
  for (const ArchSpec& spec : kSpecs) {
    if (!names.empty()) names += ", ";
    names += spec.architecture;
  }
  return names;
}

}  // namespace quire
