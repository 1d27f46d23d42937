// quire convert IN OUT: a GGUF file as a directory of safetensors, or the other way round.
#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/tensor_progress.h"
#include "llm/checkpoint_to_gguf.h"
#include "llm/gguf_to_checkpoint.h"
#include "llm/model_location.h"
#include "model/model_files.h"

namespace quire {
namespace {

Result<ConvertOptions> OptionsOf(const std::string& dtype) {
  if (dtype == "auto") return ConvertOptions();
  if (dtype == "float32" || dtype == "float") return ConvertOptions{.dtype = DType::kF32, .converts_floats = true};
  if (dtype == "bfloat16") return ConvertOptions{.dtype = DType::kBf16, .converts_floats = true};
  return InvalidArgument("--dtype is {}: must be one of auto, float32, bfloat16", dtype);
}

Status Convert(const ConvertCommand& command) {
  QUIRE_ASSIGN_OR_RETURN(const ConvertOptions options, OptionsOf(command.dtype));
  QUIRE_ASSIGN_OR_RETURN(const std::string from, LocateModel(command.model));
  const TensorProgress progress;
  const auto show = [&](std::string_view tensor) { progress.Show(tensor); };
  const bool is_file = IsGgufModel(from);
  if (!is_file && !command.out.ends_with(".gguf")) {
    return InvalidArgument("{} is a directory, which becomes a GGUF file: {} must end in .gguf", from, command.out);
  }
  return is_file ? GgufToCheckpoint(from, command.out, options, show)
                 : CheckpointToGguf(from, command.out, options, show);
}

}  // namespace

int RunConvert(const ConvertCommand& command) {
  SetLogLevel(LogLevel::kWarning);
  const Status status = Convert(command);
  if (!status.ok()) return Complain(status.error());
  std::printf("%s\n", command.out.c_str());
  return 0;
}

}  // namespace quire
