// What people write after a sub-command, put into one form: underscores in names, several values to an option, JSON by
// its keys, options of other servers (foreign_options.h) and configuration files, read as vLLM reads them. No thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/foreign_options.h"
#include "quire/result.h"

namespace quire {

// An option of Quire itself, for one sub-command.
struct OwnOption {
  std::string name;  // the first of its long names
  Arity arity = Arity::kNone;
};

// What a sub-command understands.
struct CommandSyntax {
  std::function<std::optional<OwnOption>(const std::string&)> find;  // by a name with its dashes
  std::vector<std::string> names;                                    // for suggestions
  size_t max_positionals = 0;
  bool loads_a_model = true;  // the first positional is the model, and options of other servers are understood
};

struct Arguments {
  std::vector<std::string> options;      // names and values, one after the other
  std::vector<std::string> positionals;  // the model first
  std::vector<std::string> ignored;      // options of other servers that do nothing, with a note for some
};

// Errors name the option, its value and what to do.
Result<Arguments> ReadArguments(const std::vector<std::string>& arguments, const CommandSyntax& syntax);

}  // namespace quire
