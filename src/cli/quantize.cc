// quire quantize MODEL OUT: a copy of a checkpoint with its layers' weights as integers; what that costs, layer by
// layer and in perplexity.
#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <string_view>
#include <variant>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/perplexity.h"
#include "cli/tensor_progress.h"
#include "llm/available_cpus.h"
#include "llm/memory_plan.h"
#include "llm/model_location.h"
#include "model/model_files.h"
#include "model/quantize_checkpoint.h"
#include "model/quantize_gguf.h"

namespace quire {
namespace {

struct NamedFormat {
  std::string_view name;
  std::variant<IntegerFormat, WeightKind> format;  // of a directory; of a GGUF file
};
constexpr std::array kFormats = {NamedFormat{"int8", IntegerFormat::kInt8},
                                 NamedFormat{"int4-g32", IntegerFormat::kInt4G32},
                                 NamedFormat{"int4-g128", IntegerFormat::kInt4G128},
                                 NamedFormat{"q8_0", WeightKind::kQ8_0},
                                 NamedFormat{"q4_0", WeightKind::kQ4_0},
                                 NamedFormat{"q4_k", WeightKind::kQ4_K}};

Result<NamedFormat> FormatOfName(std::string name) {
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string names;
  for (const NamedFormat& format : kFormats) {
    if (format.name == name) return format;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", format.name);
  }
  return InvalidArgument("--format is {}: must be one of {}", name, names);
}

Result<QuantizationReport> Write(const std::string& from, const std::string& to, const NamedFormat& format,
                                 FunctionRef<void(std::string_view)> show) {
  const bool is_file = IsGgufModel(from);
  if (const auto* kind = std::get_if<WeightKind>(&format.format)) {
    if (is_file) return QuantizeGguf(from, to, *kind, AvailableCpus(), show);
    return InvalidArgument("--format {} is for GGUF files, and {} is a directory: choose int8, int4-g32 or int4-g128",
                           format.name, from);
  }
  if (is_file) {
    return InvalidArgument(
        "--format {} is for directories of safetensors, and {} is a GGUF file: choose q8_0, q4_0 or q4_k", format.name,
        from);
  }
  return QuantizeCheckpoint(from, to, std::get<IntegerFormat>(format.format), AvailableCpus(), show);
}

Result<QuantizationReport> WriteShowing(const std::string& from, const std::string& to, const NamedFormat& format) {
  const TensorProgress progress;
  return Write(from, to, format, [&](std::string_view tensor) { progress.Show(tensor); });
}

Result<Perplexity> PerplexityOf(LoadOptions options, const std::string& model, const std::string& text) {
  options.model = model;
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, RunningModel::Start(options));
  return MeasurePerplexity(running, text);
}

std::string ErrorTable(const QuantizationReport& checkpoint) {
  size_t width = 6;
  double sum = 0;
  for (const LayerError& error : checkpoint.errors) {
    width = std::max(width, error.name.size());
    sum += error.relative;
  }
  std::string text = fmt::format("{:<{}}  {:>8}  {:>9}\n", "WEIGHT", width, "ERROR", "LARGEST");
  for (const LayerError& error : checkpoint.errors) {
    text += fmt::format("{:<{}}  {:>7.3f}%  {:>9.2e}\n", error.name, width, 100 * error.relative, error.largest);
  }
  const double mean = sum / static_cast<double>(std::max<size_t>(checkpoint.errors.size(), 1));
  return text + fmt::format("{:<{}}  {:>7.3f}%\n", "mean", width, 100 * mean);
}

Result<std::string> Quantize(const QuantizeCommand& command) {
  QUIRE_ASSIGN_OR_RETURN(const NamedFormat format, FormatOfName(command.format));
  std::string text;
  if (!command.text.empty()) {
    QUIRE_ASSIGN_OR_RETURN(text, Env::Posix().ReadFile(command.text));
  }
  QUIRE_ASSIGN_OR_RETURN(const std::string from, LocateModel(command.model));
  QUIRE_ASSIGN_OR_RETURN(const QuantizationReport checkpoint, WriteShowing(from, command.out, format));
  std::string report = ErrorTable(checkpoint);
  report += fmt::format("{}: {}, of {}\n", command.out, FormatBytes(checkpoint.bytes_after),
                        FormatBytes(checkpoint.bytes_before));
  if (text.empty()) return report;
  QUIRE_ASSIGN_OR_RETURN(const Perplexity before, PerplexityOf(command.load, from, text));
  QUIRE_ASSIGN_OR_RETURN(const Perplexity after, PerplexityOf(command.load, command.out, text));
  return report + fmt::format("perplexity on {} ({} tokens): {:.4f} before, {:.4f} after ({:+.2f}%)\n", command.text,
                              after.num_tokens, before.value, after.value, 100 * (after.value / before.value - 1));
}

}  // namespace

int RunQuantize(const QuantizeCommand& command) {
  SetLogLevel(LogLevel::kWarning);
  const Result<std::string> report = Quantize(command);
  if (!report.ok()) return Complain(report.error());
  std::fputs(report->c_str(), stdout);
  return 0;
}

}  // namespace quire
