// Reads quantization_config: each method's keys, under the names that its own package writes.
#include "weights/quantized/quantization_config.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/strict_json.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr int64_t kMaxGroup = int64_t{1} << 24;

struct MethodName {
  std::string_view name;
  QuantizationMethod method;
};
constexpr MethodName kMethods[] = {
    {"fp8", QuantizationMethod::kFp8},
    {"fbgemm_fp8", QuantizationMethod::kFp8},
    {"modelopt", QuantizationMethod::kFp8},
    {"compressed-tensors", QuantizationMethod::kCompressedTensors},
    {"gptq", QuantizationMethod::kGptq},
    {"awq", QuantizationMethod::kAwq},
    {"bitsandbytes", QuantizationMethod::kBitsAndBytes},
    {"mxfp4", QuantizationMethod::kMxfp4},
};
constexpr const char* kSupportedMethods =
    "fp8, fbgemm_fp8, modelopt (FP8), compressed-tensors, gptq, awq, bitsandbytes and mxfp4";

// The fields of one object; messages name file and field. Null counts as absent.
class Fields {
 public:
  Fields(std::string path, object fields) : path_(std::move(path)), fields_(fields) {}

  bool Has(std::string_view name) const {
    element value;
    return fields_[name].get(value) == simdjson::SUCCESS && !value.is_null();
  }
  std::optional<object> Object(std::string_view name) const {
    object value;
    if (fields_[name].get_object().get(value) != simdjson::SUCCESS) return std::nullopt;
    return value;
  }
  // `fallback` where it is absent or no text.
  std::string Text(std::string_view name, std::string_view fallback) const {
    std::string_view text;
    return std::string(fields_[name].get_string().get(text) == simdjson::SUCCESS ? text : fallback);
  }
  bool Flag(std::string_view name) const {
    bool flag = false;
    return fields_[name].get_bool().get(flag) == simdjson::SUCCESS && flag;
  }
  // An integer in [min, max]; `fallback` where it is absent.
  Result<int64_t> Int(std::string_view name, int64_t fallback, int64_t min, int64_t max) const {
    element value;
    if (!Has(name) || fields_[name].get(value) != simdjson::SUCCESS) return fallback;
    return IntOf(name, value, min, max);
  }
  // A list of two such integers; two of 0 where it is absent.
  Result<std::array<int64_t, 2>> Pair(std::string_view name) const {
    std::array<int64_t, 2> pair = {0, 0};
    if (!Has(name)) return pair;
    array list;
    if (fields_[name].get_array().get(list) != simdjson::SUCCESS || list.size() != 2) {
      return Bad(name, "is not a list of two integers");
    }
    for (size_t i = 0; i < 2; ++i) {
      QUIRE_ASSIGN_OR_RETURN(pair[i], IntOf(name, list.at(i).value_unsafe(), 1, kMaxGroup));
    }
    return pair;
  }
  Error Bad(std::string_view name, std::string_view problem) const {
    return InvalidArgument("{}: quantization_config: {} {}", path_, name, problem);
  }
  Error Unsupported(std::string_view name, std::string_view value, std::string_view remedy) const {
    return Unimplemented("{}: quantization_config: {} {} is not supported: {}", path_, name, PrintableName(value),
                         remedy);
  }
  const object& all() const { return fields_; }
  const std::string& path() const { return path_; }

 private:
  Result<int64_t> IntOf(std::string_view name, element value, int64_t min, int64_t max) const {
    int64_t number = 0;
    double real = 0;
    if (value.get_int64().get(number) != simdjson::SUCCESS) {
      const bool is_whole = value.get_double().get(real) == simdjson::SUCCESS && std::floor(real) == real;
      if (!is_whole || std::abs(real) > 1e15) return Bad(name, "is not an integer");
      number = static_cast<int64_t>(real);
    }
    if (number < min || number > max) {
      return Bad(name, fmt::format("is {}: must be from {} to {}", number, min, max));
    }
    return number;
  }

