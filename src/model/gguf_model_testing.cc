#include "model/gguf_model_testing.h"

#include <filesystem>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "model/arch_spec.h"
#include "model/gguf_config.h"
#include "model/rope_table.h"
#include "weights/dequantize.h"

namespace quire::testing {
namespace {

std::string RawBytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Rows of queries or keys as converters of Llama write them: pairs that are rotated together become neighbours.
std::string InPairs(const std::string& data, int64_t rows, int64_t num_heads) {
  const size_t row_bytes = data.size() / static_cast<size_t>(rows);
  const int64_t head_rows = rows / num_heads;
  std::string paired;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t within = row % head_rows;
    const int64_t from = row - within + within % 2 * (head_rows / 2) + within / 2;
    paired += data.substr(static_cast<size_t>(from) * row_bytes, row_bytes);
  }
  return paired;
}

std::map<std::string, std::string> GgufNamesOf(const ModelConfig& config) {
  const WeightNames hf, gguf = GgufWeightNames();
  std::map<std::string, std::string> names = {{std::string(hf.embedding), std::string(gguf.embedding)},
                                              {std::string(hf.final_norm), std::string(gguf.final_norm)},
                                              {std::string(hf.lm_head), std::string(gguf.lm_head)}};
  const std::pair<std::string_view, std::string_view> kLayerNames[] = {{hf.attention_norm, gguf.attention_norm},
                                                                       {hf.mlp_norm, gguf.mlp_norm},
                                                                       {hf.q_norm, gguf.q_norm},
                                                                       {hf.k_norm, gguf.k_norm}};
  const std::pair<std::string_view, std::string_view> kProjections[] = {
      {hf.q, gguf.q},       {hf.k, gguf.k},   {hf.v, gguf.v},      {hf.o, gguf.o},
      {hf.gate, gguf.gate}, {hf.up, gguf.up}, {hf.down, gguf.down}};
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string from = fmt::format("model.layers.{}.", layer), to = fmt::format("blk.{}.", layer);
    for (const auto& [a, b] : kLayerNames) names[from + std::string(a)] = to + std::string(b);
    for (const auto& [a, b] : kProjections) {
      for (const char* suffix : {".weight", ".bias"})
        names[from + std::string(a) + suffix] = to + std::string(b) + suffix;
    }
  }
  return names;
}

uint32_t PlainType(const RawTensor& tensor) { return tensor.dtype == "F32" ? 0 : 30; }

constexpr uint32_t kBlockTypes[] = {2, 3, 6, 7, 8, 20, 39};  // of 32 elements

// Of values that weights may have: scales are about 0.01.
std::string RandomBlocks(uint32_t type, int64_t count, std::mt19937& random) {
  const auto block_bytes = static_cast<size_t>(FindGgufTensorType(type)->block_bytes);
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    std::string block(block_bytes, '\0');
    for (char& byte : block) byte = static_cast<char>(random() & 0xFF);
    if (type == 39) {
      block[0] = 120;  // 2^-7
    } else {
      block[1] = 0x1C + static_cast<char>(random() % 8);
      if (type == 3 || type == 7) block[3] = static_cast<char>(0xA0 + random() % 16);
    }
    bytes += block;
  }
  return bytes;
}

}  // namespace

ModelAsGguf::ModelAsGguf(const std::string& directory) {
  auto config = LoadModelConfig(directory);
  QUIRE_CHECK(config.ok(), "{}", config.error().message);
  config_ = *std::move(config);
  // Mistral's are "llama".
  architecture_ = FindArchSpec(config_.architecture)->gguf_architecture;
  if (architecture_.empty()) architecture_ = "llama";
  pairs_rows_ = architecture_ == "llama";
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() != ".safetensors") continue;
    for (RawTensor& tensor : testing::ReadRawTensors(file.path())) tensors_.push_back(std::move(tensor));
  }
  names_ = GgufNamesOf(config_);
  WriteConfig();
}

void ModelAsGguf::WriteTensorsAsTheyAre() {
  for (const RawTensor& tensor : tensors_) Write(tensor, PlainType(tensor), tensor.data);
}

