// A decode step of a model of Llama-3-8B's shape out of the kernels here, captured as one graph: its time against that
// of reading its weights and its cache once, and what each kind of kernel costs in its place. Weights are random, and
// so scaled that every value stays finite.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/dequant_linear_testing.h"
#include "probe/ceilings.h"
#include "probe/cublas_lt.h"
#include "probe/decode_launch.h"
#include "probe/device.h"
#include "probe/elementwise_launch.h"
#include "probe/linear_launch.h"
#include "probe/step_model.h"
#include "probe/stream.h"

namespace quire::probe {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4Group128};

// --- A step ---

// Between two kernels that want the memory of a multiprocessor divided otherwise, it must have run empty: no early
// start. Products take all that there is as shared memory, so that the kernels between them are to have it so, too.
void DivideMemory() {
  const auto divide = [](auto* kernel) {
    Check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
          "carveout");
  };
  divide(&EmbeddingKernel<cuda::EmbeddingArgs>);
  divide(&RmsNormKernel<256, 2>);
  divide(&RmsNormKernel<512, 1>);
  divide(&RmsNormKernel<1024, 1>);
  divide(&RopeKernel<kHeadDim>);
  divide(&ActivationKernel<cuda::ActivationArgs>);
  divide(&ArgMaxKernel<cuda::ArgMaxArgs>);
}

struct StepShape {
  WeightFormat format = WeightFormat::kBf16;
  int rows = 1, context = 1024;  // each row a sequence, whose last position is computed

  int64_t Tokens() const { return int64_t{rows} * context; }
  std::string Name() const {
    char text[64];
    std::snprintf(text, sizeof text, "%-9s batch %3d  context %4d",
                  rows > cuda::kMaxTokens ? "cuBLASLt" : cuda::FormatName(format), rows, context);
    return text;
  }
};

struct How {
  bool overlap = true;  // programmatic dependent launch
  int norm_threads = 512;
  Kind without = Kind::kNone;  // a kind of kernel that is left out: its outputs are those of a step before
};

// More rows than the kernels here multiply go to cuBLASLt, in bf16.
class Step {
 public:
  Step(const Model& model, const Activations& at, CublasLt* library, const StepShape& shape)
      : model_(model), at_(at), library_(library), shape_(shape), plan_(Plan(shape)), batch_(plan_, kHeads, kHeadDim) {
    const auto rows = static_cast<size_t>(shape.rows), blocks = BlocksOfSequence();
    const auto last = static_cast<uint32_t>(shape.context - 1);
    std::vector<uint32_t> slots;
    for (size_t row = 0; row < rows; ++row)
      slots.push_back(model.Block(row * blocks + last / kBlockSize) * kBlockSize + last % kBlockSize);
    slots_ = DeviceArray<uint32_t>(std::span<const uint32_t>(slots));
    positions_ = DeviceArray<int32_t>(std::span<const int32_t>(std::vector<int32_t>(rows, shape.context - 1)));
  }

  const StepShape& shape() const { return shape_; }

  // Launches the step. Returns the number of its kernels, as far as they are known: cuBLASLt may take more than one.
  int Run(const How& how, cudaStream_t stream) const {
    const LaunchOn on = {stream, how.overlap};
    int count = 2;
    const auto launch = [&](Kind kind, auto run) {
      if (how.without == kind) return;
      run();
      ++count;
    };
    const auto norm = [&](const uint16_t* delta) { launch(Kind::kNorms, [&] { Norm(delta, how.norm_threads, on); }); };
    const auto multiply = [&](int layer, const Product& product, const uint16_t* x, uint16_t* y) {
      launch(product.kind, [&] { Multiply(layer, product, x, y, on); });
    };
    const auto& [qkv, o, gate_up, down] = kProducts;
    Embed(on);
    for (int layer = 0; layer < model_.num_layers(); ++layer) {
      norm(layer == 0 ? nullptr : at_.delta.data());
      multiply(layer, qkv, at_.normed.data(), at_.qkv.data());
      launch(Kind::kRope, [&] { Rope(layer, on); });
      launch(Kind::kAttention, [&] { count += Attend(layer, on) - 1; });
      multiply(layer, o, at_.attended.data(), at_.delta.data());
      norm(at_.delta.data());
      multiply(layer, gate_up, at_.normed.data(), at_.gate_up.data());
      launch(Kind::kActivation, [&] { Activate(on); });
      multiply(layer, down, at_.activated.data(), at_.delta.data());
    }
    norm(at_.delta.data());
    multiply(0, kHeadProduct, at_.normed.data(), at_.logits.data());
    Choose(on);
    return count;
  }

