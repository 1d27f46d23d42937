// What is decided from options and headers, before any weight is read.
#include "llm/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "base/env_testing.h"
#include "base/log.h"
#include "engine/engine.h"
#include "model/gguf_model_testing.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kSource = QUIRE_SOURCE_DIR;

// A checkpoint of one layer with wide rows; the data are a hole in the file.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(int64_t vocab_size) : vocab_size_(vocab_size) {}

  void Write(const std::string& directory) {
    Add("model.embed_tokens.weight", {vocab_size_, kHidden});
    Add("model.norm.weight", {kHidden});
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) Add(Layer(norm), {kHidden});
    for (const char* in : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"})
      Add(Layer(in), {kInner, kHidden});
    for (const char* out : {"self_attn.o_proj", "mlp.down_proj"}) Add(Layer(out), {kHidden, kInner});
    const std::string header = header_.dump();
    std::string start(8, '\0');
    for (size_t i = 0; i < 8; ++i) start[i] = static_cast<char>(header.size() >> (8 * i));
    const std::string path = JoinPath(directory, "model.safetensors");
    ASSERT_TRUE(Env::Posix().WriteFile(path, start + header).ok());
    fs::resize_file(path, 8 + header.size() + static_cast<uint64_t>(end_));
    ASSERT_TRUE(Env::Posix().WriteFile(JoinPath(directory, "config.json"), Config().dump()).ok());
  }

 private:
  static constexpr int64_t kHidden = 1 << 20;
  static constexpr int64_t kInner = 64;

  static std::string Layer(const char* name) { return std::string("model.layers.0.") + name + ".weight"; }
  void Add(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t bytes = 2;
    for (const int64_t dim : shape) bytes *= dim;
    header_[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {end_, end_ + bytes}}};
    end_ += bytes;
  }
  nlohmann::json Config() const {
    return {{"architectures", nlohmann::json::array({"LlamaForCausalLM"})},
            {"vocab_size", vocab_size_},
            {"hidden_size", kHidden},
            {"intermediate_size", kInner},
            {"num_hidden_layers", 1},
            {"num_attention_heads", 1},
            {"head_dim", kInner},
            {"tie_word_embeddings", true},
            {"torch_dtype", "bfloat16"}};
  }

  int64_t vocab_size_;
  nlohmann::json header_ = nlohmann::json::object();
  int64_t end_ = 0;
};

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() { SetLogLevel(LogLevel::kWarning); }

  // Of the embedded model, or of the one in directory_ with its tokenizer.
  static LoadOptions Embedded() {
    LoadOptions options;
    options.model = kSource + "/models/tiny";
    options.num_gpu_blocks_override = 64;
    options.threads = 1;
    return options;
  }
  LoadOptions Own() const {
    LoadOptions options;
    options.model = directory_.path();
    options.tokenizer = kSource + "/models/tiny";
    options.threads = 1;
    return options;
  }

  const TemporaryDirectory directory_;
};

// Describing and loading fail alike.
Error Refusal(const LoadOptions& options) {
  const Result<LoadedModel> loaded = LoadModel(options);
  const Result<ModelDescription> described = DescribeModel(options);
  EXPECT_FALSE(loaded.ok());
  EXPECT_FALSE(described.ok());
  if (loaded.ok() || described.ok()) return {};
  EXPECT_EQ(loaded.error().code, described.error().code);
  return loaded.error();
}