  std::string path_;
  object fields_;
};

Status ReadGroupSize(const Fields& fields, std::string_view name, QuantizationConfig& config) {
  QUIRE_ASSIGN_OR_RETURN(config.group_size, fields.Int(name, fields.Has(name) ? 0 : 128, -1, kMaxGroup));
  if (config.group_size == 0) return fields.Bad(name, "is 0: must be positive, or -1 for whole rows");
  return {};
}

Status ReadGptq(const Fields& fields, QuantizationConfig& config) {
  QUIRE_ASSIGN_OR_RETURN(config.bits, fields.Int("bits", 4, 1, 64));
  constexpr std::array<int64_t, 4> kBits = {2, 3, 4, 8};
  if (std::find(kBits.begin(), kBits.end(), config.bits) == kBits.end()) {
    return fields.Unsupported("bits", std::to_string(config.bits), "AutoGPTQ's weights are read with 2, 3, 4 and 8");
  }
  QUIRE_RETURN_IF_ERROR(ReadGroupSize(fields, "group_size", config));
  config.has_rules = fields.Has("dynamic");
  std::string format = fields.Text("checkpoint_format", fields.Text("format", "gptq"));
  if (fields.Flag("is_marlin_format")) format = "marlin";
  if (format != "gptq" && format != "gptq_v2") {
    return fields.Unsupported("checkpoint_format", format, "use a checkpoint in the format gptq or gptq_v2");
  }
  config.zeros_less_one = format == "gptq";
  return {};
}

