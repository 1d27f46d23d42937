// From options to a running engine: finds the model, plans memory from its headers, loads tokenizer and weights, builds
// backend, runner and engine. The one place that knows all the parts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "llm/load_options.h"
#include "llm/memory_plan.h"
#include "model/kv_layout.h"
#include "model/model_config.h"
#include "quire/result.h"
#include "quire/sampling_params.h"
#include "tensor/dtype.h"
#include "weights/stored_format.h"

namespace quire {

class Backend;
class ChatTemplate;
class Engine;
class Model;
class Tokenizer;

// Where start-up time went: (what, seconds), in order.
using StartupTimes = std::vector<std::pair<std::string, double>>;

struct LoadedModel {
  std::string path;            // a directory, or a GGUF file
  std::string tokenizer_path;  // the same, of its tokenizer and chat template
  std::string name;            // as the user gave it; "tiny" for the embedded model
  ModelConfig config;
  MemoryPlan memory;
  StartupTimes times;
  DType compute_dtype = DType::kBf16;
  DType kv_dtype = DType::kBf16;
  int64_t num_parameters = 0;
  std::string chat_template_problem;  // why there is none; empty if there is one

  // In order of construction: later ones use earlier ones.
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<const ChatTemplate> chat_template;  // null: chat_template_problem says why
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  std::unique_ptr<Engine> engine;

  LoadedModel();
  ~LoadedModel();
  LoadedModel(LoadedModel&&) noexcept;
  LoadedModel& operator=(LoadedModel&&) noexcept;
};

// Options are checked (CheckLoadOptions), and what does not fit into memory is refused, before weights are read.
Result<LoadedModel> LoadModel(const LoadOptions& options);

// The directory of the embedded default model: QUIRE_SHARE_DIR, the installed share directory beside the program, or
// the source tree it was built from.
Result<std::string> EmbeddedModelDirectory();

// Sampling parameters of a request that says nothing.
SamplingParams DefaultSamplingParams(const ModelConfig& config);

struct ModelDescription {
  std::string path;            // a directory, or a GGUF file
  std::string tokenizer_path;  // the same, of its tokenizer and chat template
  ModelConfig config;
  MemoryPlan memory;
  DType compute_dtype = DType::kBf16;
  DType kv_dtype = DType::kBf16;
  int64_t num_parameters = 0;
  std::vector<StoredFormat> stored_formats;  // of the weights on disk
  size_t kv_bytes_per_token = 0;             // in all layers
  KvLayout kv_layout;
};

// "Q4_1 72.6 MiB, Q8_0 28.7 MiB, F32 0.1 MiB"
std::string StoredFormatsText(const std::vector<StoredFormat>& formats);

// What `quire info` prints: nothing but headers are read.
Result<ModelDescription> DescribeModel(const LoadOptions& options);

}  // namespace quire
