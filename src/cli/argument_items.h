// The first half of reading arguments: which options they name and which values are whose. Nothing is judged yet.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/foreign_options.h"
#include "quire/result.h"

namespace quire {

// An option as it was written: of Quire itself, or of another server.
struct ArgumentItem {
  std::string written;  // for messages
  std::optional<OwnOption> own;
  const ForeignOption* foreign = nullptr;
  bool negated = false;             // of a foreign switch
  std::vector<std::string> values;  // of an own switch: none, or one that was written after =
};

struct ArgumentItems {
  std::vector<ArgumentItem> options;
  std::vector<std::string> positionals;
};

// Errors: an option that is not known, or that lacks its value.
Result<ArgumentItems> ReadItems(const std::vector<std::string>& arguments, const CommandSyntax& syntax);

std::string Lowercase(std::string text);
// Whether the value is one of a list separated by spaces.
bool IsListed(std::string_view list, std::string_view value);

}  // namespace quire
