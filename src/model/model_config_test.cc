// config.json and generation_config.json: defaults as in Transformers, and errors that name file, field and value.
#include "model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "model/model_testing.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ScratchDirectory;

Result<ModelConfig> Load(const std::string& config, const std::string& generation = "") {
  const ScratchDirectory directory;
  directory.Write("config.json", config);
  if (!generation.empty()) directory.Write("generation_config.json", generation);
  return LoadModelConfig(directory.path());
}

// A config of that family with more fields: R"("hidden_size": 64)".
std::string Config(const std::string& architecture, const std::string& fields = "") {
  return "{\"architectures\":[\"" + architecture + "\"]" + (fields.empty() ? "" : "," + fields) + "}";
}

ModelConfig Good(const std::string& config, const std::string& generation = "") {
  const auto loaded = Load(config, generation);
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  return loaded.ok() ? *loaded : ModelConfig();
}

std::string Bad(const std::string& config, const std::string& generation = "") {
  const auto loaded = Load(config, generation);
  EXPECT_FALSE(loaded.ok()) << config;
  return loaded.ok() ? "" : loaded.error().message;
}

std::string BadLlama(const std::string& fields) { return Bad(Config("LlamaForCausalLM", fields)); }

TEST(ModelConfigTest, LlamaDefaults) {
  const ModelConfig config = Good(Config("LlamaForCausalLM"));
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.vocab_size, 32000);
  EXPECT_EQ(config.hidden_size, 4096);
  EXPECT_EQ(config.intermediate_size, 11008);
  EXPECT_EQ(config.num_layers, 32);
  EXPECT_EQ(config.num_heads, 32);
  EXPECT_EQ(config.num_kv_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.max_position, 2048);
  EXPECT_FLOAT_EQ(config.rms_norm_eps, 1e-6F);
  EXPECT_FLOAT_EQ(config.rope_theta, 10000);
  EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(config.sliding_window, 0);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.checkpoint_dtype.has_value());
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
}

TEST(ModelConfigTest, OtherFamiliesDefaults) {
  const ModelConfig mistral = Good(Config("MistralForCausalLM"));
  EXPECT_EQ(mistral.num_kv_heads, 8);
  EXPECT_EQ(mistral.intermediate_size, 14336);
  EXPECT_EQ(mistral.max_position, 131072);
  EXPECT_EQ(mistral.sliding_window, 4096);
  EXPECT_EQ(Good(Config("MistralForCausalLM", R"("sliding_window":null)")).sliding_window, 0);
  EXPECT_EQ(Good(Config("MistralForCausalLM", R"("num_key_value_heads":null)")).num_kv_heads, 32);
  const ModelConfig qwen2 = Good(Config("Qwen2ForCausalLM"));
  EXPECT_EQ(qwen2.vocab_size, 151936);
  EXPECT_EQ(qwen2.intermediate_size, 22016);
  EXPECT_EQ(qwen2.max_position, 32768);
  EXPECT_EQ(qwen2.sliding_window, 0);
  EXPECT_TRUE(qwen2.eos_token_ids.empty());
  const ModelConfig qwen3 = Good(Config("Qwen3ForCausalLM", R"("hidden_size":1024)"));
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_EQ(Good(Config("Qwen3ForCausalLM", R"("head_dim":null)")).head_dim, 128);
}

TEST(ModelConfigTest, ModelTypeStandsInForArchitectures) {
  EXPECT_EQ(Good(R"({"model_type":"qwen3"})").architecture, "Qwen3ForCausalLM");
  EXPECT_EQ(Good(R"({"architectures":["Other","MistralForCausalLM"]})").architecture, "MistralForCausalLM");
}

