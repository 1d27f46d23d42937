// quire quantize MODEL OUT: a copy of a checkpoint with its layers' weights as integers; what that costs, layer by
// layer and in perplexity.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/perplexity.h"
#include "llm/available_cpus.h"
#include "llm/memory_plan.h"
#include "llm/model_location.h"
#include "model/quantize_checkpoint.h"

namespace quire {
namespace {

struct NamedFormat {
  std::string_view name;
  IntegerFormat format;
};
constexpr std::array kFormats = {NamedFormat{"int8", IntegerFormat::kInt8},
                                 NamedFormat{"int4-g32", IntegerFormat::kInt4G32},
                                 NamedFormat{"int4-g128", IntegerFormat::kInt4G128}};

Result<IntegerFormat> FormatOfName(std::string_view name) {
  std::string names;
  for (const NamedFormat& format : kFormats) {
    if (format.name == name) return format.format;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", format.name);
  }
  return InvalidArgument("--format is {}: must be one of {}", name, names);
}

Result<Perplexity> PerplexityOf(LoadOptions options, const std::string& model, const std::string& text) {
  options.model = model;
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, RunningModel::Start(options));
  return MeasurePerplexity(running, text);
}

std::string ErrorTable(const QuantizedCheckpoint& checkpoint) {
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
  QUIRE_ASSIGN_OR_RETURN(const IntegerFormat format, FormatOfName(command.format));
  std::string text;
  if (!command.text.empty()) {
    QUIRE_ASSIGN_OR_RETURN(text, Env::Posix().ReadFile(command.text));
  }
  QUIRE_ASSIGN_OR_RETURN(const std::string from, LocateModel(command.model));
  const bool shows = isatty(STDERR_FILENO) != 0;
  QUIRE_ASSIGN_OR_RETURN(const QuantizedCheckpoint checkpoint,
                         QuantizeCheckpoint(from, command.out, format, AvailableCpus(), [&](std::string_view tensor) {
                           if (shows)
                             std::fprintf(stderr, "\r\033[K%.*s", static_cast<int>(tensor.size()), tensor.data());
                         }));
  if (shows) std::fprintf(stderr, "\r\033[K");
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
