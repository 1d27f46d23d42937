// The command line of `quire`: options, help texts, dispatch.
#pragma once

namespace quire {

// Parses and runs. Returns the process's exit code; usage errors are printed.
int Main(int argc, char** argv);

}  // namespace quire