TEST(ModelConfigTest, UnknownArchitectureListsWhatIsSupported) {
  EXPECT_THAT(Bad(Config("MambaForCausalLM")),
              AllOf(HasSubstr("config.json"), HasSubstr("MambaForCausalLM"), HasSubstr("LlamaForCausalLM"),
                    HasSubstr("MistralForCausalLM"), HasSubstr("Qwen2ForCausalLM"), HasSubstr("Qwen3ForCausalLM")));
  EXPECT_THAT(Bad(R"({"model_type":"rwkv"})"), HasSubstr("rwkv"));
  EXPECT_THAT(Bad("{}"), HasSubstr("LlamaForCausalLM"));
}

TEST(ModelConfigTest, WindowsOfQwenNeedToBeSwitchedOn) {
  const std::string window = R"("num_hidden_layers":4,"sliding_window":64,)";
  const auto config = [&](const std::string& fields) { return Good(Config("Qwen2ForCausalLM", window + fields)); };
  EXPECT_EQ(config(R"("max_window_layers":2)").sliding_window, 0);
  const ModelConfig late = config(R"("use_sliding_window":true,"max_window_layers":3)");
  EXPECT_EQ(late.sliding_window, 64);
  EXPECT_THAT(late.layer_uses_window, ElementsAre(false, false, false, true));
  EXPECT_EQ(config(R"("use_sliding_window":true,"max_window_layers":4)").sliding_window, 0);
  const ModelConfig typed = config(
      R"("use_sliding_window":true,
         "layer_types":["sliding_attention","full_attention","sliding_attention","full_attention"])");
  EXPECT_THAT(typed.layer_uses_window, ElementsAre(true, false, true, false));
  EXPECT_THAT(Bad(Config("Qwen2ForCausalLM", window + R"("use_sliding_window":true,"layer_types":["x"])")),
              HasSubstr("layer_types"));
}