  // What a step reads at least: all weights, and the cache of its sequences.
  double FloorBytes() const {
    const int64_t layers = model_.num_layers();
    return WeightBytes(shape_.format, WeightsOfLayer() * layers) +
           WeightBytes(WeightFormat::kBf16, kHeadProduct.Weights()) +
           2.0 * static_cast<double>(kCacheElementsOfToken * layers * shape_.Tokens());
  }

  // Of what is left out where `kind` is; 0 where it is no reading that takes the time.
  double BytesOf(Kind kind) const {
    const int64_t layers = model_.num_layers();
    if (kind == Kind::kAttention) return 2.0 * static_cast<double>(kCacheElementsOfToken * layers * shape_.Tokens());
    if (kind == Kind::kHead) return WeightBytes(WeightFormat::kBf16, kHeadProduct.Weights());
    for (const Product& product : kProducts)
      if (product.kind == kind) return WeightBytes(shape_.format, product.Weights() * layers);
    return 0;
  }

 private:
  size_t BlocksOfSequence() const { return static_cast<size_t>(simt::CeilDiv(shape_.context, kBlockSize)); }
  DecodePlan Plan(const StepShape& shape) const {
    const std::vector<int32_t> contexts(static_cast<size_t>(shape.rows), shape.context);
    std::vector<int32_t> begins(contexts.size());
    for (size_t row = 0; row < begins.size(); ++row) begins[row] = static_cast<int32_t>(row * BlocksOfSequence());
    return cuda::PlanDecode(contexts, begins, 0);
  }

  void Embed(const LaunchOn& on) const {
    LaunchEmbedding(
        {.ids = at_.ids.data(), .table = model_.embeddings(), .residual = at_.residual.data(), .features = kHidden},
        shape_.rows, on);
  }
  void Norm(const uint16_t* delta, int threads, const LaunchOn& on) const {
    LaunchNorm({.residual = at_.residual.data(),
                .delta = delta,
                .weight = model_.norm_weight(),
                .y = at_.normed.data(),
                .features = kHidden,
                .epsilon = 1e-5F},
               shape_.rows, threads, on);
  }
  void Multiply(int layer, const Product& product, const uint16_t* x, uint16_t* y, const LaunchOn& on) const {
    LinearArgs args = model_.Args(shape_.format, layer, product);
    if (shape_.rows > cuda::kMaxTokens) {
      library_->Linear(x, static_cast<const uint16_t*>(args.weights), y, shape_.rows, args.n, args.k, on.stream);
      return;
    }
    args.x = x;
    args.y = y;
    args.partial = at_.partial.data();
    args.arrived = at_.arrived.data();
    args.m = shape_.rows;
    const WeightFormat format = product.kind == Kind::kHead ? WeightFormat::kBf16 : shape_.format;
    LaunchLinear(PrepareLinear(format, args.m, args.splits), args, on.overlap, on.stream);
  }
  void Rope(int layer, const LaunchOn& on) const {
    LaunchRope<kHeadDim>({.qkv = at_.qkv.data(),
                          .q = at_.q.data(),
                          .q_pitch = kHeads * kHeadDim,
                          .cosines = model_.cosines(),
                          .sines = model_.sines(),
                          .positions = positions_.data(),
                          .slots = slots_.data(),
                          .kv = model_.Cache(layer),
                          .cache = model_.CacheData(layer),
                          .num_heads = kHeads},
                         shape_.rows, on);
  }
  // Returns how many kernels it takes.
  int Attend(int layer, const LaunchOn& on) const {
    DecodeLaunch work;
    work.args.q = at_.q.data();
    work.args.tables = model_.tables();
    work.args.num_heads = kHeads;
    work.args.scale = kLog2E / std::sqrt(float{kHeadDim});
    work.args.out = at_.attended.data();
    work.args.SetCache(model_.Cache(layer));
    work.overlap = on.overlap;
    batch_.Fill(work);
    LaunchDecodeTma(work, on.stream);
    return work.merges ? 2 : 1;
  }
  void Activate(const LaunchOn& on) const {
    LaunchActivation({.gate_up = at_.gate_up.data(), .y = at_.activated.data(), .features = kFeedForward}, shape_.rows,
                     on);
  }
  void Choose(const LaunchOn& on) const {
    LaunchArgMax({.logits = at_.logits.data(),
                  .vocabulary = kVocabulary,
                  .parts = std::clamp(256 / shape_.rows, 1, Activations::kMostParts),
                  .best = at_.best.data(),
                  .arrived = at_.best_arrived.data(),
                  .ids = at_.chosen.data()},
                 shape_.rows, on);
  }

