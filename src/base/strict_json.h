// JSON as Python writes and reads it, made standard: checkpoints are saved by Python, whose json module knows integers
// of any size, Infinity, -Infinity and NaN, numbers beyond the range of a double, and halves of surrogate pairs. The
// JSON libraries here refuse a whole file for one of these, in whatever field it stands.
#pragma once

#include <string>
#include <string_view>

namespace quire {

// The text with
//  - integers beyond 64 bits as numbers with a fraction of zero, which every reader takes for a double;
//  - Infinity, -Infinity, NaN and numbers beyond a double as strings of the same characters, so that who asks for such
//  a
//    field as a number can name what it holds;
//  - escapes of lone surrogates as U+FFFD.
// All else is as it was, errors included. Meant for a text that a JSON library has refused.
std::string StrictJson(std::string_view text);

}  // namespace quire