TEST(ModelConfigTest, RopeInBothLayouts) {
  const ModelConfig old_layout = Good(Config("LlamaForCausalLM", R"("rope_theta":500000.0,"max_position_embeddings":512,
      "rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,
                      "original_max_position_embeddings":64})"));
  EXPECT_EQ(old_layout.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(old_layout.rope_scaling.original_max_position, 64);
  EXPECT_FLOAT_EQ(old_layout.rope_theta, 500000);
  EXPECT_EQ(old_layout.max_position, 512);
  const ModelConfig new_layout = Good(Config("LlamaForCausalLM", R"("max_position_embeddings":1024,
      "rope_parameters":{"rope_theta":2e5,"rope_type":"yarn","factor":4,"original_max_position_embeddings":256})"));
  EXPECT_EQ(new_layout.rope_scaling.kind, RopeScaling::Kind::kYarn);
  EXPECT_FLOAT_EQ(new_layout.rope_theta, 200000);
  EXPECT_EQ(new_layout.max_position, 1024);
}

TEST(ModelConfigTest, StretchedRopesReachFurther) {
  const auto reach = [](const std::string& scaling) {
    return Good(Config("LlamaForCausalLM", R"("max_position_embeddings":512,"rope_scaling":)" + scaling)).max_position;
  };
  EXPECT_EQ(reach(R"({"type":"linear","factor":4})"), 2048);
  EXPECT_EQ(reach(R"({"type":"yarn","factor":4})"), 2048);
  EXPECT_EQ(reach(R"({"type":"dynamic","factor":4})"), 512);
  EXPECT_EQ(reach(R"({"rope_type":"default"})"), 512);
}

TEST(ModelConfigTest, OnlyADynamicRopeMayBeLoadedForMore) {
  const auto longest = [](const std::string& scaling) {
    const auto config = Good(Config("LlamaForCausalLM", R"("max_position_embeddings":512,"rope_scaling":)" + scaling));
    return LongestContext(config);
  };
  EXPECT_EQ(longest(R"({"type":"dynamic","factor":4})"), 2048);
  EXPECT_EQ(longest(R"({"type":"dynamic","factor":1.5})"), 768);
  EXPECT_EQ(longest(R"({"type":"dynamic","factor":4,"original_max_position_embeddings":128})"), 2048);
  EXPECT_EQ(longest(R"({"type":"dynamic","factor":1e6})"), 1 << 24);
  EXPECT_EQ(longest(R"({"type":"linear","factor":4})"), 2048);
  EXPECT_EQ(longest("null"), 512);
}

TEST(ModelConfigTest, BadRopesNameTheField) {
  EXPECT_THAT(BadLlama(R"("rope_scaling":{"rope_type":"longrope"})"),
              AllOf(HasSubstr("rope_scaling.rope_type"), HasSubstr("longrope"), HasSubstr("yarn")));
  EXPECT_THAT(BadLlama(R"("rope_scaling":{"type":"linear"})"), HasSubstr("rope_scaling.factor is missing"));
  EXPECT_THAT(BadLlama(R"("rope_scaling":{"type":"linear","factor":0})"), HasSubstr("rope_scaling.factor is 0"));
  EXPECT_THAT(BadLlama(R"("rope_scaling":{"type":"linear","factor":1e6},"max_position_embeddings":16777216)"),
              HasSubstr("factor"));
  EXPECT_THAT(BadLlama(R"("rope_scaling":{"type":"llama3","factor":8})"), HasSubstr("low_freq_factor is missing"));
  EXPECT_THAT(BadLlama(R"("rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4})"),
              HasSubstr("high_freq_factor"));
  EXPECT_THAT(BadLlama(R"("rope_scaling":{"type":"yarn","factor":8,"beta_fast":1,"beta_slow":2})"),
              HasSubstr("beta_fast"));
  EXPECT_THAT(BadLlama(R"("rope_scaling":[1])"), HasSubstr("must be an object"));
  EXPECT_THAT(BadLlama(R"("rope_theta":-5)"), HasSubstr("rope_theta is -5"));
  EXPECT_THAT(BadLlama(R"("partial_rotary_factor":0.5)"), HasSubstr("partial_rotary_factor"));
}

TEST(ModelConfigTest, HostileNumbersNameFieldAndValue) {
  const char* fields[] = {"vocab_size",          "hidden_size",         "intermediate_size",      "num_hidden_layers",
                          "num_attention_heads", "num_key_value_heads", "max_position_embeddings"};
  for (const std::string field : fields) {
    for (const std::string value : {"0", "-1", "2147483648", "9223372036854775807", "18446744073709551615",
                                    "99999999999999999999999", "1e300", "3.5", "\"7\"", "true", "[]", "{}"}) {
      EXPECT_THAT(BadLlama("\"" + field + "\":" + value), AllOf(HasSubstr("config.json"), HasSubstr(field))) << value;
    }
  }
  EXPECT_THAT(BadLlama(R"("rms_norm_eps":-1)"), HasSubstr("rms_norm_eps is -1"));
  EXPECT_THAT(BadLlama(R"("rms_norm_eps":"1e-5")"), HasSubstr("rms_norm_eps is \"1e-5\""));
  EXPECT_THAT(BadLlama(R"("tie_word_embeddings":1)"), HasSubstr("tie_word_embeddings is 1"));
  EXPECT_THAT(BadLlama(R"("hidden_act":"relu")"), HasSubstr("hidden_act is \"relu\""));
  EXPECT_THAT(BadLlama(R"("architectures":7)"), HasSubstr("architectures"));
}

TEST(ModelConfigTest, HeadsMustDivide) {
  EXPECT_THAT(BadLlama(R"("num_attention_heads":30)"), HasSubstr("must divide hidden_size, 4096"));
  EXPECT_THAT(BadLlama(R"("num_key_value_heads":5)"), HasSubstr("num_key_value_heads is 5: must divide"));
  EXPECT_THAT(BadLlama(R"("num_key_value_heads":64)"), HasSubstr("num_key_value_heads is 64"));
  EXPECT_THAT(BadLlama(R"("head_dim":33)"), HasSubstr("head_dim is 33: must be even"));
  EXPECT_THAT(BadLlama(R"("head_dim":2048)"), HasSubstr("head_dim"));
  EXPECT_THAT(BadLlama(R"("hidden_size":32)"), HasSubstr("head_dim is 1"));
}

TEST(ModelConfigTest, FilesThatAreNoObjects) {
  for (const char* text : {"", "[]", "{", "null", "{\"a\":}", "\xFF"}) {
    EXPECT_THAT(Bad(text), HasSubstr("config.json")) << text;
  }
  EXPECT_THAT(Bad(std::string(50000, '[')), HasSubstr("config.json"));
  const ScratchDirectory empty;
  EXPECT_EQ(LoadModelConfig(empty.path()).error().code, ErrorCode::kNotFound);
}

TEST(ModelConfigTest, DeepValuesAreNamedWithoutBeingWritten) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_THAT(BadLlama(R"("hidden_size":)" + deep),
              HasSubstr("hidden_size is deeply nested arrays: must be an integer"));
  EXPECT_THAT(BadLlama(R"("hidden_size":[1,{"a":2}])"), HasSubstr(R"(hidden_size is [1,{"a":2}]: must be an integer)"));
}

