#include "text/jinja_builtins.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_objects.h"
#include "text/jinja_operators.h"

namespace quire::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;

Result<Value> RaiseException(const BuiltinCall& call) { return call.interpreter.Raise(call.Text(0, "")); }

Result<Value> StrftimeNow(const BuiltinCall& call) {
  if (!call[0]->IsString()) return InvalidArgument("strftime_now() takes a string");
  const std::string& format = call[0]->text();
  const std::time_t now = call.interpreter.Now();
  std::tm local{};
  localtime_r(&now, &local);
  if (format.empty()) return Value(std::string());
  std::string out(format.size() * 16 + 256, '\0');
  if (out.size() > 65536) return InvalidArgument("strftime_now() format is too long");
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &local));
  return Value(std::move(out));
}

Result<Value> Range(const BuiltinCall& call) {
  for (size_t i = 0; i < 3; ++i) {
    if (call[i] != nullptr && !call[i]->IsInteger()) return InvalidArgument("range() takes integers");
  }
  int64_t start = call[1] == nullptr ? 0 : call[0]->integer();
  const int64_t stop = call[call[1] == nullptr ? 0 : 1]->integer();
  const int64_t step = call[2] == nullptr ? 1 : call[2]->integer();
  if (step == 0) return InvalidArgument("range() step must not be zero");
  std::string shown = fmt::format("range({}, {}", start, stop);
  shown += step == 1 ? ")" : fmt::format(", {})", step);
  std::vector<Value> items;
  while (step > 0 ? start < stop : start > stop) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) return InvalidArgument("range() is longer than {}", kMaxRange);
    items.emplace_back(start);
    if (__builtin_add_overflow(start, step, &start)) break;
  }
  QUIRE_RETURN_IF_ERROR(call.interpreter.Charge(items.size()));
  QUIRE_ASSIGN_OR_RETURN(Value range, MakeList(std::move(items), ListKind::kRange));
  range.list()->shown = std::move(shown);
  return range;
}

// What dict(...) and namespace(...) make: entries of a mapping or of pairs, then the named arguments.
Result<std::shared_ptr<DictObject>> BuildDict(const Arguments& arguments) {
  if (arguments.positional.size() > 1) return InvalidArgument("dict() takes at most one positional argument");
  auto dict = std::make_shared<DictObject>();
  for (const Value& source : arguments.positional) {
    if (source.IsDict()) {
      for (const auto& [key, value] : source.dict().entries()) QUIRE_RETURN_IF_ERROR(dict->Set(key, value));
      continue;
    }
    QUIRE_ASSIGN_OR_RETURN(const auto pairs, Iterate(source));
    for (const Value& pair : pairs->items) {
      QUIRE_ASSIGN_OR_RETURN(const auto parts, Iterate(pair));
      if (parts->items.size() != 2) return InvalidArgument("dict() takes a mapping or pairs");
      QUIRE_RETURN_IF_ERROR(dict->Set(parts->items[0], parts->items[1]));
    }
  }
  for (const auto& [key, value] : arguments.named) QUIRE_RETURN_IF_ERROR(dict->Set(Value(key), value));
  return dict;
}

Result<Value> Dict(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(auto dict, BuildDict(call.arguments));
  return MakeDict(std::move(dict));
}

Result<Value> Namespace(const BuiltinCall& call) {
  QUIRE_RETURN_IF_ERROR(call.interpreter.Charge(64));
  QUIRE_ASSIGN_OR_RETURN(const auto dict, BuildDict(call.arguments));
  auto space = std::make_shared<NamespaceObject>();
  for (const auto& [key, value] : dict->entries()) space->Set(Str(key), value);
  return call.interpreter.Own(std::move(space));
}

Result<Value> Cycler(const BuiltinCall& call) {
  const Arguments& arguments = call.arguments;
  if (!arguments.named.empty()) return InvalidArgument("cycler() takes no named arguments");
  if (arguments.positional.empty()) return InvalidArgument("cycler() takes at least one item");
  QUIRE_RETURN_IF_ERROR(call.interpreter.Charge(64 + arguments.positional.size()));
  return call.interpreter.Own(std::make_shared<CyclerObject>(arguments.positional));
}

Result<Value> Joiner(const BuiltinCall& call) {
  QUIRE_RETURN_IF_ERROR(call.interpreter.Charge(64));
  Value separator = call[0] == nullptr ? Value(std::string(", ")) : *call[0];
  return call.interpreter.Own(std::make_shared<JoinerObject>(std::move(separator)));
}

const BuiltinTable& Globals() {
  static const BuiltinTable table = {
      {"raise_exception", {RaiseException, {"message"}, 1}},
      {"strftime_now", {StrftimeNow, {"format"}, 1}},
      {"range", {Range, {"start", "stop", "step"}, 1}},
      {"dict", {.function = Dict, .parameters = {}, .required = 0, .variadic = true}},
      {"namespace", {.function = Namespace, .parameters = {}, .required = 0, .variadic = true}},
      {"cycler", {.function = Cycler, .parameters = {}, .required = 0, .variadic = true}},
      {"joiner", {Joiner, {"sep"}}},
  };
  return table;
}

