#include "llm/loader.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>

#include "backend/backend_factory.h"
#include "base/clock.h"
#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"
#include "llm/available_cpus.h"
#include "llm/available_memory.h"
#include "llm/draft_model.h"
#include "llm/fingerprint.h"
#include "llm/generation_overrides.h"
#include "llm/model_location.h"
#include "llm/model_text.h"
#include "llm/option_names.h"
#include "llm/quantization_check.h"
#include "llm/scheduling_options.h"
#include "llm/speculation_options.h"
#include "model/model.h"
#include "runner/model_runner.h"
#include "runner/swap_file.h"
#include "sched/ngram_drafter.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

// Marks where start-up time goes.
class Stopwatch {
 public:
  explicit Stopwatch(StartupTimes& times) : times_(times), begin_(Clock::Real().NowUs()) {}
  void Lap(const char* what) {
    const TimeUs now = Clock::Real().NowUs();
    times_.emplace_back(what, static_cast<double>(now - begin_) * 1e-6);
    begin_ = now;
  }

 private:
  StartupTimes& times_;
  TimeUs begin_;
};

// Computed in the other format of 16 bits: who asks for it asks for the memory that it takes. (A checkpoint in float16
// is widened to float32 where nobody asks.)
std::optional<DType> Available(std::optional<DType> asked) { return asked == DType::kF16 ? DType::kBf16 : asked; }

void WarnOfFloat16(const LoadOptions& options) {
  const auto warn = [](const char* option, const std::string& name, std::optional<DType> asked) {
    if (asked != DType::kF16) return;
    LogWarning(
        "{}={} used=bfloat16 reason={}", option, name,
        LogValue("there is no float16 arithmetic; float32 holds every float16 value exactly, in twice the memory"));
  };
  warn("dtype", options.dtype, ValueOf(kDTypes, options.dtype));
  warn("kv_cache_dtype", options.kv_cache_dtype, ValueOf(kKvDTypes, options.kv_cache_dtype));
}

ModelOptions MakeModelOptions(const LoadOptions& options) {
  const std::optional<DType> dtype = Available(ValueOf(kDTypes, options.dtype));
  ModelOptions model;
  if (dtype) model.dtype = *dtype == DType::kF32 ? ComputeDType::kF32 : ComputeDType::kBf16;
  model.max_model_len = options.max_model_len.value_or(0);
  return model;
}

Result<std::unique_ptr<Backend>> MakeBackend(const LoadOptions& options) {
  return MakeCpuBackend({.num_threads = options.threads ? *options.threads : AvailableCpus(), .isa = options.cpu_isa});
}

Result<std::string> FindModel(const LoadOptions& options) {
  return options.model.empty() ? EmbeddedModelDirectory() : LocateModel(options.model, options.revision);
}

MemoryPlanInput PlanInput(const LoadOptions& options, const ModelConfig& config, size_t kv_bytes_per_token) {
  MemoryPlanInput input;
  input.kv_bytes_per_token = kv_bytes_per_token;
  input.block_size = options.block_size;
  input.max_num_seqs = options.max_num_seqs;
  input.model_max_len = config.max_position;
  input.max_model_len = options.max_model_len;
  input.num_blocks = options.num_gpu_blocks_override;
  input.memory_share = options.gpu_memory_utilization;
  if (!options.kv_cache_memory.empty()) input.kv_cache_bytes = *ParseByteSize(options.kv_cache_memory);
  input.swap_bytes = SwapBytes(options);
  input.disk_bytes = DiskBytes(options);
  return input;
}

ModelRunnerOptions RunnerOptions(const LoadOptions& options, int32_t max_model_len, DType kv_dtype) {
  ModelRunnerOptions runner;
  runner.max_num_seqs = options.max_num_seqs;
  runner.max_num_batched_tokens = std::max(options.max_num_batched_tokens, options.max_num_seqs);
  runner.max_model_len = max_model_len;
  runner.block_size = options.block_size;
  runner.kv_dtype = kv_dtype;
  runner.populates_kv = options.kv_populate;
  return runner;
}

// What headers and options decide, before any weight is read.
struct Outline {
  ModelOptions model_options;
  ModelFootprint footprint;
  KvShape kv_shape;           // but for num_blocks
  ModelRunnerOptions runner;  // but for num_blocks
  MemoryPlanInput memory_input;
  MemoryPlan memory;
  SpeculationOptions speculation;
  std::optional<DraftModelOutline> draft_model;
};

