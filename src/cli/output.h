// Standard output, which may be a full disk: what could not be written is an error, not silence.
#pragma once

#include <string_view>

#include "quire/result.h"

namespace quire {

// Writes and flushes. False: not everything arrived, nor will what follows.
bool PrintAll(std::string_view text);

// REQUIRES: something was lost. The error says why.
Error LostOutput();

// The exit code of a command that printed and ended with `exit_code`: an error if some of its output was lost.
int WithOutputChecked(int exit_code);

}  // namespace quire
