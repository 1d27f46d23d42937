// The methods of mappings, sequences and numbers, those that change them left out: the sandbox forbids them.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "text/jinja_builtins.h"

namespace quire::jinja {
namespace {

Result<Value> View(const DictObject& dict, ListKind kind) {
  std::vector<Value> items;
  items.reserve(dict.size());
  for (const auto& [key, value] : dict.entries()) {
    if (kind == ListKind::kItemsView) {
      QUIRE_ASSIGN_OR_RETURN(Value pair, MakeList({key, value}, ListKind::kTuple));
      items.push_back(std::move(pair));
    } else {
      items.push_back(kind == ListKind::kKeysView ? key : value);
    }
  }
  return MakeList(std::move(items), kind);
}

Result<Value> DictKeys(const BuiltinCall& call) { return View(call.input.dict(), ListKind::kKeysView); }
Result<Value> DictValues(const BuiltinCall& call) { return View(call.input.dict(), ListKind::kValuesView); }
Result<Value> DictItems(const BuiltinCall& call) { return View(call.input.dict(), ListKind::kItemsView); }
Result<Value> DictCopy(const BuiltinCall& call) { return call.input; }

Result<Value> DictGet(const BuiltinCall& call) {
  if (!IsHashable(*call[0])) return InvalidArgument("unhashable type: '{}'", TypeName(*call[0]));
  if (const Value* value = call.input.dict().Find(*call[0])) return *value;
  return call[1] == nullptr ? Value::None() : *call[1];
}

const BuiltinTable& DictMethods() {
  static const BuiltinTable table = {
      {"keys", {DictKeys, {}}},
      {"values", {DictValues, {}}},
      {"items", {DictItems, {}}},
      {"copy", {DictCopy, {}}},
      {"get", {DictGet, {"key", "default"}, 1}},
  };
  return table;
}

Result<Value> ListCount(const BuiltinCall& call) {
  const auto& items = call.input.list()->items;
  return Value(static_cast<int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return Equal(item, *call[0]); })));
}

Result<Value> ListIndex(const BuiltinCall& call) {
  const auto& items = call.input.list()->items;
  const auto size = static_cast<int64_t>(items.size());
  QUIRE_ASSIGN_OR_RETURN(int64_t begin, call.Integer(1, 0));
  QUIRE_ASSIGN_OR_RETURN(int64_t end, call.Integer(2, size));
  begin = std::clamp<int64_t>(begin < 0 ? begin + size : begin, 0, size);
  end = std::clamp<int64_t>(end < 0 ? end + size : end, begin, size);
  const auto found =
      std::find_if(items.begin() + begin, items.begin() + end, [&](const Value& v) { return Equal(v, *call[0]); });
  if (found == items.begin() + end) return InvalidArgument("{} is not in list", Repr(*call[0]));
  return Value(static_cast<int64_t>(found - items.begin()));
}

Result<Value> ListCopy(const BuiltinCall& call) { return call.input; }

const BuiltinTable& SequenceMethods() {
  static const BuiltinTable table = {{"count", {ListCount, {"value"}, 1}},
                                     {"index", {ListIndex, {"value", "start", "stop"}, 1}}};
  return table;
}

const BuiltinTable& ListMethods() {
  static const BuiltinTable table = [] {
    BuiltinTable methods = SequenceMethods();
    methods.emplace("copy", Builtin{ListCopy, {}});
    return methods;
  }();
  return table;
}

Result<Value> IsWhole(const BuiltinCall& call) { return Value(std::floor(call.input.number()) == call.input.number()); }

Result<Value> BitLength(const BuiltinCall& call) {
  const int64_t number = call.input.integer();
  const auto size = number < 0 ? uint64_t{0} - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  return Value(static_cast<int64_t>(std::bit_width(size)));
}

const BuiltinTable& NumberMethods(bool integer) {
  static const BuiltinTable integers = {{"bit_length", {BitLength, {}}}};
  static const BuiltinTable floats = {{"is_integer", {IsWhole, {}}}};
  return integer ? integers : floats;
}

}  // namespace

const BuiltinTable* DataMethods(const Value& receiver) {
  if (receiver.IsDict()) return &DictMethods();
  if (receiver.IsNumber()) return &NumberMethods(receiver.IsInteger());
  if (receiver.IsList(ListKind::kList)) return &ListMethods();
  const bool sequence = receiver.IsList(ListKind::kTuple) || receiver.IsList(ListKind::kRange);
  return sequence ? &SequenceMethods() : nullptr;
}

}  // namespace quire::jinja