// What a model that drafts takes beside the one that is served.
Status AddDraftModel(const LoadOptions& options, const Backend& backend, Outline& outline) {
  outline.speculation = *ParseSpeculationOptions(options.speculative_config);
  const ModelDrafterOptions drafter = {.max_num_seqs = outline.runner.max_num_seqs,
                                       .max_num_batched_tokens = outline.runner.max_num_batched_tokens,
                                       .max_model_len = outline.runner.max_model_len,
                                       .max_drafts = outline.speculation.num_tokens,
                                       .block_size = outline.runner.block_size,
                                       .kv_dtype = outline.runner.kv_dtype,
                                       .populates_kv = outline.runner.populates_kv};
  QUIRE_ASSIGN_OR_RETURN(outline.draft_model, OutlineDraftModel(outline.speculation, outline.model_options,
                                                                outline.footprint, drafter, backend));
  if (!outline.draft_model) return {};
  // One position of the draft model beside one of every KV group of the model that is served.
  const size_t num_groups = outline.memory_input.kv_groups.size();
  outline.memory_input.draft_kv_bytes_per_token =
      (outline.draft_model->kv_bytes_per_token + num_groups - 1) / num_groups;
  outline.memory_input.weight_bytes += outline.draft_model->weight_bytes;
  outline.memory_input.scratch_bytes += outline.draft_model->scratch_bytes;
  return {};
}

// Refuses a model that does not fit. REQUIRES: CheckLoadOptions(options). `available_bytes`: before anything is
// allocated, as weights are part of the plan.
Result<Outline> MakeOutline(const LoadOptions& options, const std::string& path, const Backend& backend,
                            size_t available_bytes) {
  Outline outline;
  outline.model_options = MakeModelOptions(options);
  QUIRE_ASSIGN_OR_RETURN(outline.footprint, MeasureModel(path, backend, outline.model_options));
  QUIRE_RETURN_IF_ERROR(CheckQuantization(options.quantization, path, outline.footprint));
  const ModelConfig& config = outline.footprint.config;
  outline.kv_shape = outline.footprint.kv_shape;
  outline.kv_shape.block_size = options.block_size;
  const DType as_products = outline.footprint.compute_dtype == DType::kF32 ? DType::kF32 : DType::kBf16;
  outline.kv_shape.dtype = Available(ValueOf(kKvDTypes, options.kv_cache_dtype)).value_or(as_products);
  const int32_t longest = options.max_model_len.value_or(config.max_position);
  outline.runner = RunnerOptions(options, longest, outline.kv_shape.dtype);
  outline.memory_input = PlanInput(options, config, outline.kv_shape.BytesPerToken());
  outline.memory_input.kv_policy = options.kv_policy;
  outline.memory_input.kv_groups = KvGroupsOf(outline.footprint.kv_layout);
  outline.memory_input.max_num_batched_tokens = outline.runner.max_num_batched_tokens;
  outline.memory_input.available_bytes = available_bytes;
  outline.memory_input.weight_bytes = outline.footprint.weight_bytes;
  outline.memory_input.weight_formats = fmt::format("{}; on disk {}", DTypeName(outline.footprint.compute_dtype),
                                                    StoredFormatsText(outline.footprint.stored_formats));
  outline.memory_input.scratch_bytes = RunnerScratchBytes(config, backend, outline.runner);
  QUIRE_RETURN_IF_ERROR(AddDraftModel(options, backend, outline));
  QUIRE_ASSIGN_OR_RETURN(outline.memory, PlanMemory(outline.memory_input));
  return outline;
}

// Nobody has to ask for swap space, so nobody's server fails to start because there is no place for its file.
Result<std::unique_ptr<SwapStore>> OpenSwap(const LoadOptions& options, size_t block_bytes, MemoryPlan& memory) {
  if (memory.num_swap_blocks == 0) return std::unique_ptr<SwapStore>();
  Result<std::unique_ptr<SwapFile>> file =
      SwapFile::Create({.directory = options.swap_dir,
                        .num_places = static_cast<uint32_t>(memory.num_swap_blocks),
                        .place_bytes = block_bytes});
  if (file.ok()) return std::unique_ptr<SwapStore>(*std::move(file));
  if (!options.swap_dir.empty() || options.preemption_mode == PreemptionMode::kSwap) return std::move(file).error();
  LogWarning("no_swap_space reason={}", LogValue(file.error().message));
  memory.num_swap_blocks = 0;
  memory.swap_bytes = 0;
  return std::unique_ptr<SwapStore>();
}

