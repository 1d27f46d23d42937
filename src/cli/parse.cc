#include "cli/parse.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "cli/arguments.h"
#include "cli/checks.h"
#include "cli/generate.h"
#include "cli/nearest_name.h"
#include "cli/options.h"
#include "cli/output.h"
#include "quire/version.h"

namespace quire {
namespace {

// "WARNING" and other spellings of vLLM, too.
std::optional<LogLevel> ParseLogLevel(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  constexpr std::pair<const char*, LogLevel> kLevels[] = {{"debug", LogLevel::kDebug},     {"info", LogLevel::kInfo},
                                                          {"warning", LogLevel::kWarning}, {"error", LogLevel::kError},
                                                          {"off", LogLevel::kOff},         {"notset", LogLevel::kDebug},
                                                          {"critical", LogLevel::kError}};
  for (const auto& [known, level] : kLevels) {
    if (name == known) return level;
  }
  return std::nullopt;
}

std::string CheckLogLevel(const std::string& name) {
  return ParseLogLevel(name) ? "" : "\"" + name + "\" is not known: use one of debug, info, warning, error, off";
}

// The parser and what it fills in; lives until the command has run.
class CommandLine {
 public:
  CommandLine()
      : app_("Quire serves large language models: PagedAttention, continuous batching, the OpenAI API.", "quire") {
    app_.set_version_flag("--version", std::string("quire ") + kVersion);
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.option_defaults()->take_last();
    if (const char* level = std::getenv("VLLM_LOGGING_LEVEL"); level != nullptr && ParseLogLevel(level)) {
      log_level_ = level;
    }
    app_.add_option("--log-level", log_level_, "debug, info, warning, error, off")
        ->check(CLI::Validator(CheckLogLevel, ""))
        ->capture_default_str();
    AddCommands(app_, commands_, chosen_);
  }
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  Status Parse(const std::vector<std::string>& arguments) {
    QUIRE_ASSIGN_OR_RETURN(std::vector<std::string> canonical, Canonical(arguments));
    std::reverse(canonical.begin(), canonical.end());  // as CLI11 wants it
    try {
      app_.parse(std::move(canonical));
    } catch (const CLI::Success& success) {  // help and version
      std::ostringstream out;
      app_.exit(success, out, out);
      printed_ = out.str();
    } catch (const CLI::ParseError& error) {
      return InvalidArgument("{}{}", error.what(), HelpHint());
    }
    return {};
  }

  int Run() const {
    if (printed_) return PrintAll(*printed_) ? 0 : Complain(LostOutput());
    SetLogLevel(*ParseLogLevel(log_level_));
    if (!ignored_.empty()) {
      LogWarning("options_without_effect options={}", LogValue(fmt::format("{}", fmt::join(ignored_, ", "))));
    }
    return chosen_();
  }

 private:
  static bool AsksForHelp(const std::vector<std::string>& arguments) {
    return std::ranges::any_of(arguments, [](const std::string& argument) {
      return argument == "--help" || argument == "-h" || argument.starts_with("--help=");
    });
  }

  std::string HelpHint() const { return fmt::format("\n{} --help explains every option", fmt::join(path_, " ")); }

  // The sub-command's names, and its options and arguments in a form that CLI11 takes.
  Result<std::vector<std::string>> Canonical(const std::vector<std::string>& arguments) {
    std::vector<std::string> canonical;
    CLI::App* command = &app_;
    size_t next = 0;
    for (; next < arguments.size() && !command->get_subcommands({}).empty(); ++next) {
      const std::string& argument = arguments[next];
      if (argument.starts_with('-')) {
        QUIRE_RETURN_IF_ERROR(CheckRootOption(argument));
        canonical.push_back(argument);
        if (argument == "--log-level" && next + 1 < arguments.size()) canonical.push_back(arguments[++next]);
        continue;
      }
      const std::vector<CLI::App*> commands = command->get_subcommands({});
      const auto found = std::ranges::find(commands, argument, [](const CLI::App* app) { return app->get_name(); });
      if (found == commands.end()) return UnknownCommand(*command, argument);
      command = *found;
      path_.push_back(argument);
      canonical.push_back(argument);
    }
    const std::vector<std::string> rest(arguments.begin() + static_cast<ptrdiff_t>(next), arguments.end());
    if (command->get_subcommands({}).empty()) {
      QUIRE_RETURN_IF_ERROR(AppendArguments(rest, *command, canonical));
    } else if (!AsksForHelp(canonical) && std::ranges::find(canonical, "--version") == canonical.end()) {
      return InvalidArgument("a command is missing\n\n{}", Commands(*command));
    }
    return canonical;
  }

