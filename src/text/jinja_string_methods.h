// Text functions that the string methods and the filters share. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quire/result.h"
#include "text/jinja_builtins.h"
#include "text/jinja_value.h"

namespace quire::jinja {

// At most `count` replacements, all when negative; InvalidArgument when the result is too long.
Result<std::string> Replace(std::string_view text, std::string_view from, std::string_view to, int64_t count);
// The lines of a text without (or with) their ends, as str.splitlines().
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

// isdigit, isupper...: a part of the table of string methods.
void AddStringPredicates(BuiltinTable* table);

}  // namespace quire::jinja
