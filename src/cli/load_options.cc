// Option names and defaults are vLLM's where vLLM has the option.
#include "cli/load_options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string_view>

#include "base/check.h"
#include "llm/option_table.h"

namespace quire {
namespace {

std::string NamesOf(const LoadOption& option) {
  const std::string aliases = option.aliases;
  return aliases.empty() ? option.name : option.name + ("," + aliases);
}

// With the message that CheckLoadOptions has, too.
CLI::Validator CheckOf(const LoadOption& option) {
  const auto check = [&option](const std::string& text) {
    LoadOptions unused;
    const Status read = ReadValue(option.value, text, unused);
    return read.ok() ? std::string() : read.error().message;
  };
  return CLI::Validator(check, "");
}

CLI::Option* AddValue(CLI::App& app, LoadOptions& load, const LoadOption& option) {
  const auto set = [&option, &load](const std::string& text) { QUIRE_CHECK(ReadValue(option.value, text, load).ok()); };
  CLI::Option* added = app.add_option_function<std::string>(NamesOf(option), set, option.help)
                           ->check(CheckOf(option))
                           ->type_name(Placeholder(option.value));
  const std::optional<std::string> shown = ValueText(option.value, LoadOptions());
  return shown && !shown->empty() ? added->default_str(*shown) : added;
}

CLI::Option* AddOption(CLI::App& app, LoadOptions& load, const LoadOption& option) {
  if (const auto* takes = std::get_if<takes::Switch>(&option.value)) {
    return app.add_flag(NamesOf(option), load.*takes->member, option.help);
  }
  if (const auto* takes = std::get_if<takes::Texts>(&option.value)) {
    return app.add_option(NamesOf(option), load.*takes->member, option.help)->take_all()->allow_extra_args(false);
  }
  return AddValue(app, load, option);
}

void AddRows(CLI::App& app, LoadOptions& load, bool is_for_serve) {
  for (const LoadOption& option : LoadOptionTable()) {
    if (option.is_for_serve == is_for_serve) AddOption(app, load, option)->group(option.group);
  }
}

// vLLM's name for memory of the KV cache on a CPU; an option replaces it.
void ReadEnvironment(LoadOptions& load) {
  const char* space = std::getenv("VLLM_CPU_KVCACHE_SPACE");
  if (space != nullptr && *space != '\0' && std::string_view(space) != "0")
    load.kv_cache_memory = space + std::string("GiB");
}

}  // namespace

void AddLoad(CLI::App& app, LoadOptions& load, bool model_required) {
  ReadEnvironment(load);
  auto* model = app.add_option(
      "model", load.model,
      "Model: a Hugging Face directory, a GGUF file, or a name on the hub, org/name[@revision][:quantisation], which "
      "is downloaded if it is not in the cache (default: the embedded model)");
  if (model_required) model->required();
  app.add_option_function<std::string>(
         "--config", [](const std::string&) {},
         "YAML file of options, such as \"port: 8000\"; those given here count more")
      ->type_name("FILE");
  AddRows(app, load, false);
}

void AddLoadForServe(CLI::App& app, LoadOptions& load) { AddRows(app, load, true); }

}  // namespace quire