TEST_F(LoaderTest, WeightsBeyondMemoryAreRefusedBeforeTheyAreRead) {
  CheckpointWriter(1 << 19).Write(directory_.path());  // embedding and head take 1 TiB each
  const Error error = Refusal(Own());
  EXPECT_EQ(error.code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(error.message, HasSubstr("do not fit"));
  LoadOptions exact = Own();
  exact.num_gpu_blocks_override = 1;
  EXPECT_THAT(Refusal(exact).message, HasSubstr("do not fit"));
}

TEST_F(LoaderTest, BadMemoryOptionsAreRefusedBeforeWeightsAreRead) {
  CheckpointWriter(1 << 19).Write(directory_.path());
  LoadOptions options = Own();
  options.kv_cache_dtype = "int3";
  EXPECT_THAT(Refusal(options).message, HasSubstr("--kv-cache-dtype"));
  options = Own();
  options.kv_cache_memory = "lots";
  EXPECT_THAT(Refusal(options).message, HasSubstr("--kv-cache-memory"));
  options = Own();
  options.max_model_len = 100'000'000;
  EXPECT_THAT(Refusal(options).message, HasSubstr("--max-model-len is 100000000"));
}

TEST_F(LoaderTest, TheDescriptionPlansWhatLoadingPlans) {
  const Result<ModelDescription> described = DescribeModel(Embedded());
  ASSERT_TRUE(described.ok()) << described.error().message;
  const Result<LoadedModel> loaded = LoadModel(Embedded());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(described->compute_dtype, loaded->compute_dtype);
  EXPECT_EQ(described->kv_dtype, loaded->kv_dtype);
  EXPECT_EQ(described->num_parameters, loaded->num_parameters);
  EXPECT_EQ(described->memory.num_blocks, loaded->memory.num_blocks);
  EXPECT_EQ(described->memory.kv_bytes, loaded->memory.kv_bytes);
  EXPECT_EQ(described->memory.scratch_bytes, loaded->memory.scratch_bytes);
  EXPECT_EQ(described->memory.weight_bytes, loaded->memory.weight_bytes);
  EXPECT_EQ(described->memory.weight_bytes, loaded->model->weight_bytes());
}

TEST_F(LoaderTest, ASilentConfigPlansTheKvCacheOfTheWeightsType) {
  for (const auto& [name, dtype] : {std::pair("llama2", DType::kF32), std::pair("llama2-bf16", DType::kBf16)}) {
    SCOPED_TRACE(name);
    const fs::path golden = fs::path(kSource) / "tests/goldens/models" / name;
    nlohmann::json config = nlohmann::json::parse(*Env::Posix().ReadFile((golden / "config.json").string()));
    config.erase("torch_dtype");
    ASSERT_TRUE(Env::Posix().WriteFile(JoinPath(directory_.path(), "config.json"), config.dump()).ok());
    fs::copy_file(golden / "model.safetensors", fs::path(directory_.path()) / "model.safetensors",
                  fs::copy_options::overwrite_existing);
    const Result<ModelDescription> described = DescribeModel(Own());
    ASSERT_TRUE(described.ok()) << described.error().message;
    EXPECT_EQ(described->compute_dtype, dtype);
    EXPECT_EQ(described->kv_dtype, dtype);
    EXPECT_EQ(described->kv_bytes_per_token,
              2 * static_cast<size_t>(described->config.num_layers) * 64 * DTypeSize(dtype));  // 4 heads of 16
    EXPECT_EQ(described->config.checkpoint_dtype, dtype);
  }
}

TEST_F(LoaderTest, AGgufFileIsAModelByItselfOrInItsDirectory) {
  testing::ModelAsGguf tiny(kSource + "/models/tiny");
  tiny.WriteTensorsInBlocks();
  const std::string path = JoinPath(directory_.path(), "tiny-mixed.gguf");
  ASSERT_TRUE(Env::Posix().WriteFile(path, tiny.builder().Build()).ok());
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(fs::path(kSource) / "models/tiny" / name, fs::path(directory_.path()) / name);
  }
  LoadOptions options = Embedded();
  options.prefix_cache_dir = directory_.path() + "/prefixes";  // whose name depends on every byte of the file
  for (const std::string& model : {path, directory_.path()}) {
    options.model = model;
    const Result<LoadedModel> loaded = LoadModel(options);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    EXPECT_EQ(loaded->path, path);
    EXPECT_EQ(loaded->compute_dtype, DType::kBf16);
    EXPECT_THAT(loaded->memory.weight_formats, HasSubstr("bfloat16; on disk"));
    EXPECT_THAT(loaded->memory.weight_formats, HasSubstr("MXFP4"));
  }
  for (const char* format : {"auto", "gguf", "q4_1", "Q8_0"}) {
    options.quantization = format;
    EXPECT_TRUE(DescribeModel(options).ok()) << format;
  }
  options.quantization = "awq";
  EXPECT_THAT(Refusal(options).message, HasSubstr("--quantization awq: the weights of"));
}