  Status CheckRootOption(const std::string& argument) const {
    const std::string name = argument.substr(0, argument.find('='));
    if (app_.get_option_no_throw(name) != nullptr) return {};
    return InvalidArgument("there is no option {} before a command: write it after one, as in: quire serve {}",
                           argument, argument);
  }

  Status AppendArguments(const std::vector<std::string>& rest, CLI::App& command, std::vector<std::string>& canonical) {
    if (AsksForHelp(rest)) {
      canonical.emplace_back("--help");
      return {};
    }
    Result<Arguments> read = ReadArguments(rest, SyntaxOf(command));
    if (!read.ok()) return InvalidArgument("{}{}", read.error().message, HelpHint());
    canonical.insert(canonical.end(), read->options.begin(), read->options.end());
    if (!read->positionals.empty()) canonical.emplace_back("--");
    canonical.insert(canonical.end(), read->positionals.begin(), read->positionals.end());
    ignored_ = std::move(read->ignored);
    return {};
  }

  CommandSyntax SyntaxOf(CLI::App& command) const {
    CommandSyntax syntax;
    syntax.find = [this, &command](const std::string& name) { return FindOption(command, name); };
    for (const CLI::App* app : {static_cast<const CLI::App*>(&command), &app_}) {
      for (const CLI::Option* option : app->get_options({})) {
        for (const std::string& name : option->get_lnames()) syntax.names.push_back("--" + name);
      }
    }
    const auto is_positional = [](const CLI::Option* option) { return option->get_positional(); };
    for (const CLI::Option* option : std::as_const(command).get_options(is_positional)) {
      syntax.max_positionals += static_cast<size_t>(option->get_items_expected_max());
    }
    syntax.loads_a_model = command.get_option_no_throw("--model") != nullptr;
    return syntax;
  }

  std::optional<OwnOption> FindOption(CLI::App& command, const std::string& name) const {
    const CLI::Option* option = std::as_const(command).get_option_no_throw(name);
    if (option == nullptr) option = app_.get_option_no_throw(name);
    if (option == nullptr || option->get_lnames().empty() || !name.starts_with('-')) return std::nullopt;
    if (option->get_items_expected_max() == 0) return OwnOption{.name = name, .arity = Arity::kNone};
    const std::string canonical = "--" + option->get_lnames().front();
    return OwnOption{.name = canonical, .arity = TakesSeveralValues(canonical) ? Arity::kSome : Arity::kOne};
  }

  static std::string Commands(CLI::App& app) {
    std::string text = "commands:\n";
    for (const CLI::App* command : app.get_subcommands({})) {
      text += fmt::format("  {:<12}{}\n", command->get_name(), command->get_description());
    }
    return text + fmt::format("\n{} COMMAND --help explains its options",
                              app.get_name() == "quire" ? "quire" : "quire " + app.get_name());
  }

  static Error UnknownCommand(CLI::App& app, const std::string& name) {
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
    const std::string nearest = NearestName(name, names);
    const std::string guess = nearest.empty() ? "" : fmt::format(": did you mean {}?", nearest);
    return InvalidArgument("there is no command {}{}\n\n{}", name, guess, Commands(app));
  }

  CLI::App app_;
  struct Commands commands_;
  std::function<int()> chosen_;
  std::string log_level_ = "info";
  std::vector<std::string> path_ = {"quire"};
  std::vector<std::string> ignored_;
  std::optional<std::string> printed_;
};

}  // namespace

Result<std::function<int()>> ParseCommandLine(const std::vector<std::string>& arguments) {
  const auto line = std::make_shared<CommandLine>();
  QUIRE_RETURN_IF_ERROR(line->Parse(arguments));
  return std::function<int()>([line] { return line->Run(); });
}

int Main(int argc, char** argv) {
  const Result<std::function<int()>> run = ParseCommandLine({argv + 1, argv + argc});
  return run.ok() ? (*run)() : Complain(run.error());
}

}  // namespace quire