// The names of its own files: w_bit and q_group_size; of config.json: bits and group_size.
Status ReadAwq(const Fields& fields, QuantizationConfig& config) {
  QUIRE_ASSIGN_OR_RETURN(config.bits, fields.Int(fields.Has("w_bit") ? "w_bit" : "bits", 4, 1, 64));
  if (config.bits != 4) {
    return fields.Unsupported("bits", std::to_string(config.bits), "AutoAWQ's weights are read with 4");
  }
  QUIRE_RETURN_IF_ERROR(ReadGroupSize(fields, fields.Has("q_group_size") ? "q_group_size" : "group_size", config));
  std::string version = fields.Text("version", "gemm");
  std::transform(version.begin(), version.end(), version.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (version != "gemm") {
    return fields.Unsupported("version", version, "use a checkpoint in AutoAWQ's layout gemm");
  }
  return {};
}

Result<CompressedScheme> ReadScheme(const std::string& path, object group) {
  const Fields fields(path, group);
  const std::optional<object> weights = fields.Object("weights");
  CompressedScheme scheme;
  if (!weights) return scheme;  // activations alone
  const Fields stated(path, *weights);
  QUIRE_ASSIGN_OR_RETURN(scheme.bits, stated.Int("num_bits", 8, 1, 64));
  scheme.is_float = stated.Text("type", "int") == "float";
  QUIRE_ASSIGN_OR_RETURN(scheme.group_size, stated.Int("group_size", 0, -1, kMaxGroup));
  scheme.group_size = std::max<int64_t>(scheme.group_size, 0);
  QUIRE_ASSIGN_OR_RETURN(const auto block, stated.Pair("block_structure"));
  scheme.block_rows = block[0];
  scheme.block_columns = block[1];
  if (const std::optional<object> input = fields.Object("input_activations")) {
    const Fields activations(path, *input);
    QUIRE_ASSIGN_OR_RETURN(const int64_t bits, activations.Int("num_bits", 8, 1, 64));
    if (activations.Text("type", "int") == "int") scheme.activation_bits = bits;
  }
  return scheme;
}

Status ReadCompressed(const Fields& fields, QuantizationConfig& config) {
  const std::optional<object> groups = fields.Object("config_groups");
  if (!groups) return {};  // nothing is quantised
  for (const auto& [name, value] : *groups) {
    object group;
    if (value.get_object().get(group) != simdjson::SUCCESS) {
      return fields.Unsupported("config_groups", name, "each group must state its weights as an object");
    }
    QUIRE_ASSIGN_OR_RETURN(const CompressedScheme scheme, ReadScheme(fields.path(), group));
    if (scheme.bits != 0) config.schemes.push_back(scheme);
  }
  return {};
}

Status ReadFp8(const Fields& fields, QuantizationConfig& config) {
  if (config.method_name == "modelopt") {
    const std::string algorithm = fields.Text("quant_algo", "FP8");
    if (algorithm != "FP8") return fields.Unsupported("quant_algo", algorithm, "of modelopt, FP8 alone is read");
  }
  QUIRE_ASSIGN_OR_RETURN(const auto block, fields.Pair("weight_block_size"));
  config.block_rows = block[0];
  config.block_columns = block[1];
  return {};
}

Status ReadMethod(const Fields& fields, std::string_view implied, QuantizationConfig& config) {
  config.path = fields.path();
  const bool is_bitsandbytes = fields.Flag("load_in_4bit") || fields.Flag("load_in_8bit");
  config.method_name = fields.Text("quant_method", is_bitsandbytes ? "bitsandbytes" : implied);
  const auto* known = std::find_if(std::begin(kMethods), std::end(kMethods),
                                   [&](const MethodName& row) { return row.name == config.method_name; });
  if (known == std::end(kMethods)) {
    return fields.Unsupported("quant_method", config.method_name,
                              fmt::format("supported are {}; or use the unquantized checkpoint", kSupportedMethods));
  }
  config.method = known->method;
  switch (config.method) {
    case QuantizationMethod::kFp8:
      return ReadFp8(fields, config);
    case QuantizationMethod::kCompressedTensors:
      return ReadCompressed(fields, config);
    case QuantizationMethod::kGptq:
      return ReadGptq(fields, config);
    case QuantizationMethod::kAwq:
      return ReadAwq(fields, config);
    default:
      return {};
  }
}

// A file of the directory that is about quantisation, or has an object that is.
struct ConfigPlace {
  const char* file;
  const char* key;           // "": the whole file
  std::string_view implied;  // the method, where none is named
};
constexpr ConfigPlace kPlaces[] = {
    {"config.json", "quantization_config", "unnamed"},
    {"config.json", "compression_config", "compressed-tensors"},
    {"quantize_config.json", "", "gptq"},
    {"quant_config.json", "", "awq"},
    {"hf_quant_config.json", "quantization", "modelopt"},
};

// False: nothing is said there. A file that is no JSON object is for its own reader to refuse.
Result<bool> ReadPlace(const std::string& directory, const ConfigPlace& place, QuantizationConfig& config) {
  const std::string path = JoinPath(directory, place.file);
  if (!Env::Posix().Exists(path)) return false;
  QUIRE_ASSIGN_OR_RETURN(const std::string text, Env::Posix().ReadFile(path));
  simdjson::dom::parser parser;
  object root;
  simdjson::error_code parsed = parser.parse(text).get_object().get(root);
  if (parsed != simdjson::SUCCESS) parsed = parser.parse(StrictJson(text)).get_object().get(root);
  if (parsed != simdjson::SUCCESS) return false;
  if (*place.key != '\0') {
    const Fields whole(path, root);
    if (!whole.Has(place.key)) return false;
    const std::optional<object> stated = whole.Object(place.key);
    if (!stated) return InvalidArgument("{}: {} is not an object", path, place.key);
    if (stated->size() == 0) return false;
    root = *stated;
  }
  QUIRE_RETURN_IF_ERROR(ReadMethod(Fields(path, root), place.implied, config));
  return true;
}

}  // namespace

Result<QuantizationConfig> ReadQuantizationConfig(const std::string& directory) {
  QuantizationConfig config;
  config.path = JoinPath(directory, kPlaces[0].file);
  for (const ConfigPlace& place : kPlaces) {
    QUIRE_ASSIGN_OR_RETURN(const bool is_there, ReadPlace(directory, place, config));
    if (is_there) break;
  }
  return config;
}

}  // namespace quire
