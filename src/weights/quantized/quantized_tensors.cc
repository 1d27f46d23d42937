// Recognises weights by the name and type of their codes.
#include "weights/quantized/quantized_tensors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "weights/quantized/quantized_layer.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

using Method = QuantizationMethod;
using Describer = Result<QuantizedWeight> (*)(const QuantizedLayer& layer);

// Tensors beside a layer's codes that say how these are decoded, or how activations were meant to be quantised.
constexpr std::string_view kLayerParts[] = {
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_zero_point",
    ".weight_shape",
    ".weight_g_idx",
    ".weight_global_scale",
    ".weight_format",
    ".SCB",
    ".input_scale",
    ".input_scale_ub",
    ".input_zero_point",
    ".input_global_scale",
    ".output_scale",
    ".output_zero_point",
    ".activation_scale",
    ".weight.absmax",
    ".weight.quant_map",
    ".weight.nested_absmax",
    ".weight.nested_quant_map",
    ".weight.quant_state.bitsandbytes__nf4",
    ".weight.quant_state.bitsandbytes__fp4",
};
// Of a quantised KV cache: the cache's type is an option, and needs none.
constexpr std::string_view kCacheParts[] = {".k_scale",      ".v_scale",      ".q_scale",      ".kv_scale",
                                            ".k_zero_point", ".v_zero_point", ".q_zero_point", ".prob_scale"};

Result<QuantizedWeight> RefuseUndescribed(const QuantizedLayer& layer) {
  return InvalidArgument("{}: {} says nothing of how it is quantised: its quantization_config (gptq or awq) is missing",
                         layer.Find(".qweight")->Where(), layer.config.path);
}

struct Recognised {
  std::string_view layer;
  Describer describe = nullptr;
};

// By the tensor of its codes; nothing if it is no such tensor.
std::optional<Recognised> Recognise(const StoredPart& part, const QuantizationConfig& config,
                                    const StoredParts& tensors) {
  const std::string_view name = part.name;
  const auto layer_of = [&](std::string_view suffix) { return name.substr(0, name.size() - suffix.size()); };
  const auto has = [&](std::string_view layer, std::string_view suffix) {
    return tensors.find(std::string(layer) + std::string(suffix)) != tensors.end();
  };
  if (name.ends_with(".qweight")) {
    const Describer describe = config.method == Method::kGptq  ? DescribeGptq
                               : config.method == Method::kAwq ? DescribeAwq
                                                               : RefuseUndescribed;
    return Recognised{layer_of(".qweight"), describe};
  }
  if (name.ends_with(".weight_packed")) {
    return Recognised{layer_of(".weight_packed"),
                      part.dtype == "U8" ? DescribeCompressedFp4 : DescribeCompressedPacked};
  }
  if (name.ends_with("_blocks") && has(layer_of("_blocks"), "_scales")) {
    return Recognised{layer_of("_blocks"), DescribeMxfp4};
  }
  if (!name.ends_with(".weight")) return std::nullopt;
  const std::string_view layer = layer_of(".weight");
  if (part.dtype == "F8_E4M3" || part.dtype == "F8_E5M2") return Recognised{layer, DescribeFp8};
  if (part.dtype == "I8" && has(layer, ".SCB")) return Recognised{layer, DescribeBnb8Bit};
  if (part.dtype == "I8" && config.method == Method::kCompressedTensors)
    return Recognised{layer, DescribeCompressedInt8};
  if (part.dtype == "U8" && has(layer, ".weight.absmax")) return Recognised{layer, DescribeBnb4Bit};
  return std::nullopt;
}

std::shared_ptr<QuantizedTensor> Build(const QuantizedLayer& layer, Describer describe, bool is_there_already) {
  auto tensor = std::make_shared<QuantizedTensor>();
  Result<QuantizedWeight> weight = describe(layer);
  if (is_there_already) {
    tensor->problem = InvalidArgument("{}: layer {} is there twice, quantised and in floats: remove one of them",
                                      layer.config.path, PrintableName(layer.name));
  } else if (!weight.ok()) {
    tensor->problem = std::move(weight).error();
  } else {
    tensor->weight = *std::move(weight);
    tensor->format = tensor->weight.Format();
  }
  return tensor;
}

}  // namespace

QuantizedTensors FindQuantizedTensors(const QuantizationConfig& config, const StoredParts& tensors) {
  QuantizedTensors found;
  for (const auto& [name, part] : tensors) {
    const std::optional<Recognised> recognised = Recognise(part, config, tensors);
    if (!recognised) continue;
    const QuantizedLayer layer = {.parts = tensors, .name = std::string(recognised->layer), .config = config};
    const bool is_mxfp4 = recognised->describe == DescribeMxfp4;
    const std::string logical = is_mxfp4 ? layer.name : layer.name + ".weight";
    const bool is_there_already = logical != name && tensors.find(logical) != tensors.end();
    const std::shared_ptr<QuantizedTensor> tensor = Build(layer, recognised->describe, is_there_already);
    tensor->file = part.file;
    found.weights.emplace(logical, tensor);
    for (const std::string_view suffix : kLayerParts) found.parts.push_back(layer.name + std::string(suffix));
    if (is_mxfp4) found.parts.insert(found.parts.end(), {name, layer.name + "_scales"});
  }
  if (found.weights.empty()) return found;
  for (const auto& [name, part] : tensors) {
    const bool is_cache = std::any_of(std::begin(kCacheParts), std::end(kCacheParts),
                                      [&name = name](std::string_view suffix) { return name.ends_with(suffix); });
    if (is_cache) found.parts.push_back(name);
  }
  return found;
}

std::vector<std::string> NamesOfCodes(std::string_view name) {
  std::vector<std::string> names = {std::string(name), std::string(name) + "_blocks"};
  if (name.ends_with(".weight")) {
    const std::string layer(name.substr(0, name.size() - std::string_view(".weight").size()));
    names.insert(names.end(), {layer + ".qweight", layer + ".weight_packed"});
  }
  return names;
}

}  // namespace quire
