// Python's operators and lookups over template values. Pure but for owning bound methods; the rendering thread.
#pragma once

#include <string_view>

#include "quire/result.h"
#include "text/jinja_ast.h"
#include "text/jinja_interpreter.h"

namespace quire::jinja {

Result<Value> Binary(Operator op, const Value& a, const Value& b);
Result<bool> CompareBy(Operator op, const Value& a, const Value& b);
Result<Value> Negate(const Value& value);
Result<int64_t> Length(const Value& value);

// `object.name` and `object[key]`: undefined where there is none, an error on an undefined object.
Result<Value> GetAttribute(Interpreter& interpreter, const Value& object, std::string_view name);
Result<Value> GetItem(Interpreter& interpreter, const Value& object, const Value& key);
// `object[start:stop:step]`; none for a bound left out.
Result<Value> Slice(const Value& object, const Value& start, const Value& stop, const Value& step);

}  // namespace quire::jinja