// Where a block does not hold all layers, which.
std::string GroupsText(const Model& model) {
  const KvLayout& layout = model.kv_layout();
  if (layout.groups.size() == 1) return "";
  return fmt::format(" {} groups of {} layers", layout.groups.size(), layout.layers_per_block);
}

// The prefix cache on disk is kept by what makes keys and values comparable.
Result<std::unique_ptr<DiskStore>> OpenDisk(const LoadOptions& options, const LoadedModel& loaded) {
  if (loaded.memory.num_disk_blocks == 0) return std::unique_ptr<DiskStore>();
  const bool stretches = loaded.config.rope_scaling.kind == RopeScaling::Kind::kDynamicNtk;
  const FingerprintInput input = {
      .model = loaded.path,
      .tokenizer = loaded.tokenizer_path,
      .layout = fmt::format("{} {} {} {} {}{}", loaded.backend->kv_layout(), DTypeName(loaded.compute_dtype),
                            DTypeName(loaded.kv_dtype), loaded.memory.block_size,
                            stretches ? options.max_model_len.value_or(0) : 0, GroupsText(*loaded.model))};
  QUIRE_ASSIGN_OR_RETURN(const KvFingerprint fingerprint, FingerprintModel(input));
  return DiskStore::Open({.directory = options.prefix_cache_dir, .fingerprint = fingerprint});
}

// What ends an answer: the model's own end tokens, and the tokenizer's, which is often the only one that a fine-tuned
// chat model has right.
void AddEndTokens(const Tokenizer& tokenizer, ModelConfig& config) {
  std::vector<int32_t>& ids = config.eos_token_ids;
  for (const int32_t id : tokenizer.end_token_ids()) {
    if (std::find(ids.begin(), ids.end(), id) != ids.end()) continue;
    if (id < config.vocab_size) {
      ids.push_back(id);
    } else {
      LogWarning("end_token_ignored token={} id={} vocab_size={}", LogValue(tokenizer.TokenText(id)), id,
                 config.vocab_size);
    }
  }
}

Status LoadText(const LoadOptions& options, LoadedModel& loaded) {
  loaded.tokenizer_path = options.tokenizer;
  if (options.tokenizer.empty()) {
    QUIRE_ASSIGN_OR_RETURN(loaded.tokenizer_path, FindTokenizer(loaded.path));
  }
  QUIRE_ASSIGN_OR_RETURN(loaded.tokenizer, LoadTokenizer(loaded.tokenizer_path));
  return {};
}

// A file, or as with vLLM the template itself, on one line.
Result<std::string> ReadChatTemplate(const std::string& file_or_text) {
  Result<std::string> read = Env::Posix().ReadFile(file_or_text);
  if (read.ok() || file_or_text.find_first_of("{}\n") == std::string::npos) return read;
  std::string text;
  for (size_t i = 0; i < file_or_text.size(); ++i) {
    const bool is_newline = file_or_text.compare(i, 2, "\\n") == 0;
    text += is_newline ? '\n' : file_or_text[i];
    if (is_newline) ++i;
  }
  return text;
}

// A model without a chat template serves completions; why chat is missing is told when it is asked for.
Status LoadTemplate(const LoadOptions& options, LoadedModel& loaded) {
  Result<std::string> source = LoadChatTemplate(loaded.tokenizer_path);
  std::string text;
  if (!options.chat_template.empty()) {
    QUIRE_ASSIGN_OR_RETURN(text, ReadChatTemplate(options.chat_template));
  } else if (source.ok()) {
    text = *source;
  } else {
    loaded.chat_template_problem = source.error().message;
    return {};
  }
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  for (const NamedToken& token : loaded.tokenizer->special_tokens()) variables[token.name] = token.text;
  Result<std::unique_ptr<ChatTemplate>> parsed = ChatTemplate::Parse(text, {.variables = std::move(variables)});
  if (parsed.ok()) {
    loaded.chat_template = *std::move(parsed);
  } else if (!options.chat_template.empty()) {
    return std::move(parsed).error();
  } else {
    loaded.chat_template_problem = parsed.error().message;
    LogWarning("chat_template_unusable reason={}", LogValue(parsed.error().message));
  }
  return {};
}

