#include "model/quantize_checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <mutex>
#include <set>
#include <span>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/first_error.h"
#include "base/thread_team.h"
#include "model/opened_model.h"
#include "tensor/dtype.h"
#include "weights/quantize.h"
#include "weights/safetensors_writer.h"
#include "weights/tensor_source.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeight = ".weight";

struct FormatFacts {
  int bits;
  int64_t group;  // inputs that share a scale; 0: all
  std::string_view config;
};

constexpr std::string_view kInt8Config = R"({
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {"group_0": {
      "targets": ["Linear"],
      "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false},
      "input_activations": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true}
    }},
    "ignore": ["lm_head"]
  })";
constexpr std::string_view kInt4Config = R"({
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {"group_0": {
      "targets": ["Linear"],
      "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": GROUP, "dynamic": false}
    }},
    "ignore": ["lm_head"]
  })";

FormatFacts FactsOf(IntegerFormat format) {
  switch (format) {
    case IntegerFormat::kInt8:
      return {.bits = 8, .group = 0, .config = kInt8Config};
    case IntegerFormat::kInt4G32:
      return {.bits = 4, .group = 32, .config = kInt4Config};
    case IntegerFormat::kInt4G128:
      return {.bits = 4, .group = 128, .config = kInt4Config};
  }
  return {};
}

// The weights that become integers.
std::set<std::string, std::less<>> LayerWeights(const ArchSpec& spec, const ModelConfig& config) {
  const WeightNames& names = spec.names;
  std::set<std::string, std::less<>> weights;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    std::string prefix(names.layer);
    prefix.replace(prefix.find("{}"), 2, std::to_string(layer));
    for (const std::string_view name : {names.q, names.k, names.v, names.o, names.gate, names.up, names.down}) {
      weights.insert(fmt::format("{}{}{}", prefix, name, kWeight));
    }
  }
  return weights;
}

// One weight as integers: what is written of it.
struct IntegerWeight {
  std::vector<std::byte> codes;  // int8 [out, in], or int32 [out, ceil(in / 8)] of eight codes each, the first lowest
  std::vector<Bf16> scales;      // [out, groups]
  LayerError error;
};

class Quantizer {
 public:
  Quantizer(IntegerFormat format, ThreadTeam& team) : facts_(FactsOf(format)), team_(team) {}

  int64_t NumGroups(int64_t in_features) const { return facts_.group == 0 ? 1 : in_features / facts_.group; }
  int64_t CodeBytes(int64_t in_features) const {
    return facts_.bits == 8 ? in_features : (in_features + 7) / 8 * static_cast<int64_t>(sizeof(uint32_t));
  }

  Status CheckShape(const std::string& name, std::span<const int64_t> shape) const {
    if (shape.size() != 2) return InvalidArgument("tensor {} is not a matrix", name);
    if (facts_.group == 0 || shape[1] % facts_.group == 0) return {};
    return InvalidArgument("tensor {} has {} inputs, which are not groups of {}: choose another format", name, shape[1],
                           facts_.group);
  }

  // What stands in the place of `name`, in order.
  std::vector<NewTensor> Tensors(const std::string& name, std::span<const int64_t> shape) const {
    const int64_t out = shape[0], in = shape[1], groups = NumGroups(in);
    const std::string stem = name.substr(0, name.size() - kWeight.size());
    const auto bytes = [](int64_t count, size_t each) { return static_cast<uint64_t>(count) * each; };
    NewTensor codes = {.name = name, .dtype = "I8", .shape = {out, in}, .bytes = bytes(out, 1) * bytes(in, 1)};
    if (facts_.bits == 4) {
      codes = {.name = stem + ".weight_packed", .dtype = "I32", .shape = {out, (in + 7) / 8}};
      codes.bytes = bytes(out, static_cast<size_t>(CodeBytes(in)));
    }
    std::vector<NewTensor> tensors = {codes,
                                      {.name = stem + ".weight_scale",
                                       .dtype = "BF16",
                                       .shape = {out, groups},
                                       .bytes = bytes(out * groups, sizeof(Bf16))}};
    if (facts_.bits == 4) {
      tensors.push_back({.name = stem + ".weight_shape", .dtype = "I64", .shape = {2}, .bytes = 2 * sizeof(int64_t)});
    }
    return tensors;
  }