void ModelAsGguf::WriteTensorsInBlocks() {
  std::mt19937 random(11);
  size_t next = 0;
  for (RawTensor& tensor : tensors_) {
    const bool in_blocks = tensor.shape.size() == 2 && tensor.shape[1] % 32 == 0;
    const uint32_t type = in_blocks ? kBlockTypes[next++ % std::size(kBlockTypes)] : PlainType(tensor);
    if (in_blocks) tensor.data = RandomBlocks(type, tensor.shape[0] * tensor.shape[1] / 32, random);
    Write(tensor, type, tensor.data);
    if (!in_blocks) continue;
    std::vector<float> floats(static_cast<size_t>(tensor.shape[0] * tensor.shape[1]));
    Dequantize(*FindGgufTensorType(type)->kind, reinterpret_cast<const std::byte*>(tensor.data.data()),
               static_cast<int64_t>(floats.size() / 32), floats.data());
    tensor.dtype = "F32";
    tensor.data = RawBytes(floats);
  }
}

void ModelAsGguf::Write(const RawTensor& tensor, uint32_t type, const std::string& data) {
  const std::string& name = names_.at(tensor.name);
  const bool is_q = name.find("attn_q.") != std::string::npos, is_k = name.find("attn_k.") != std::string::npos;
  const int64_t heads = is_q ? config_.num_heads : config_.num_kv_heads;
  builder_.AddTensor(name, tensor.shape, type,
                     pairs_rows_ && (is_q || is_k) ? InPairs(data, tensor.shape[0], heads) : data);
}

void ModelAsGguf::AddNumber(const char* name, int64_t value) {
  builder_.AddUint(architecture_ + "." + name, static_cast<uint32_t>(value));
}

void ModelAsGguf::AddFloat(const char* name, float value) { builder_.AddFloat(architecture_ + "." + name, value); }

void ModelAsGguf::WriteConfig() {
  builder_.AddString("general.architecture", architecture_);
  AddNumber("embedding_length", config_.hidden_size);
  AddNumber("feed_forward_length", config_.intermediate_size);
  AddNumber("block_count", config_.num_layers);
  AddNumber("attention.head_count", config_.num_heads);
  AddNumber("attention.head_count_kv", config_.num_kv_heads);
  AddNumber("attention.key_length", config_.head_dim);
  AddNumber("attention.value_length", config_.head_dim);
  AddFloat("attention.layer_norm_rms_epsilon", config_.rms_norm_eps);
  AddFloat("rope.freq_base", config_.rope_theta);
  for (const char* name : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"}) builder_.AddUint(name, 2);
  if (config_.sliding_window > 0) AddNumber("attention.sliding_window", config_.sliding_window);
  if (!config_.layer_uses_window.empty()) {
    std::string flags;
    for (const bool used : config_.layer_uses_window) flags += used ? '\1' : '\0';
    builder_.AddArray(architecture_ + ".attention.sliding_window_pattern", GgufType::kBool, flags.size(), flags);
  }
  WriteRope();
}

void ModelAsGguf::WriteRope() {
  const RopeScaling& scaling = config_.rope_scaling;
  double length = config_.max_position;
  if (scaling.kind == RopeScaling::Kind::kLinear) length /= scaling.factor;
  AddNumber("context_length", static_cast<int64_t>(length));
  if (scaling.kind == RopeScaling::Kind::kLinear || scaling.kind == RopeScaling::Kind::kYarn) {
    const bool is_yarn = scaling.kind == RopeScaling::Kind::kYarn;
    builder_.AddString(architecture_ + ".rope.scaling.type", is_yarn ? "yarn" : "linear");
    AddFloat("rope.scaling.factor", scaling.factor);
    if (is_yarn) AddNumber("rope.scaling.original_context_length", scaling.original_max_position);
  }
  if (scaling.kind == RopeScaling::Kind::kLlama3) {
    ModelConfig plain = config_;
    plain.rope_scaling = {};
    const auto scaled = ComputeRopeFrequencies(config_, 1).radians, whole = ComputeRopeFrequencies(plain, 1).radians;
    std::vector<float> factors;
    for (size_t i = 0; i < whole.size(); ++i) factors.push_back(static_cast<float>(whole[i] / scaled[i]));
    builder_.AddTensor("rope_freqs.weight", {static_cast<int64_t>(factors.size())}, 0, RawBytes(factors));
  }
}

}  // namespace quire::testing
