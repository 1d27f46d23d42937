// Source text -> syntax tree, by Jinja's grammar with the loop-control and generation tags. Pure; any thread.
#pragma once

#include <string_view>

#include "quire/result.h"
#include "text/jinja_ast.h"

namespace quire::jinja {

// InvalidArgument names the line.
Result<Template> ParseTemplate(std::string_view source);

}  // namespace quire::jinja
