// Python's two string formatters: `text % values` and `text.format(values)`. Pure; any thread.
#pragma once

#include "quire/result.h"
#include "text/jinja_value.h"

namespace quire::jinja {

Result<Value> FormatPercent(const Value& format, const Value& values);
Result<Value> FormatBraces(const Value& format, const Arguments& arguments);

}  // namespace quire::jinja
