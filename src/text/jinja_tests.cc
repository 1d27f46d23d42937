// The tests of `value is name(argument)`.
#include <algorithm>

#include "base/error.h"
#include "text/jinja_builtins.h"
#include "text/jinja_operators.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

using Call = BuiltinCall;

Result<Value> Defined(const Call& call) { return Value(!call.input.IsUndefined()); }
Result<Value> Undefined(const Call& call) { return Value(call.input.IsUndefined()); }
Result<Value> None(const Call& call) { return Value(call.input.IsNone()); }
Result<Value> String(const Call& call) { return Value(call.input.IsString()); }
Result<Value> Number(const Call& call) { return Value(call.input.IsNumber()); }
Result<Value> Integer(const Call& call) { return Value(call.input.Is(ValueKind::kInt)); }
Result<Value> Float(const Call& call) { return Value(call.input.IsFloat()); }
Result<Value> Boolean(const Call& call) { return Value(call.input.IsBool()); }
Result<Value> True(const Call& call) { return Value(call.input.IsBool() && call.input.boolean()); }
Result<Value> False(const Call& call) { return Value(call.input.IsBool() && !call.input.boolean()); }
Result<Value> Mapping(const Call& call) { return Value(call.input.IsDict()); }
Result<Value> Escaped(const Call& call) { return Value(call.input.markup()); }
Result<Value> SameAs(const Call& call) { return Value(call.input.SameAs(*call[0])); }
Result<Value> FilterExists(const Call& call) { return Value(Filters().contains(Str(call.input))); }
Result<Value> TestExists(const Call& call) { return Value(Tests().contains(Str(call.input))); }

Result<Value> Callable(const Call& call) {
  // An undefined value has a __call__ too, which raises.
  return Value(call.input.IsUndefined() || (call.input.Is(ValueKind::kObject) && call.input.object()->IsCallable()));
}

Result<Value> Iterable(const Call& call) {
  return Value(call.input.IsUndefined() || call.input.IsString() || call.input.IsList() || call.input.IsDict());
}

Result<Value> Sequence(const Call& call) {
  const Value& value = call.input;
  const bool indexed =
      value.IsList(ListKind::kList) || value.IsList(ListKind::kTuple) || value.IsList(ListKind::kRange);
  return Value(value.IsUndefined() || value.IsString() || value.IsDict() || indexed);
}

Result<Value> Upper(const Call& call) { return Value(IsAllOfCase(Str(call.input), IsUpper, IsLower)); }
Result<Value> Lower(const Call& call) { return Value(IsAllOfCase(Str(call.input), IsLower, IsUpper)); }

template <Operator kOp>
Result<Value> Compares(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const bool holds, CompareBy(kOp, call.input, *call[0]));
  return Value(holds);
}

Result<Value> DivisibleBy(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const Value remainder, Binary(Operator::kModulo, call.input, *call[0]));
  return Value(Equal(remainder, Value(int64_t{0})));
}

template <int64_t kRemainder>
Result<Value> Parity(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const Value remainder, Binary(Operator::kModulo, call.input, Value(int64_t{2})));
  return Value(Equal(remainder, Value(kRemainder)));
}

}  // namespace

const BuiltinTable& Tests() {
  static const BuiltinTable table = [] {
    BuiltinTable tests = {
        {"defined", {Defined, {}}},
        {"undefined", {Undefined, {}}},
        {"none", {None, {}}},
        {"string", {String, {}}},
        {"number", {Number, {}}},
        {"integer", {Integer, {}}},
        {"float", {Float, {}}},
        {"boolean", {Boolean, {}}},
        {"true", {True, {}}},
        {"false", {False, {}}},
        {"mapping", {Mapping, {}}},
        {"iterable", {Iterable, {}}},
        {"sequence", {Sequence, {}}},
        {"callable", {Callable, {}}},
        {"escaped", {Escaped, {}}},
        {"sameas", {SameAs, {"other"}, 1}},
        {"filter", {FilterExists, {}}},
        {"test", {TestExists, {}}},
        {"upper", {Upper, {}}},
        {"lower", {Lower, {}}},
        {"divisibleby", {DivisibleBy, {"num"}, 1}},
        {"odd", {Parity<1>, {}}},
        {"even", {Parity<0>, {}}},
        {"in", {Compares<Operator::kIn>, {"seq"}, 1}},
    };
    for (const char* name : {"eq", "==", "equalto"}) tests[name] = {Compares<Operator::kEqual>, {"other"}, 1};
    for (const char* name : {"ne", "!="}) tests[name] = {Compares<Operator::kNotEqual>, {"other"}, 1};
    for (const char* name : {"lt", "<", "lessthan"}) tests[name] = {Compares<Operator::kLess>, {"other"}, 1};
    for (const char* name : {"le", "<="}) tests[name] = {Compares<Operator::kLessEqual>, {"other"}, 1};
    for (const char* name : {"gt", ">", "greaterthan"}) tests[name] = {Compares<Operator::kGreater>, {"other"}, 1};
    for (const char* name : {"ge", ">="}) tests[name] = {Compares<Operator::kGreaterEqual>, {"other"}, 1};
    return tests;
  }();
  return table;
}

}  // namespace quire::jinja