TEST(ModelConfigTest, TypesByEitherNameAndPrefix) {
  EXPECT_EQ(Good(Config("LlamaForCausalLM", R"("dtype":"bfloat16")")).checkpoint_dtype, DType::kBf16);
  EXPECT_EQ(Good(Config("LlamaForCausalLM", R"("torch_dtype":"float16")")).checkpoint_dtype, DType::kF16);
  EXPECT_EQ(Good(Config("LlamaForCausalLM", R"("torch_dtype":"torch.float32")")).checkpoint_dtype, DType::kF32);
  EXPECT_EQ(Good(Config("LlamaForCausalLM", R"("dtype":"float64")")).checkpoint_dtype, DType::kF32);
  const ModelConfig automatic = Good(Config("LlamaForCausalLM", R"("torch_dtype":"auto")"));
  EXPECT_FALSE(automatic.checkpoint_dtype.has_value());
  EXPECT_THAT(automatic.warnings, IsEmpty());
  const ModelConfig unknown = Good(Config("LlamaForCausalLM", R"("torch_dtype":"int8")"));
  EXPECT_FALSE(unknown.checkpoint_dtype.has_value());
  EXPECT_THAT(unknown.warnings, ElementsAre(HasSubstr("torch_dtype is \"int8\"")));
}

TEST(ModelConfigTest, ArchitecturesInAnyCapitals) {
  EXPECT_EQ(Good(Config("LLaMAForCausalLM")).architecture, "LlamaForCausalLM");
  EXPECT_EQ(Good(R"({"model_type":"LLaMA","vocab_size":99})").architecture, "LlamaForCausalLM");
  EXPECT_EQ(Good(R"({"architectures":["LlamaModel"],"model_type":"llama"})").architecture, "LlamaForCausalLM");
}

// An id that cannot occur stops nothing, and nothing begins with one.
TEST(ModelConfigTest, TokensBeyondTheVocabularyAreDropped) {
  const ModelConfig begin = Good(Config("LlamaForCausalLM", R"("bos_token_id":-1,"eos_token_id":[7,32000,-1])"));
  EXPECT_THAT(begin.eos_token_ids, ElementsAre(7));
  EXPECT_THAT(begin.warnings, ElementsAre(HasSubstr("bos_token_id is -1"), HasSubstr("eos_token_id is 32000"),
                                          HasSubstr("eos_token_id is -1")));
  EXPECT_THAT(Good(Config("LlamaForCausalLM", R"("eos_token_id":32000)")).eos_token_ids, IsEmpty());
}