  const Model& model_;
  const Activations& at_;
  CublasLt* library_;
  StepShape shape_;
  DecodePlan plan_;
  DecodeBatch batch_;
  DeviceArray<uint32_t> slots_;
  DeviceArray<int32_t> positions_;
};

// --- Right values ---

struct Outputs {
  std::vector<int32_t> ids;
  std::vector<uint16_t> logits;

  std::vector<uint16_t> FirstRow() const { return {logits.begin(), logits.begin() + kVocabulary}; }
  std::vector<uint16_t> LastRow() const { return {logits.end() - kVocabulary, logits.end()}; }
};

// Of the second of two launches of a graph, one right after the other.
Outputs OutputsOf(const Step& step, Activations& at, const How& how) {
  const Stream stream;
  step.Run(how, stream.get());
  stream.Wait();
  const Graph graph(
      stream, [&](cudaStream_t capturing) { step.Run(how, capturing); }, 1);
  at.chosen.Poison();
  at.logits.Poison();
  Check(cudaDeviceSynchronize(), "poison");
  graph.Launch(stream);
  graph.Launch(stream);
  stream.Wait();
  const auto rows = static_cast<size_t>(step.shape().rows);
  return {at.chosen.Download(0, rows), at.logits.Download(0, rows * kVocabulary)};
}

bool AllFinite(const std::vector<uint16_t>& values) {
  return std::all_of(values.begin(), values.end(), [](uint16_t bits) { return (bits & 0x7F80U) != 0x7F80U; });
}

int32_t LargestOf(const std::vector<uint16_t>& logits) {
  const auto less = [](uint16_t a, uint16_t b) { return cuda::FromBf16(a) < cuda::FromBf16(b); };
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end(), less) - logits.begin());
}

// Holds steps to what the kernels promise: an early start changes nothing, and no more do the other rows.
class Promises {
 public:
  bool Keep(const Step& step, Activations& at) {
    const StepShape& shape = step.shape();
    const Outputs overlapped = OutputsOf(step, at, {.overlap = true}), apart = OutputsOf(step, at, {.overlap = false});
    const std::vector<uint16_t> first = overlapped.FirstRow();
    std::string broken;
    if (!AllFinite(overlapped.logits)) broken += "; LOGITS ARE NOT FINITE";
    if (overlapped.ids[0] != LargestOf(first)) broken += "; ANOTHER TOKEN THAN THE LIKELIEST";
    if (shape.rows > 1 && overlapped.LastRow() == first) broken += "; ALL ROWS ARE ONE";
    if (overlapped.ids != apart.ids) broken += "; OTHER TOKENS WITH EARLY STARTS";
    if (overlapped.logits != apart.logits) broken += "; OTHER LOGITS WITH EARLY STARTS";
    if (shape.rows <= cuda::kMaxTokens) {  // cuBLASLt promises nothing
      const auto [entry, is_new] = first_rows_.try_emplace({shape.format, shape.context}, first);
      if (entry->second != first) broken += "; ROW 0 HAS OTHER BITS THAN IN ANOTHER BATCH";
    }
    PrintLine("  %s: finite, the same with and without early starts, row 0 as in other batches: %s",
              shape.Name().c_str(), broken.empty() ? "ok" : ("FAILED" + broken).c_str());
    return broken.empty();
  }

