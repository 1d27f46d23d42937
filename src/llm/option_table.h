// Every option that loading a model has: one row from which the command line, its help and all checks come.
#pragma once

#include <span>
#include <string_view>

#include "llm/option_value.h"

namespace quire {

struct LoadOption {
  const char* name;          // vLLM's, where vLLM has the option
  const char* aliases = "";  // separated by commas; one that begins with ! turns a switch off
  OptionValue value;
  const char* group;  // of the help; empty: not shown
  const char* help;
  bool is_for_serve = false;  // and for nothing else: other commands have options of that name
};

// In the order of the help.
std::span<const LoadOption> LoadOptionTable();

// Null: there is none of that name.
const LoadOption* FindLoadOption(std::string_view name);

}  // namespace quire
