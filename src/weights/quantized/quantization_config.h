// QuantizationConfig: what a model's directory says of how its weights are quantised: the object quantization_config
// (or compression_config) of config.json, or a file beside it, as older exports have. A value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quire/result.h"

namespace quire {

enum class QuantizationMethod { kNone, kFp8, kCompressedTensors, kGptq, kAwq, kBitsAndBytes, kMxfp4 };

// One of the groups of layers of compressed-tensors; which layers are in it, their tensors tell.
struct CompressedScheme {
  int64_t bits = 0;
  bool is_float = false;
  int64_t group_size = 0;  // 0: not stated
  int64_t block_rows = 0, block_columns = 0;
  std::optional<int64_t> activation_bits;  // of integers
};

struct QuantizationConfig {
  QuantizationMethod method = QuantizationMethod::kNone;
  std::string method_name;  // quant_method, as the file has it: "fbgemm_fp8"
  std::string path;         // of the file, for messages

  // AutoGPTQ and AutoAWQ: of every layer, unless rules say otherwise of some.
  int64_t bits = 4;
  int64_t group_size = 128;  // -1: a whole row
  bool has_rules = false;
  bool zeros_less_one = true;  // zero points are stored minus 1

  int64_t block_rows = 0, block_columns = 0;  // fp8, of weight_block_size; 0: not stated
  std::vector<CompressedScheme> schemes;
};

// kNone if nothing is said there. An unknown method or layout, or a value that makes no sense, is an error that names
// it.
Result<QuantizationConfig> ReadQuantizationConfig(const std::string& directory);

}  // namespace quire