// The embedded model in directory_, `fields` put into each of its three JSON files that Python writes.
void CopyEmbeddedWith(const std::string& directory, const std::string& fields) {
  for (const char* name : {"model.safetensors", "tokenizer.json"})
    fs::copy_file(fs::path(kSource) / "models/tiny" / name, fs::path(directory) / name,
                  fs::copy_options::overwrite_existing);
  for (const char* name : {"config.json", "generation_config.json", "tokenizer_config.json"}) {
    std::string text = *Env::Posix().ReadFile(JoinPath(kSource + "/models/tiny", name));
    text.insert(text.find('{') + 1, fields + ",");
    ASSERT_TRUE(Env::Posix().WriteFile(JoinPath(directory, name), text).ok());
  }
}

TEST_F(LoaderTest, WhatPythonWritesBeyondStandardJsonKeepsNoModelFromLoading) {
  CopyEmbeddedWith(directory_.path(),
                   R"("model_max_length": 1000000000000000019884624838656, "time_step_limit": [0.0, Infinity],
                      "lowest": -Infinity, "none": NaN, "large": 1e400, "half": "\ud83d")");
  LoadOptions options = Embedded();
  options.model = directory_.path();
  const Result<LoadedModel> loaded = LoadModel(options);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
}

// The tokenizer's end token is 3 throughout.
TEST_F(LoaderTest, EveryEndTokenThatAFileNamesEndsAnAnswer) {
  struct Case {
    const char* config;
    const char* generation_config;  // nullptr: no such file
    std::vector<int32_t> expected;
  };
  const Case kCases[] = {{"1", "2", {2, 3}},         {"1", "[1, 2]", {1, 2, 3}}, {"1", nullptr, {1, 3}},
                         {"null", "null", {3}},      {"3", "[3, 1280]", {3}},    {"[1, 2]", "null", {1, 2, 3}},
                         {"1280", "[1280, -1]", {3}}};
  LoadOptions options = Embedded();
  options.model = directory_.path();
  for (const Case& c : kCases) {
    CopyEmbeddedWith(directory_.path(), R"("unused": 0)");
    const auto rewrite = [&](const char* name, const char* value) {
      const std::string path = JoinPath(directory_.path(), name);
      nlohmann::json file = nlohmann::json::parse(*Env::Posix().ReadFile(path));
      file["eos_token_id"] = nlohmann::json::parse(value);
      ASSERT_TRUE(Env::Posix().WriteFile(path, file.dump()).ok());
    };
    rewrite("config.json", c.config);
    if (c.generation_config != nullptr) {
      rewrite("generation_config.json", c.generation_config);
    } else {
      fs::remove(JoinPath(directory_.path(), "generation_config.json"));
    }
    const Result<LoadedModel> loaded = LoadModel(options);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    EXPECT_EQ(loaded->config.eos_token_ids, c.expected) << c.config;
    EXPECT_EQ(loaded->engine->options().eos_token_ids, c.expected) << c.config;
  }
}

TEST_F(LoaderTest, AFieldThatIsUsedAndNotFiniteIsNamed) {
  CopyEmbeddedWith(directory_.path(), R"("unused": 0)");
  std::string config = *Env::Posix().ReadFile(JoinPath(directory_.path(), "config.json"));
  const size_t layers = config.find("\"num_hidden_layers\":");
  ASSERT_NE(layers, std::string::npos);
  config.replace(layers, config.find_first_of(",}", layers) - layers, "\"num_hidden_layers\": Infinity");
  ASSERT_TRUE(Env::Posix().WriteFile(JoinPath(directory_.path(), "config.json"), config).ok());
  LoadOptions options = Embedded();
  options.model = directory_.path();
  const Error error = Refusal(options);
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("num_hidden_layers is \"Infinity\""));
}

TEST_F(LoaderTest, PrefixDigestsAreSeededAtRandom) {
  const Result<LoadedModel> one = LoadModel(Embedded()), other = LoadModel(Embedded());
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_NE(one->engine->options().scheduler.hash_seed, other->engine->options().scheduler.hash_seed);
}

}  // namespace
}  // namespace quire