// Nobody outside can foresee the digests of prefixes, and make two prompts collide.
uint64_t RandomHashSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Null: no speculation.
Result<std::shared_ptr<Drafter>> LoadDrafter(const Outline& outline, const LoadedModel& loaded) {
  if (outline.speculation.num_tokens == 0) return std::shared_ptr<Drafter>();
  if (outline.draft_model)
    return LoadDraftModel(*outline.draft_model, *loaded.backend,
                          loaded.memory.num_blocks / loaded.memory.num_kv_groups);
  return std::shared_ptr<Drafter>(std::make_shared<NgramDrafter>(outline.speculation.ngram));
}

// Pages that are there, and others as they are first written. Who asks for it is served all the same where the system
// does not allow it, as by llama.cpp.
void LockMemory() {
  if (mlockall(MCL_CURRENT | MCL_ONFAULT) == 0) return;
  LogWarning("memory_not_locked reason={} remedy={}", LogValue(std::strerror(errno)),
             LogValue("raise the limit on locked memory: ulimit -l unlimited, LimitMEMLOCK=infinity, or docker's "
                      "--ulimit memlock=-1"));
}

Status BuildEngine(const LoadOptions& options, const Outline& outline, LoadedModel& loaded) {
  ModelRunnerOptions runner_options = outline.runner;
  runner_options.num_blocks = loaded.memory.num_blocks;
  runner_options.max_model_len = loaded.memory.max_model_len;
  BlockStores stores;
  QUIRE_ASSIGN_OR_RETURN(stores.swap, OpenSwap(options, outline.kv_shape.BytesPerBlock(), loaded.memory));
  QUIRE_ASSIGN_OR_RETURN(stores.disk, OpenDisk(options, loaded));
  EngineOptions engine_options;
  engine_options.scheduler = MakeSchedulerConfig(options, loaded.memory);
  engine_options.scheduler.kv_groups = KvGroupsOf(outline.footprint.kv_layout);
  engine_options.scheduler.hash_seed = RandomHashSeed();
  if (stores.disk != nullptr) {
    engine_options.scheduler.hash_seed = stores.disk->fingerprint().low;
    engine_options.on_disk = stores.disk->contents();
  }
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner,
                         ModelRunner::Create(*loaded.backend, *loaded.model, runner_options, std::move(stores)));
  engine_options.scheduler.max_drafts = outline.speculation.num_tokens;
  engine_options.scheduler.paces_drafts = outline.speculation.adaptive;
  QUIRE_ASSIGN_OR_RETURN(engine_options.drafter, LoadDrafter(outline, loaded));
  engine_options.vocab_size = loaded.config.vocab_size;
  engine_options.eos_token_ids = loaded.config.eos_token_ids;
  engine_options.max_queued_requests = static_cast<size_t>(options.max_queued_requests);
  engine_options.max_queued_tokens = static_cast<uint64_t>(options.max_queued_tokens);
  engine_options.trace_path = options.trace;
  engine_options.seed = options.seed;
  QUIRE_ASSIGN_OR_RETURN(loaded.engine, Engine::Create(std::move(engine_options), std::move(runner), loaded.tokenizer));
  return {};
}

}  // namespace

LoadedModel::LoadedModel() = default;
LoadedModel::~LoadedModel() = default;
LoadedModel::LoadedModel(LoadedModel&&) noexcept = default;
LoadedModel& LoadedModel::operator=(LoadedModel&&) noexcept = default;

