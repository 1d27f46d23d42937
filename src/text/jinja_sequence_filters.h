// The filters over sequences and mappings: a part of the table of filters. Pure; any thread.
#pragma once

#include "text/jinja_builtins.h"

namespace quire::jinja {

void AddSequenceFilters(BuiltinTable* table);
void AddTextFilters(BuiltinTable* table);

}  // namespace quire::jinja