TEST(ModelConfigTest, GenerationConfigComesFirst) {
  const std::string config = Config("LlamaForCausalLM", R"("eos_token_id":7,"bos_token_id":null)");
  EXPECT_THAT(Good(config).eos_token_ids, ElementsAre(7));
  EXPECT_EQ(Good(config).bos_token_id, std::nullopt);
  const ModelConfig full = Good(config, R"({"eos_token_id":[8,9],"bos_token_id":3,"temperature":0.6,"top_p":0.9,
      "top_k":20,"min_p":0.05,"repetition_penalty":1.1,"max_new_tokens":77})");
  EXPECT_THAT(full.eos_token_ids, ElementsAre(8, 9));
  EXPECT_EQ(full.bos_token_id, 3);
  EXPECT_FLOAT_EQ(*full.default_temperature, 0.6F);
  EXPECT_FLOAT_EQ(*full.default_top_p, 0.9F);
  EXPECT_FLOAT_EQ(*full.default_min_p, 0.05F);
  EXPECT_FLOAT_EQ(*full.default_repetition_penalty, 1.1F);
  EXPECT_EQ(full.default_top_k, 20);
  EXPECT_EQ(full.default_max_tokens, 77);
  EXPECT_EQ(Good(config, R"({"top_p":null})").default_top_p, std::nullopt);
  EXPECT_THAT(Good(config, R"({"eos_token_id":[8.0]})").eos_token_ids, ElementsAre(8));
  EXPECT_EQ(Good(config, R"({"top_k":50.0})").default_top_k, 50);
}

TEST(ModelConfigTest, DefaultsThatMakeNoSenseAreDroppedWithAWarning) {
  const std::string config = Config("LlamaForCausalLM");
  for (const char* fields :
       {R"("top_p":2)", R"("top_p":0)", R"("top_p":0.0)", R"("temperature":-1)", R"("temperature":"hot")",
        R"("top_k":"5")", R"("min_p":1.5)", R"("repetition_penalty":0)", R"("eos_token_id":32000)",
        R"("eos_token_id":[2,"x"])", R"("max_new_tokens":0)", R"("max_new_tokens":2147483648)",
        R"("max_new_tokens":1e30)", R"("temperature":Infinity)"}) {
    const ModelConfig read = Good(config, "{" + std::string(fields) + "}");
    EXPECT_THAT(read.warnings, ElementsAre(HasSubstr("generation_config.json: ignored: "))) << fields;
    for (const auto& value : {read.default_top_p, read.default_temperature, read.default_min_p}) {
      EXPECT_EQ(value, std::nullopt) << fields;
    }
    EXPECT_EQ(read.default_max_tokens, std::nullopt) << fields;
  }
  EXPECT_THAT(Bad(config, "["), HasSubstr("generation_config.json"));
}

// Any value in any field: a config or an error, and what is accepted is in range.
TEST(ModelConfigTest, RandomFieldsLoadOrFail) {
  const char* names[] = {"vocab_size",   "hidden_size",  "num_attention_heads", "num_key_value_heads", "head_dim",
                         "rope_theta",   "rope_scaling", "sliding_window",      "use_sliding_window",  "layer_types",
                         "eos_token_id", "hidden_act",   "rope_parameters",     "max_window_layers",   "torch_dtype"};
  const char* values[] = {"0",
                          "1",
                          "-7",
                          "64",
                          "8",
                          "1e30",
                          "null",
                          "true",
                          "\"x\"",
                          "[]",
                          "[1]",
                          "{}",
                          R"({"rope_type":"yarn","factor":3})",
                          R"({"type":"dynamic","factor":2})",
                          "2147483647",
                          R"(["full_attention"])"};
  const char* families[] = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"};
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 rng(kSeed);
  for (int round = 0; round < 3000; ++round) {
    std::string fields = R"("seed":1)";
    for (int i = 0; i < 3; ++i) {
      fields += std::string(",\"") + names[rng() % std::size(names)] + "\":" + values[rng() % std::size(values)];
    }
    const auto config = Load(Config(families[rng() % std::size(families)], fields));
    if (!config.ok()) continue;
    EXPECT_GT(config->head_dim, 0) << fields;
    EXPECT_EQ(config->head_dim % 2, 0) << fields;
    EXPECT_EQ(config->num_heads % config->num_kv_heads, 0) << fields;
    EXPECT_GE(config->sliding_window, 0) << fields;
    EXPECT_GT(config->max_position, 0) << fields;
  }
}

}  // namespace
}  // namespace quire