Result<LoadedModel> LoadModel(const LoadOptions& options) {
  QUIRE_RETURN_IF_ERROR(CheckLoadOptions(options));
  WarnOfFloat16(options);
  LoadedModel loaded;
  Stopwatch stopwatch(loaded.times);
  loaded.name = options.model.empty() ? "tiny" : options.model;
  QUIRE_ASSIGN_OR_RETURN(loaded.path, FindModel(options));
  stopwatch.Lap("find");
  const size_t available_bytes = AvailableMemoryBytes();
  QUIRE_RETURN_IF_ERROR(LoadText(options, loaded));
  stopwatch.Lap("tokenizer");
  QUIRE_RETURN_IF_ERROR(LoadTemplate(options, loaded));
  stopwatch.Lap("template");
  QUIRE_ASSIGN_OR_RETURN(loaded.backend, MakeBackend(options));
  QUIRE_ASSIGN_OR_RETURN(Outline outline, MakeOutline(options, loaded.path, *loaded.backend, available_bytes));
  stopwatch.Lap("plan");
  QUIRE_ASSIGN_OR_RETURN(loaded.model, Model::Load(loaded.path, *loaded.backend, outline.model_options));
  stopwatch.Lap("weights");
  loaded.config = loaded.model->config();
  AddEndTokens(*loaded.tokenizer, loaded.config);
  if (options.generation_config == SamplingDefaults::kNeutral) {
    loaded.config.default_temperature = loaded.config.default_top_p = loaded.config.default_min_p = std::nullopt;
    loaded.config.default_repetition_penalty = std::nullopt;
    loaded.config.default_top_k = loaded.config.default_max_tokens = std::nullopt;
  }
  Override(*ParseGenerationOverrides(options.override_generation_config), loaded.config);
  loaded.compute_dtype = loaded.model->compute_dtype();
  loaded.kv_dtype = outline.kv_shape.dtype;
  loaded.num_parameters = loaded.model->num_parameters();
  loaded.memory = outline.memory;
  QUIRE_RETURN_IF_ERROR(BuildEngine(options, outline, loaded));
  if (options.mlock) LockMemory();
  stopwatch.Lap("engine");
  LogInfo(
      "model_loaded name={} architecture={} parameters={} stored={} dtype={} kv_dtype={} backend={} "
      "threads={}",
      LogValue(loaded.name), loaded.config.architecture, loaded.num_parameters,
      LogValue(StoredFormatsText(outline.footprint.stored_formats)), DTypeName(loaded.compute_dtype),
      DTypeName(loaded.kv_dtype), loaded.backend->name(), loaded.backend->num_threads());
  return loaded;
}

Result<std::string> EmbeddedModelDirectory() {
  std::vector<std::string> candidates;
  if (const char* share = std::getenv("QUIRE_SHARE_DIR")) candidates.push_back(JoinPath(share, "models/tiny"));
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  if (!code) candidates.push_back((program.parent_path().parent_path() / "share/quire/models/tiny").string());
  candidates.push_back(JoinPath(QUIRE_SOURCE_DIR, "models/tiny"));
  for (const std::string& candidate : candidates) {
    if (Env::Posix().Exists(JoinPath(candidate, "config.json"))) return candidate;
  }
  return NotFound("the embedded model is not at {}: install it with the program, or name a model",
                  fmt::format("{}", fmt::join(candidates, ", nor at ")));
}

SamplingParams DefaultSamplingParams(const ModelConfig& config) {
  SamplingParams params;
  params.temperature = config.default_temperature.value_or(params.temperature);
  params.top_p = config.default_top_p.value_or(params.top_p);
  params.top_k = config.default_top_k.value_or(params.top_k);
  params.min_p = config.default_min_p.value_or(params.min_p);
  params.repetition_penalty = config.default_repetition_penalty.value_or(params.repetition_penalty);
  params.max_tokens = config.default_max_tokens;
  return params;
}

std::string StoredFormatsText(const std::vector<StoredFormat>& formats) {
  std::string text;
  for (const StoredFormat& format : formats) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", format.name, FormatBytes(format.bytes));
  }
  return text;
}

Result<ModelDescription> DescribeModel(const LoadOptions& options) {
  QUIRE_RETURN_IF_ERROR(CheckLoadOptions(options));
  ModelDescription described;
  QUIRE_ASSIGN_OR_RETURN(described.path, FindModel(options));
  QUIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, MakeBackend(options));
  QUIRE_ASSIGN_OR_RETURN(const Outline outline, MakeOutline(options, described.path, *backend, AvailableMemoryBytes()));
  described.config = outline.footprint.config;
  described.memory = outline.memory;
  described.compute_dtype = outline.footprint.compute_dtype;
  described.kv_dtype = outline.kv_shape.dtype;
  described.num_parameters = outline.footprint.num_parameters;
  described.stored_formats = outline.footprint.stored_formats;
  described.kv_layout = outline.footprint.kv_layout;
  described.kv_bytes_per_token = outline.kv_shape.BytesPerToken() / static_cast<size_t>(outline.kv_shape.num_layers) *
                                 static_cast<size_t>(described.config.num_layers);
  return described;
}

}  // namespace quire
