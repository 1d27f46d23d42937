// What a chat template does with the messages that it is given, read off its syntax tree. Pure; any thread.
#pragma once

#include <string>
#include <unordered_set>

#include "text/jinja_ast.h"

namespace quire::jinja {

struct MessageUse {
  bool iterates_content = false;          // over the content of a message, as a list of parts
  bool shows_whole = false;               // writes, or iterates over, a message as a mapping
  std::unordered_set<std::string> words;  // names, attributes and literal strings that occur
};

// Follows messages and their content through loops, `set`, namespaces, the parameters of macros and filters that keep
// what they are given. Flow-insensitive: what a variable may hold anywhere counts everywhere.
MessageUse FindMessageUse(const Template& parsed);

}  // namespace quire::jinja
