// The command line of `quire`: from arguments to a command that runs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "quire/result.h"

namespace quire {

// What the arguments, without the program's name, ask for: returns the process's exit code when it is called. An
// error's message is meant for people and may have several lines, of which the first says what is wrong.
Result<std::function<int()>> ParseCommandLine(const std::vector<std::string>& arguments);

// Parses and runs. Returns the process's exit code; usage errors are printed.
int Main(int argc, char** argv);

}  // namespace quire