const Builtin* FindMethod(const Value& receiver, std::string_view name) {
  const BuiltinTable* table = receiver.IsString() ? &StringMethods() : DataMethods(receiver);
  if (table == nullptr) return nullptr;
  const auto found = table->find(name);
  return found == table->end() ? nullptr : &found->second;
}

bool HasObjectMethod(const Value& receiver, std::string_view name) {
  return receiver.Is(ValueKind::kObject) && receiver.object()->HasMethod(name);
}

Result<size_t> ParameterIndex(const Builtin& builtin, std::string_view function, std::string_view name) {
  const auto found = std::find(builtin.parameters.begin(), builtin.parameters.end(), name);
  if (found == builtin.parameters.end()) return InvalidArgument("{}() got an unexpected argument '{}'", function, name);
  return static_cast<size_t>(found - builtin.parameters.begin());
}

Status Bind(const Builtin& builtin, std::string_view name, BuiltinCall* call) {
  const Arguments& arguments = call->arguments;
  const size_t count = builtin.parameters.size();
  if (arguments.positional.size() > count) {
    return InvalidArgument("{}() takes at most {} arguments, {} given", name, count, arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) call->bound[i] = &arguments.positional[i];
  for (const auto& [parameter, value] : arguments.named) {
    QUIRE_ASSIGN_OR_RETURN(const size_t index, ParameterIndex(builtin, name, parameter));
    if (call->bound[index] != nullptr) return InvalidArgument("{}() got two values for '{}'", name, parameter);
    call->bound[index] = &value;
  }
  for (size_t i = 0; i < builtin.required; ++i) {
    if (call->bound[i] == nullptr) return InvalidArgument("{}() misses argument '{}'", name, builtin.parameters[i]);
  }
  return {};
}

}  // namespace

bool BuiltinCall::Flag(size_t parameter, bool otherwise) const {
  return bound[parameter] == nullptr ? otherwise : Truth(*bound[parameter]);
}

Result<int64_t> BuiltinCall::Integer(size_t parameter, int64_t otherwise) const {
  const Value* value = bound[parameter];
  if (value == nullptr || value->IsNone()) return otherwise;
  if (value->IsInteger()) return value->integer();
  return InvalidArgument("an integer is required, not {}", TypeName(*value));
}

std::string BuiltinCall::Text(size_t parameter, std::string_view otherwise) const {
  return bound[parameter] == nullptr ? std::string(otherwise) : Str(*bound[parameter]);
}

Result<Value> Invoke(const Builtin& builtin, std::string_view name, Interpreter& interpreter, const Value& input,
                     const Arguments& arguments) {
  QUIRE_RETURN_IF_ERROR(interpreter.Charge(1 + input.shallow_cost()));
  BuiltinCall call{.interpreter = interpreter, .input = input, .arguments = arguments, .bound = {}};
  if (!builtin.variadic) QUIRE_RETURN_IF_ERROR(Bind(builtin, name, &call));
  return builtin.function(call);
}

Result<Value> ApplyFilter(Interpreter& interpreter, std::string_view name, const Value& input,
                          const Arguments& arguments) {
  const auto found = Filters().find(name);
  if (found == Filters().end()) return InvalidArgument("no filter named '{}'", name);
  return Invoke(found->second, name, interpreter, input, arguments);
}

Result<bool> ApplyTest(Interpreter& interpreter, std::string_view name, const Value& input,
                       const Arguments& arguments) {
  const auto found = Tests().find(name);
  if (found == Tests().end()) return InvalidArgument("no test named '{}'", name);
  QUIRE_ASSIGN_OR_RETURN(const Value passed, Invoke(found->second, name, interpreter, input, arguments));
  return Truth(passed);
}

bool HasMethod(const Value& receiver, std::string_view name) {
  return FindMethod(receiver, name) != nullptr || HasObjectMethod(receiver, name);
}

Result<Value> CallMethod(Interpreter& interpreter, const Value& receiver, std::string_view name,
                         const Arguments& arguments) {
  if (HasObjectMethod(receiver, name)) return receiver.object()->CallMethod(name, arguments);
  const Builtin* method = FindMethod(receiver, name);
  if (method == nullptr) return InvalidArgument("'{}' object has no method '{}'", TypeName(receiver), name);
  return Invoke(*method, name, interpreter, receiver, arguments);
}

bool HasGlobal(std::string_view name) { return Globals().contains(name); }

Result<Value> CallGlobal(Interpreter& interpreter, std::string_view name, const Arguments& arguments) {
  return Invoke(Globals().at(name), name, interpreter, Value(), arguments);
}

}  // namespace quire::jinja
