// quire info [MODEL]: what a model is, and how memory would be planned, from its headers alone.
#include <cstdio>

#include "cli/commands.h"
#include "cli/generate.h"
#include "llm/loader.h"

namespace quire {
namespace {

// "full (4 layers), window of 1024 (4 layers), ...".
std::string KvGroupsText(const KvLayout& layout) {
  std::string text;
  for (const KvLayerGroup& group : layout.groups) {
    if (!text.empty()) text += ", ";
    text += group.window == 0 ? "full" : fmt::format("window of {}", group.window);
    text += fmt::format(" ({} layer{})", group.layers.size(), group.layers.size() == 1 ? "" : "s");
  }
  return text;
}

}  // namespace

int RunInfo(const InfoCommand& command) {
  const Result<ModelDescription> described = DescribeModel(command.load);
  if (!described.ok()) return Complain(described.error());
  const ModelConfig& config = described->config;
  const auto row = [](const char* name, const std::string& value) { std::printf("%-18s %s\n", name, value.c_str()); };
  row("files", described->path);
  row("architecture", config.architecture);
  row("parameters", fmt::format("{:.2f} M", static_cast<double>(described->num_parameters) / 1e6));
  row("weights on disk", StoredFormatsText(described->stored_formats));
  row("products", DTypeName(described->compute_dtype));
  row("layers", fmt::format("{}", config.num_layers));
  row("hidden size", fmt::format("{}", config.hidden_size));
  row("heads", fmt::format("{} query, {} key-value, of {}", config.num_heads, config.num_kv_heads, config.head_dim));
  row("vocabulary", fmt::format("{}", config.vocab_size));
  row("context", fmt::format("{}", config.max_position));
  row("KV per token",
      fmt::format("{} of {}", FormatBytes(described->kv_bytes_per_token), DTypeName(described->kv_dtype)));
  if (described->kv_layout.groups.size() > 1) row("KV groups", KvGroupsText(described->kv_layout));
  for (const std::string& warning : config.warnings) row("note", warning);
  std::printf("\n%s", FormatMemoryPlan(described->memory).c_str());
  return 0;
}

}  // namespace quire
