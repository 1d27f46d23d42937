// The functions that Jinja and Python give to templates: filters, tests, methods of data and global functions, each a
// row of a table by name. Tables are constant; the functions run on the rendering thread.
#pragma once

#include <array>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "quire/result.h"
#include "text/jinja_value.h"

namespace quire::jinja {

class Interpreter;

inline constexpr size_t kMaxParameters = 6;

// One call of a built-in function, its arguments matched with its parameters.
struct BuiltinCall {
  Interpreter& interpreter;
  const Value& input;  // what is filtered or tested; the method's receiver
  const Arguments& arguments;
  std::array<const Value*, kMaxParameters> bound{};  // null where nothing was passed

  const Value* operator[](size_t parameter) const { return bound[parameter]; }
  bool Flag(size_t parameter, bool otherwise) const;
  Result<int64_t> Integer(size_t parameter, int64_t otherwise) const;
  std::string Text(size_t parameter, std::string_view otherwise) const;
};

struct Builtin {
  Result<Value> (*function)(const BuiltinCall& call) = nullptr;
  std::vector<std::string_view> parameters;
  size_t required = 0;
  bool variadic = false;  // takes call.arguments as they are
};

using BuiltinTable = std::unordered_map<std::string_view, Builtin>;

const BuiltinTable& Filters();
const BuiltinTable& Tests();
const BuiltinTable& StringMethods();
// Those of a mapping, a sequence or a number; null when such a value has none.
const BuiltinTable* DataMethods(const Value& receiver);

Result<Value> Invoke(const Builtin& builtin, std::string_view name, Interpreter& interpreter, const Value& input,
                     const Arguments& arguments);

Result<Value> ApplyFilter(Interpreter& interpreter, std::string_view name, const Value& input,
                          const Arguments& arguments);
Result<bool> ApplyTest(Interpreter& interpreter, std::string_view name, const Value& input, const Arguments& arguments);

bool HasMethod(const Value& receiver, std::string_view name);
Result<Value> CallMethod(Interpreter& interpreter, const Value& receiver, std::string_view name,
                         const Arguments& arguments);

bool HasGlobal(std::string_view name);
Result<Value> CallGlobal(Interpreter& interpreter, std::string_view name, const Arguments& arguments);

}  // namespace quire::jinja
