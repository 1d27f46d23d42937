#include "llm/checkpoint_to_gguf.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "llm/gguf_tokenizer_pairs.h"
#include "llm/model_text.h"
#include "model/arch_spec.h"
#include "model/gguf_config.h"
#include "model/opened_model.h"
#include "model/rope_table.h"
#include "model/weight_names.h"
#include "weights/gguf_writer.h"
#include "weights/stored_tensor.h"
#include "weights/tensor_source.h"

namespace quire {
namespace {

constexpr const char* kRopeFactors = "rope_freqs.weight";

// A tensor on its way.
struct Planned {
  std::string stored;        // its name in the checkpoint; empty: the factors of the rotation
  int64_t paired_heads = 0;  // its rows are those of so many heads, to be put in pairs; 0: they stay
};

// What a linear or YaRN scaling stretches, as it was before.
int64_t OriginalPositions(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind != RopeScaling::Kind::kLinear) return config.max_position;
  return std::lround(static_cast<double>(config.max_position) / scaling.factor);
}

class ConfigPairs {
 public:
  ConfigPairs(const ModelConfig& config, std::string architecture, GgufPairs& pairs)
      : config_(config), architecture_(std::move(architecture)), pairs_(pairs) {}

  Status Write(const std::string& name) {
    pairs_.AddString("general.architecture", architecture_);
    pairs_.AddString("general.name", name);
    Number("vocab_size", config_.vocab_size);
    Number("context_length", OriginalPositions(config_));
    Number("embedding_length", config_.hidden_size);
    Number("block_count", config_.num_layers);
    Number("feed_forward_length", config_.intermediate_size);
    Number("attention.head_count", config_.num_heads);
    Number("attention.head_count_kv", config_.num_kv_heads);
    Number("attention.key_length", config_.head_dim);
    Number("attention.value_length", config_.head_dim);
    Number("rope.dimension_count", config_.head_dim);
    Float("attention.layer_norm_rms_epsilon", config_.rms_norm_eps);
    Float("rope.freq_base", config_.rope_theta);
    QUIRE_RETURN_IF_ERROR(WriteWindow());
    QUIRE_RETURN_IF_ERROR(WriteRope());
    WriteSampling();
    if (config_.activation == Activation::kSilu) return {};
    return Unimplemented("GGUF has no key for the activation gelu_pytorch_tanh of this family");
  }

 private:
  void Number(const char* name, int64_t value) {
    pairs_.AddUint32(fmt::format("{}.{}", architecture_, name), static_cast<uint32_t>(value));
  }
  void Float(const char* name, float value) { pairs_.AddFloat32(fmt::format("{}.{}", architecture_, name), value); }

  Status WriteWindow() {
    if (config_.sliding_window == 0) return {};
    if (!config_.layer_uses_window.empty()) {
      return Unimplemented("GGUF files of this family have no key for layers of which some have a window");
    }
    Number("attention.sliding_window", config_.sliding_window);
    return {};
  }

  Status WriteRope() {
    using Kind = RopeScaling::Kind;
    const RopeScaling& scaling = config_.rope_scaling;
    const std::string prefix = architecture_ + ".rope.scaling.";
    if (scaling.kind == Kind::kDynamicNtk) return Unimplemented("GGUF has no name for a dynamic rope scaling");
    if (scaling.kind == Kind::kLinear || scaling.kind == Kind::kYarn) {
      pairs_.AddString(prefix + "type", scaling.kind == Kind::kLinear ? "linear" : "yarn");
      pairs_.AddFloat32(prefix + "factor", scaling.factor);
    }
    if (scaling.kind != Kind::kYarn) return {};
    const bool is_plain = scaling.truncate && !scaling.attention_factor;
    if (!is_plain) return Unimplemented("GGUF has no keys for truncate and attention_factor of a YaRN scaling");
    pairs_.AddUint32(prefix + "original_context_length", static_cast<uint32_t>(scaling.original_max_position));
    pairs_.AddFloat32(prefix + "yarn_beta_fast", scaling.beta_fast);
    pairs_.AddFloat32(prefix + "yarn_beta_slow", scaling.beta_slow);
    return {};
  }