 private:
  std::map<std::pair<WeightFormat, int>, std::vector<uint16_t>> first_rows_;
};

// Two layers, as memory tools make everything slow.
bool CheckSteps(uint64_t seed) {
  Model model(2, 64 * 256, seed);
  Activations at(seed);
  Promises promises;
  bool passed = true;
  for (const WeightFormat format : kFormats) {
    if (format == WeightFormat::kInt8) model.FillCodes(seed + 5);
    for (const int rows : {1, 16, 64})
      passed = promises.Keep(Step(model, at, nullptr, {format, rows, 250}), at) && passed;
  }
  return passed;
}

// --- Times ---

double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct StepTime {
  double seconds = 0;       // from one graph's end to the next one's
  double host_seconds = 0;  // of cudaGraphLaunch
  int num_kernels = 0;
};

StepTime TimeStep(const Step& step, const How& how, int samples) {
  constexpr int kSteps = 6;
  const Stream stream;
  StepTime time;
  time.num_kernels = step.Run(how, stream.get());
  stream.Wait();
  const Graph graph(
      stream, [&](cudaStream_t capturing) { step.Run(how, capturing); }, 1);
  std::vector<double> seconds, host_seconds;
  for (int i = 0; i < samples; ++i) {
    Event begin, end;
    graph.Launch(stream);  // during which the host gets ahead
    begin.Record(stream);
    for (int s = 0; s < kSteps; ++s) graph.Launch(stream);
    end.Record(stream);
    seconds.push_back(end.SecondsSince(begin) / kSteps);
    const auto before = std::chrono::steady_clock::now();
    graph.Launch(stream);
    host_seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count());
    stream.Wait();
  }
  time.seconds = MedianOf(seconds);
  time.host_seconds = MedianOf(host_seconds);
  return time;
}

class Tables {
 public:
  explicit Tables(double bandwidth) : bandwidth_(bandwidth) {}

  StepTime Row(const Step& step, const How& how, const char* what) const {
    const StepTime time = TimeStep(step, how, 5);
    const int rows = step.shape().rows;
    const double floor = step.FloorBytes() / bandwidth_;
    PrintLine(
        "  %s  %-22s %8.3f ms  %7.0f tokens/s  %5.1f %% of the floor of %7.3f ms  %d kernels, launched in %.0f us",
        step.shape().Name().c_str(), what, time.seconds * 1e3, rows / time.seconds, 100 * floor / time.seconds,
        floor * 1e3, time.num_kernels, time.host_seconds * 1e6);
    return time;
  }

  // The step without one kind of kernel: how much sooner it ends.
  void Kinds(const Step& step, const StepTime& whole) const {
    struct Named {
      Kind kind;
      const char* name;
    };
    constexpr Named kKinds[] = {{Kind::kAttention, "attention"},   {Kind::kNorms, "norms"}, {Kind::kRope, "rope"},
                                {Kind::kActivation, "activation"}, {Kind::kQkv, "qkv"},     {Kind::kO, "o"},
                                {Kind::kGateUp, "gate_up"},        {Kind::kDown, "down"},   {Kind::kHead, "head"}};
    std::string line;
    double sum = 0;
    for (const auto& [kind, name] : kKinds) {
      const double cost = whole.seconds - TimeStep(step, {.without = kind}, 3).seconds;
      const double bytes = step.BytesOf(kind);
      char text[80];
      std::snprintf(text, sizeof text, "  %s %.0f", name, cost * 1e6);
      line += text;
      if (bytes > 0) {
        std::snprintf(text, sizeof text, " (floor %.0f)", bytes / bandwidth_ * 1e6);
        line += text;
      }
      sum += cost;
    }
    PrintLine("    left out, us less:%s  all of these %.0f of %.0f", line.c_str(), sum * 1e6, whole.seconds * 1e6);
  }