  Result<IntegerWeight> Quantize(const std::string& name, const StoredTensor& stored, std::span<const int64_t> shape) {
    const int64_t out = shape[0], in = shape[1];
    IntegerWeight weight = {.error = {.name = name}};
    weight.codes.resize(static_cast<size_t>(out * CodeBytes(in)));
    weight.scales.resize(static_cast<size_t>(out * NumGroups(in)));
    FirstError first_error;
    std::mutex mutex;
    double errors = 0, values = 0;
    team_.ParallelFor(out, [&](int64_t begin, int64_t end) {
      RowErrors own;
      std::vector<float> row(static_cast<size_t>(in));
      for (int64_t i = begin; i < end; ++i) {
        Status status = ReadFloats(stored, i * in, row);
        if (status.ok()) status = CheckFinite(name, row);
        if (!status.ok()) return first_error.Take(std::move(status));
        QuantizeRow(row, i, weight, own);
      }
      const std::lock_guard lock(mutex);
      errors += own.squares;
      values += own.values;
      weight.error.largest = std::max(weight.error.largest, own.largest);
    });
    QUIRE_RETURN_IF_ERROR(first_error.Get());
    weight.error.relative = values == 0 ? 0 : std::sqrt(errors / values);
    return weight;
  }

  // The tensors' bytes, in the order of Tensors.
  static Status Write(const IntegerWeight& weight, std::span<const int64_t> shape, bool packed,
                      SafetensorsWriter& writer) {
    QUIRE_RETURN_IF_ERROR(writer.Append(weight.codes));
    QUIRE_RETURN_IF_ERROR(writer.Append(std::as_bytes(std::span(weight.scales))));
    return packed ? writer.Append(std::as_bytes(shape)) : Status();
  }

  bool packed() const { return facts_.bits == 4; }

  std::string ConfigText() const {
    std::string text(facts_.config);
    if (const size_t at = text.find("GROUP"); at != std::string::npos)
      text.replace(at, 5, std::to_string(facts_.group));
    return text;
  }

 private:
  struct RowErrors {
    double squares = 0, values = 0, largest = 0;
  };

  static Status CheckFinite(const std::string& name, std::span<const float> row) {
    if (std::ranges::all_of(row, [](float value) { return std::isfinite(value); })) return {};
    return InvalidArgument("tensor {} holds a value that is not finite", name);
  }

  void QuantizeRow(std::span<const float> row, int64_t index, IntegerWeight& weight, RowErrors& errors) const {
    const auto in = static_cast<int64_t>(row.size());
    const int64_t group = facts_.group == 0 ? in : facts_.group;
    std::vector<int8_t> codes(row.size());
    for (int64_t begin = 0; begin < in; begin += group) {
      const auto values = row.subspan(static_cast<size_t>(begin), static_cast<size_t>(group));
      const float scale = QuantizeGroup(values, facts_.bits, codes.data() + begin);
      weight.scales[static_cast<size_t>(index * NumGroups(in) + begin / group)] = ToBf16(scale);
      for (size_t i = 0; i < values.size(); ++i) {
        const double error = scale * static_cast<float>(codes[static_cast<size_t>(begin) + i]) - values[i];
        errors.squares += error * error;
        errors.values += double{values[i]} * values[i];
        errors.largest = std::max(errors.largest, std::abs(error));
      }
    }
    StoreCodes(codes, weight.codes.data() + index * CodeBytes(in));
  }

  void StoreCodes(std::span<const int8_t> codes, std::byte* to) const {
    if (facts_.bits == 8) {
      std::ranges::transform(codes, to, [](int8_t code) { return static_cast<std::byte>(code); });
      return;
    }
    for (size_t i = 0; i < codes.size(); ++i) {
      const auto nibble = static_cast<uint8_t>(codes[i] + 8);
      to[i / 2] |= static_cast<std::byte>(nibble << (i % 2 * 4));
    }
  }

  FormatFacts facts_;
  ThreadTeam& team_;
};

// config.json with the member put last, so that all else stays as it is to the letter.
Result<std::string> WithQuantization(const std::string& path, const std::string& quantization) {
  QUIRE_ASSIGN_OR_RETURN(std::string text, Env::Posix().ReadFile(path));
  if (text.find("\"quantization_config\"") != std::string::npos) {
    return InvalidArgument("{}: it is quantised already: start from the checkpoint that it was made of", path);
  }
  const size_t end = text.find_last_of('}');
  if (end == std::string::npos) return DataLoss("{} is not a JSON object", path);
  const size_t last = text.find_last_not_of(" \t\r\n", end - 1);
  text.erase(last == std::string::npos ? end : last + 1);
  return text + fmt::format(",\n  \"quantization_config\": {}\n}}\n", quantization);
}