  void WriteSampling() {
    const auto add = [&](const char* key, std::optional<float> value) {
      if (value) pairs_.AddFloat32(key, *value);
    };
    add("general.sampling.temp", config_.default_temperature);
    add("general.sampling.top_p", config_.default_top_p);
    add("general.sampling.min_p", config_.default_min_p);
    add("general.sampling.penalty_repeat", config_.default_repetition_penalty);
    if (config_.default_top_k && *config_.default_top_k >= 0) {
      pairs_.AddUint32("general.sampling.top_k", static_cast<uint32_t>(*config_.default_top_k));
    }
  }

  const ModelConfig& config_;
  const std::string architecture_;
  GgufPairs& pairs_;
};

// What each frequency is divided by.
std::vector<float> RopeFactors(const ModelConfig& config) {
  ModelConfig plain = config;
  plain.rope_scaling = {};
  const std::vector<double> before = ComputeRopeFrequencies(plain, config.max_position).radians;
  const std::vector<double> after = ComputeRopeFrequencies(config, config.max_position).radians;
  std::vector<float> factors;
  for (size_t i = 0; i < before.size(); ++i) factors.push_back(static_cast<float>(before[i] / after[i]));
  return factors;
}

class CheckpointConversion {
 public:
  CheckpointConversion(const std::string& from, const ConvertOptions& options) : from_(from), options_(options) {}

  Status Write(const std::string& to, FunctionRef<void(std::string_view)> show) {
    QUIRE_ASSIGN_OR_RETURN(OpenedModel model, OpenModel(from_));
    QUIRE_ASSIGN_OR_RETURN(const auto used, FindUsedTensors(from_, model));
    config_ = std::move(model.config);
    tensors_ = std::move(model.tensors);
    const ArchSpec& spec = model.spec;
    // As GGUF, Mistral's models are "llama".
    const std::string architecture(spec.gguf_architecture.empty() ? "llama" : spec.gguf_architecture);
    QUIRE_RETURN_IF_ERROR(Plan(spec, used, architecture == "llama"));
    GgufPairs pairs;
    std::string name = std::filesystem::path(from_).lexically_normal().filename().string();
    if (name.empty()) name = std::filesystem::path(from_).lexically_normal().parent_path().filename().string();
    Status status = ConfigPairs(config_, architecture, pairs).Write(name);
    if (!status.ok()) return Unimplemented("{}: {}", from_, status.error().message);
    QUIRE_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(from_));
    QUIRE_RETURN_IF_ERROR(AddTokenizerPairs(
        from_, *tokenizer, {.vocab_size = config_.vocab_size, .end_token_ids = config_.eos_token_ids}, pairs));
    QUIRE_RETURN_IF_ERROR(CompareWhatIsRead(*tokenizer, pairs));
    return WriteTensors(pairs, to, show);
  }