 private:
  double bandwidth_;
};

// --- The part ---

class StepPart {
 public:
  StepPart(const Options& options, double bandwidth)
      : seed_(options.seed),
        model_(kLayers, MostTokens(), options.seed),
        at_(options.seed),
        library_(CublasLt::Open()),
        tables_(bandwidth) {
    PrintLine("a decode step: %d layers of Llama-3-8B's shape, bf16 head; bandwidth %.3f TB/s; cache of %lld positions",
              kLayers, bandwidth * 1e-12, static_cast<long long>(model_.most_tokens()));
  }

  bool Run() {
    for (const WeightFormat format : kFormats) {
      if (format == WeightFormat::kInt8) model_.FillCodes(seed_ + 5);
      for (const int rows : {1, 16, 64}) Measure({format, rows, 1024}, true);
      for (const int rows : {1, 16}) Measure({format, rows, kMaxContext}, false);
      if (format != WeightFormat::kBf16) continue;
      if (library_ != nullptr)
        Measure({format, kMaxRows, 1024}, true);
      else
        PrintLine("  batch %d: skipped: no cuBLASLt", kMaxRows);
    }
    return passed_;
  }

 private:
  // 256 sequences of 1,024, or what is free beside the weights.
  static int64_t MostTokens() {
    constexpr int64_t kWanted = int64_t{kMaxRows} * 1024, kReserved = int64_t{2} << 30;
    constexpr int64_t kTokenBytes = 2 * kCacheElementsOfToken * kLayers;
    const int64_t others = 2 * (WeightsOfLayer() * kLayers + kHeadProduct.Weights()) + kReserved;
    const int64_t tokens = (static_cast<int64_t>(DescribeCard().free_bytes) - others) / kTokenBytes;
    return std::clamp<int64_t>(tokens, kBlockSize, kWanted) / kBlockSize * kBlockSize;
  }

  void Measure(const StepShape& shape, bool by_kind) {
    if (shape.Tokens() > model_.most_tokens()) {
      PrintLine("  %s: skipped: the cache would not fit", shape.Name().c_str());
      return;
    }
    const Step step(model_, at_, library_.get(), shape);
    passed_ = promises_.Keep(step, at_) && passed_;
    const StepTime whole = tables_.Row(step, {}, "");
    tables_.Row(step, {.overlap = false}, "no early starts");
    if (by_kind && (shape.rows == 1 || shape.rows == cuda::kMaxTokens))
      for (const int threads : {256, 1024})
        tables_.Row(step, {.norm_threads = threads}, ("norms of " + std::to_string(threads) + " threads").c_str());
    if (by_kind) tables_.Kinds(step, whole);
  }

  uint64_t seed_;
  Model model_;
  Activations at_;
  std::unique_ptr<CublasLt> library_;
  Tables tables_;
  Promises promises_;
  bool passed_ = true;
};

}  // namespace

bool RunStep(const Options& options) {
  const bool passed = CheckElementwise(options.seed);
  if (DescribeCard().major != 9) {
    PrintLine("step: skipped: its products are made for sm_90a alone");
    return passed;
  }
  DivideMemory();
  if (options.check_only) return CheckSteps(options.seed) && passed;
  const double bandwidth = options.copy_bandwidth > 0 ? options.copy_bandwidth : MeasureCopyBandwidth();
  StepPart part(options, bandwidth);
  return part.Run() && passed;
}

}  // namespace quire::probe