// Tokenizer, templates and the like.
Status CopyOtherFiles(const std::string& from, const std::string& to) {
  constexpr size_t kMaxBytes = size_t{64} << 20;
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, Env::Posix().ListDirectory(from));
  for (const std::string& name : names) {
    const std::string path = JoinPath(from, name);
    std::error_code error;
    const bool is_weights = name.ends_with(".safetensors") || name.ends_with(".index.json") ||
                            name.ends_with(".gguf") || name.ends_with(".bin") || name.ends_with(".pt") ||
                            name.ends_with(".pth");
    if (is_weights || name == "config.json" || name.starts_with('.') || !fs::is_regular_file(path, error) ||
        fs::file_size(path, error) > kMaxBytes) {
      continue;
    }
    QUIRE_ASSIGN_OR_RETURN(const std::string contents, Env::Posix().ReadFile(path));
    QUIRE_RETURN_IF_ERROR(Env::Posix().WriteFile(JoinPath(to, name), contents));
  }
  return {};
}

Result<QuantizationReport> WriteWeights(const TensorSource& tensors, const std::set<std::string, std::less<>>& layers,
                                        const std::string& path, Quantizer& quantizer,
                                        FunctionRef<void(std::string_view)> show) {
  QuantizationReport checkpoint;
  std::vector<NewTensor> promised;
  std::vector<std::string> names = tensors.names();
  std::erase_if(names, [&](const std::string& name) { return !tensors.IsFloat(name); });  // nobody's weights
  for (const std::string& name : names) {
    const std::vector<int64_t> shape = tensors.ShapeOf(name);
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(name, shape));
    checkpoint.bytes_before += static_cast<uint64_t>(stored.size()) * DTypeSize(stored.dtype());
    if (layers.count(name) > 0) {
      QUIRE_RETURN_IF_ERROR(quantizer.CheckShape(name, shape));
      for (NewTensor& tensor : quantizer.Tensors(name, shape)) promised.push_back(std::move(tensor));
    } else {
      promised.push_back(NewFloatTensor(name, stored.dtype(), shape));
    }
  }
  for (const NewTensor& tensor : promised) checkpoint.bytes_after += tensor.bytes;
  QUIRE_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, std::move(promised), false));
  for (const std::string& name : names) {
    const std::vector<int64_t> shape = tensors.ShapeOf(name);
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(name, shape));
    if (layers.count(name) > 0) {
      QUIRE_ASSIGN_OR_RETURN(const IntegerWeight weight, quantizer.Quantize(name, stored, shape));
      QUIRE_RETURN_IF_ERROR(Quantizer::Write(weight, shape, quantizer.packed(), writer));
      checkpoint.errors.push_back(weight.error);
    } else {
      QUIRE_RETURN_IF_ERROR(writer.AppendTensor(stored, stored.dtype()));
    }
    show(name);
  }
  QUIRE_RETURN_IF_ERROR(tensors.CheckUnchanged());
  QUIRE_RETURN_IF_ERROR(writer.Finish());
  return checkpoint;
}

Result<QuantizationReport> Write(const std::string& from, const std::string& to, Quantizer& quantizer,
                                 FunctionRef<void(std::string_view)> show) {
  QUIRE_ASSIGN_OR_RETURN(const std::string config_text,
                         WithQuantization(JoinPath(from, "config.json"), quantizer.ConfigText()));
  QUIRE_ASSIGN_OR_RETURN(const OpenedModel model, OpenModel(from));
  const TensorSource* tensors = model.tensors.get();
  const auto layers = LayerWeights(model.spec, model.config);
  for (const std::string& name : layers) {
    if (!tensors->Has(name)) return NotFound("{}: tensor {} is missing", from, name);
  }
  QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(to));
  QUIRE_ASSIGN_OR_RETURN(QuantizationReport checkpoint,
                         WriteWeights(*tensors, layers, JoinPath(to, "model.safetensors"), quantizer, show));
  QUIRE_RETURN_IF_ERROR(CopyOtherFiles(from, to));
  QUIRE_RETURN_IF_ERROR(Env::Posix().WriteFile(JoinPath(to, "config.json"), config_text));
  return checkpoint;
}

}  // namespace

Result<QuantizationReport> QuantizeCheckpoint(const std::string& from, const std::string& to, IntegerFormat format,
                                              int threads, FunctionRef<void(std::string_view tensor)> show) {
  if (!Env::Posix().IsDirectory(from)) {
    return InvalidArgument("{} is not a directory of safetensors, which this format is made from", from);
  }
  if (Env::Posix().Exists(to)) {
    return InvalidArgument("{} is there already: choose another name, or remove it", to);
  }
  QUIRE_ASSIGN_OR_RETURN(ThreadTeam team, ThreadTeam::Start(threads));
  Quantizer quantizer(format, team);
  Result<QuantizationReport> checkpoint = Write(from, to, quantizer, show);
  if (!checkpoint.ok()) {
    std::error_code error;
    fs::remove_all(to, error);
  }
  return checkpoint;
}

}  // namespace quire