 private:
  Status Plan(const ArchSpec& spec, const std::set<std::string, std::less<>>& used, bool pairs_rows) {
    for (const WeightName& name : NamesOf(spec.names, GgufWeightNames(), config_.num_layers)) {
      if (used.count(name.from) == 0) continue;
      const std::vector<int64_t> shape = tensors_->ShapeOf(name.from);
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors_->Find(name.from, shape));
      const int64_t heads = name.part == WeightName::kQuery ? config_.num_heads
                            : name.part == WeightName::kKey ? config_.num_kv_heads
                                                            : 0;
      planned_.push_back({.stored = name.from, .paired_heads = pairs_rows ? heads : 0});
      promised_.push_back({.name = name.to, .shape = shape, .kind = KindOf(stored, shape)});
    }
    if (config_.rope_scaling.kind == RopeScaling::Kind::kLlama3) {
      planned_.emplace_back();
      promised_.push_back({.name = kRopeFactors, .shape = {config_.head_dim / 2}});
    }
    return {};
  }

  WeightKind KindOf(const StoredTensor& stored, std::span<const int64_t> shape) const {
    if (shape.size() == 1) return WeightKind::kF32;
    const bool keeps = IsPlain(stored.format()) && !options_.converts_floats;
    const DType dtype = keeps ? stored.dtype() : options_.dtype;
    return FormatOf(dtype).kind;
  }

  // The tokenizer that readers of the file will have must be the checkpoint's: a file without weights, in memory,
  // tells.
  Status CompareWhatIsRead(const Tokenizer& tokenizer, const GgufPairs& pairs) const {
    const int trial = memfd_create("quire-vocabulary", MFD_CLOEXEC);
    if (trial < 0) return Io("cannot make a file in memory: {}", std::strerror(errno));
    const std::string head = GgufHead(pairs, {}), path = fmt::format("/proc/self/fd/{}", trial);
    Status status = Env::Posix().WriteFile(path, head);
    if (status.ok()) status = CompareWithFile(tokenizer, path);
    close(trial);
    return status;
  }

  Status CompareWithFile(const Tokenizer& tokenizer, const std::string& path) const {
    QUIRE_ASSIGN_OR_RETURN(const auto converted, LoadTokenizer(path));
    Status status = CompareTokenizers(tokenizer, *converted);
    return status.ok() ? Status() : Unimplemented("{}: {}", from_, status.error().message);
  }

  Status WriteTensors(const GgufPairs& pairs, const std::string& to, FunctionRef<void(std::string_view)> show) const {
    QUIRE_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(to, pairs, promised_, false));
    for (size_t i = 0; i < planned_.size(); ++i) {
      QUIRE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, BytesOf(planned_[i], promised_[i]));
      QUIRE_RETURN_IF_ERROR(writer.AppendTensor(bytes));
      show(promised_[i].name);
    }
    QUIRE_RETURN_IF_ERROR(tensors_->CheckUnchanged());
    return writer.Finish();
  }

  Result<std::vector<std::byte>> BytesOf(const Planned& planned, const NewGgufTensor& tensor) const {
    std::vector<std::byte> bytes(tensor.bytes());
    if (planned.stored.empty()) {
      const std::vector<float> factors = RopeFactors(config_);
      std::memcpy(bytes.data(), factors.data(), bytes.size());
      return bytes;
    }
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors_->Find(planned.stored, tensor.shape));
    const DType dtype = tensor.kind == WeightKind::kF32   ? DType::kF32
                        : tensor.kind == WeightKind::kF16 ? DType::kF16
                                                          : DType::kBf16;
    const int64_t rows = tensor.shape.front(), row_size = stored.size() / rows;
    const auto row_bytes = static_cast<size_t>(row_size) * DTypeSize(dtype);
    if (planned.paired_heads == 0) {
      QUIRE_RETURN_IF_ERROR(ReadAs(stored, 0, stored.size(), dtype, bytes.data()));
      return bytes;
    }
    // Row s * half + i of a head stands where it is rotated with its neighbour: at 2i + s.
    const int64_t head_rows = rows / planned.paired_heads, half = head_rows / 2;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t within = row % head_rows, from = row - within + within % 2 * half + within / 2;
      QUIRE_RETURN_IF_ERROR(
          ReadAs(stored, from * row_size, row_size, dtype, bytes.data() + static_cast<size_t>(row) * row_bytes));
    }
    return bytes;
  }

  const std::string& from_;
  const ConvertOptions& options_;
  ModelConfig config_;
  std::unique_ptr<TensorSource> tensors_;
  std::vector<Planned> planned_;         // beside
  std::vector<NewGgufTensor> promised_;  // each other
};

}  // namespace

Status CheckpointToGguf(const std::string& from, const std::string& to, const ConvertOptions& options,
                        FunctionRef<void(std::string_view tensor)> show) {
  if (Env::Posix().Exists(to)) return InvalidArgument("{} is there already: choose another name, or remove it", to);
  return CheckpointConversion(from, options).Write(to, show);
}

}  // namespace quire
