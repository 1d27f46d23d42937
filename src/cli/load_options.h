// The rows of llm/option_table.h as options of a command.
#pragma once

#include "llm/load_options.h"

namespace CLI {
class App;
}

namespace quire {

// The options of every command that loads a model, which is the first positional argument. An option that is given
// writes to `load`, which outlives the app.
void AddLoad(CLI::App& app, LoadOptions& load, bool model_required);
// Those that only `quire serve` has beside them.
void AddLoadForServe(CLI::App& app, LoadOptions& load);

}  // namespace quire
