// Patterns in tokenizer.json are written for Oniguruma (Ruby syntax); PCRE2 reads a close dialect. Translated here is
// what differs: \s \w \b (Unicode classes of another definition), \h, \uXXXX, script properties, nested classes and
// the flag m. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire::text {

// The equivalent PCRE2 pattern for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE. kUnimplemented for class intersection (&&),
// negated nested classes and \W \H inside of a class.
Result<std::string> OnigurumaToPcre2(std::string_view pattern);

}  // namespace quire::text
