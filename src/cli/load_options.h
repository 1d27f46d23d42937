// The options of every command that loads a model.
#pragma once

#include "llm/loader.h"

namespace CLI {
class App;
}

namespace quire {

// The model is the first positional argument.
void AddLoad(CLI::App& app, LoadOptions& load, bool model_required);

}  // namespace quire
