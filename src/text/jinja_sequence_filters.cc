// Filters over sequences and mappings.
#include "text/jinja_sequence_filters.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

using Call = BuiltinCall;
using Items = std::vector<Value>;

// What sorting and telling apart go by: strings in lower case unless case counts.
Value FoldCase(const Value& value, bool case_sensitive) {
  return value.IsString() && !case_sensitive ? Value(ToLower(value.text())) : value;
}

// `value` by an attribute path "a.b.0" (or an index); the value itself without one.
Result<Value> Attribute(const Call& call, const Value& value, const Value* path) {
  if (path == nullptr || path->IsNone()) return value;
  if (path->IsInteger()) return GetItem(call.interpreter, value, *path);
  const std::string text = Str(*path);
  Value current = value;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    int64_t index = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool numeric = !part.empty() && part[0] != '-' && parsed.ptr == part.data() + part.size();
    QUIRE_ASSIGN_OR_RETURN(current, GetItem(call.interpreter, current, numeric ? Value(index) : Value(part)));
    begin = end + 1;
  }
  return current;
}

struct Keyed {
  Value key;
  Value item;
};

// Several attributes with commas between them: a tuple of theirs.
Result<Value> SortKey(const Call& call, const Value& item, bool case_sensitive) {
  const std::string paths = call[2] != nullptr && call[2]->IsString() ? call[2]->text() : "";
  if (paths.find(',') == std::string::npos) {
    QUIRE_ASSIGN_OR_RETURN(const Value key, Attribute(call, item, call[2]));
    return FoldCase(key, case_sensitive);
  }
  Items parts;
  for (size_t begin = 0; begin <= paths.size();) {
    const size_t end = std::min(paths.find(',', begin), paths.size());
    const Value path(paths.substr(begin, end - begin));
    QUIRE_ASSIGN_OR_RETURN(const Value part, Attribute(call, item, &path));
    parts.push_back(FoldCase(part, case_sensitive));
    begin = end + 1;
  }
  return MakeList(std::move(parts), ListKind::kTuple);
}

Result<std::vector<Keyed>> KeyItems(const Call& call, const Value* attribute, bool case_sensitive) {
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  std::vector<Keyed> keyed;
  for (const Value& item : items->items) {
    QUIRE_ASSIGN_OR_RETURN(const Value key, Attribute(call, item, attribute));
    keyed.push_back(Keyed{FoldCase(key, case_sensitive), item});
  }
  return keyed;
}

// Stable; InvalidArgument when two keys have no order.
Status SortKeyed(const Call& call, bool reverse, std::vector<Keyed>* keyed) {
  for (size_t i = 1; i < keyed->size(); ++i) {  // an order needs all keys of one kind; NaN aside, it is then strict
    QUIRE_RETURN_IF_ERROR(Compare((*keyed)[i - 1].key, (*keyed)[i].key).ok()
                              ? Status()
                              : Status(Compare((*keyed)[i - 1].key, (*keyed)[i].key).error()));
  }
  QUIRE_RETURN_IF_ERROR(call.interpreter.Charge(keyed->size() * 8));
  bool failed = false;
  const auto less = [&failed](const Keyed& a, const Keyed& b) {
    const Result<int> order = Compare(a.key, b.key);
    failed = failed || !order.ok();
    return order.ok() && *order < 0;
  };
  const auto greater = [&less](const Keyed& a, const Keyed& b) { return less(b, a); };
  if (reverse) {
    std::stable_sort(keyed->begin(), keyed->end(), greater);
  } else {
    std::stable_sort(keyed->begin(), keyed->end(), less);
  }
  if (failed) return InvalidArgument("the values to sort have no order");
  return {};
}

Items TakeItems(std::vector<Keyed> keyed) {
  Items items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return items;
}

Result<Value> List(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  return MakeList(items->items);
}

Result<Value> LengthFilter(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t length, Length(call.input));
  return Value(length);
}

Result<Value> First(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  return items->items.empty() ? Value::Undefined("No first item, sequence was empty.") : items->items.front();
}

Result<Value> Last(const Call& call) {
  if (call.input.IsList(ListKind::kGenerator)) return InvalidArgument("'generator' object is not reversible");
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  return items->items.empty() ? Value::Undefined("No last item, sequence was empty.") : items->items.back();
}

Result<Value> Reverse(const Call& call) {
  if (call.input.IsList(ListKind::kGenerator)) return InvalidArgument("argument must be iterable");
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  Items reversed(items->items.rbegin(), items->items.rend());
  if (!call.input.IsString()) return MakeList(std::move(reversed), ListKind::kGenerator);
  std::string text;
  for (const Value& character : reversed) text += character.text();
  return Value(std::move(text), call.input.markup());
}

Result<Value> Join(const Call& call) {
  const std::string separator = call.Text(0, "");
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    QUIRE_ASSIGN_OR_RETURN(const Value item, Attribute(call, items->items[i], call[1]));
    if (i > 0) out += separator;
    if (out.size() + item.weight() > kMaxWeight) return InvalidArgument("a string is too long");
    out += Str(item);
  }
  return Value(std::move(out));
}

Result<Value> ItemsFilter(const Call& call) {
  if (call.input.IsUndefined()) return MakeList({}, ListKind::kGenerator);
  if (!call.input.IsDict()) return InvalidArgument("Can only get item pairs from a mapping.");
  Items pairs;
  for (const auto& [key, value] : call.input.dict().entries()) {
    QUIRE_ASSIGN_OR_RETURN(Value pair, MakeList({key, value}, ListKind::kTuple));
    pairs.push_back(std::move(pair));
  }
  return MakeList(std::move(pairs), ListKind::kGenerator);
}

Result<Value> DictSort(const Call& call) {
  if (call.input.IsUndefined()) return UndefinedError(call.input);
  if (!call.input.IsDict()) return InvalidArgument("dictsort needs a mapping, not {}", TypeName(call.input));
  const std::string by = call.Text(1, "key");
  if (by != "key" && by != "value") return InvalidArgument("You can only sort by either \"key\" or \"value\"");
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : call.input.dict().entries()) {
    QUIRE_ASSIGN_OR_RETURN(Value pair, MakeList({key, value}, ListKind::kTuple));
    keyed.push_back(Keyed{FoldCase(by == "key" ? key : value, call.Flag(0, false)), std::move(pair)});
  }
  QUIRE_RETURN_IF_ERROR(SortKeyed(call, call.Flag(2, false), &keyed));
  return MakeList(TakeItems(std::move(keyed)));
}

Result<Value> Sort(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  std::vector<Keyed> keyed;
  for (const Value& item : items->items) {
    QUIRE_ASSIGN_OR_RETURN(Value key, SortKey(call, item, call.Flag(1, false)));
    keyed.push_back(Keyed{std::move(key), item});
  }
  QUIRE_RETURN_IF_ERROR(SortKeyed(call, call.Flag(0, false), &keyed));
  return MakeList(TakeItems(std::move(keyed)));
}

Result<Value> Unique(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(auto keyed, KeyItems(call, call[1], call.Flag(0, false)));
  DictObject seen;
  Items unique;
  for (Keyed& entry : keyed) {
    if (seen.Find(entry.key) != nullptr) continue;
    QUIRE_RETURN_IF_ERROR(seen.Set(entry.key, Value::None()));
    unique.push_back(std::move(entry.item));
  }
  return MakeList(std::move(unique), ListKind::kGenerator);
}

template <int kSign>
Result<Value> Extreme(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(auto keyed, KeyItems(call, call[1], call.Flag(0, false)));
  if (keyed.empty()) return Value::Undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  for (size_t i = 1; i < keyed.size(); ++i) {
    QUIRE_ASSIGN_OR_RETURN(const int order, Compare(keyed[i].key, keyed[best].key));
    if (order * kSign > 0) best = i;
  }
  return keyed[best].item;
}

Result<Value> Sum(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  Value total = call[1] == nullptr ? Value(int64_t{0}) : *call[1];
  if (total.IsString()) return InvalidArgument("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : items->items) {
    QUIRE_ASSIGN_OR_RETURN(const Value term, Attribute(call, item, call[0]));
    QUIRE_ASSIGN_OR_RETURN(total, Binary(Operator::kAdd, total, term));
    QUIRE_RETURN_IF_ERROR(call.interpreter.Charge(1 + total.shallow_cost()));
  }
  return total;
}

Result<Value> GroupBy(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(auto keyed, KeyItems(call, call[0], call.Flag(2, false)));
  for (Keyed& entry : keyed) {
    if (entry.key.IsUndefined() && call[1] != nullptr) entry.key = FoldCase(*call[1], call.Flag(2, false));
  }
  QUIRE_RETURN_IF_ERROR(SortKeyed(call, false, &keyed));
  Items groups;
  for (size_t begin = 0; begin < keyed.size();) {
    size_t end = begin;
    Items members;
    while (end < keyed.size() && Equal(keyed[end].key, keyed[begin].key)) members.push_back(keyed[end++].item);
    QUIRE_ASSIGN_OR_RETURN(Value key, Attribute(call, keyed[begin].item, call[0]));
    if (key.IsUndefined()) key = keyed[begin].key;
    QUIRE_ASSIGN_OR_RETURN(Value list, MakeList(std::move(members)));
    QUIRE_ASSIGN_OR_RETURN(Value group, MakeList({std::move(key), std::move(list)}, ListKind::kTuple));
    group.list()->is_group = true;
    groups.push_back(std::move(group));
    begin = end;
  }
  return MakeList(std::move(groups));
}

Result<Value> Batch(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t size, call.Integer(0, 1));
  if (size < 1 || size > 100'000) return InvalidArgument("batch() takes a size from 1 to 100000");
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  Items batches;
  const auto step = static_cast<size_t>(size);
  for (size_t begin = 0; begin < items->items.size(); begin += step) {
    const size_t end = std::min(begin + step, items->items.size());
    Items batch;
    for (size_t i = begin; i < end; ++i) batch.push_back(items->items[i]);
    if (call[1] != nullptr && !call[1]->IsNone()) batch.resize(step, *call[1]);
    QUIRE_ASSIGN_OR_RETURN(Value list, MakeList(std::move(batch)));
    batches.push_back(std::move(list));
  }
  return MakeList(std::move(batches), ListKind::kGenerator);
}

// The items in so many lists of even lengths, the longer ones first; with fill_with those are as long as the others.
Result<Value> SliceFilter(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t count, call.Integer(0, 1));
  if (count < 1 || count > 100'000) return InvalidArgument("slice() takes a number from 1 to 100000");
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  const auto slices = static_cast<size_t>(count);
  const size_t even = items->items.size() / slices;
  const size_t num_longer = items->items.size() % slices;
  Items lists;
  auto next = items->items.begin();
  for (size_t i = 0; i < slices; ++i) {
    const auto end = next + static_cast<ptrdiff_t>(even + (i < num_longer ? 1 : 0));
    Items slice(next, end);
    next = end;
    if (call[1] != nullptr && !call[1]->IsNone() && i >= num_longer) slice.push_back(*call[1]);
    QUIRE_ASSIGN_OR_RETURN(Value list, MakeList(std::move(slice)));
    lists.push_back(std::move(list));
  }
  return MakeList(std::move(lists), ListKind::kGenerator);
}

Arguments WithoutFirst(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(), rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

// map(attribute="a.b", default=x) or map("filter", arguments...)
Result<Value> Map(const Call& call) {
  if (!Truth(call.input)) return MakeList({}, ListKind::kGenerator);  // none too
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  const Value* attribute = call.arguments.FindNamed("attribute");
  const Value* otherwise = call.arguments.FindNamed("default");
  if (attribute == nullptr && call.arguments.positional.empty())
    return InvalidArgument("map requires a filter argument");
  const Arguments rest = attribute == nullptr ? WithoutFirst(call.arguments, 1) : Arguments();
  Items mapped;
  for (const Value& item : items->items) {
    Result<Value> value = attribute != nullptr
                              ? Attribute(call, item, attribute)
                              : ApplyFilter(call.interpreter, Str(call.arguments.positional[0]), item, rest);
    if (!value.ok()) return value;
    mapped.push_back(value->IsUndefined() && otherwise != nullptr ? *otherwise : *value);
  }
  return MakeList(std::move(mapped), ListKind::kGenerator);
}

// select, reject, selectattr, rejectattr: items by a test, or by their truth without one.
template <bool kWanted, bool kByAttribute>
Result<Value> Select(const Call& call) {
  if (!Truth(call.input)) return MakeList({}, ListKind::kGenerator);
  const auto& positional = call.arguments.positional;
  if (kByAttribute && positional.empty()) return InvalidArgument("Missing parameter for attribute name");
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(call.input));
  const size_t test_at = kByAttribute ? 1 : 0;
  const bool has_test = positional.size() > test_at;
  const Arguments rest = has_test ? WithoutFirst(call.arguments, test_at + 1) : Arguments();
  Items selected;
  for (const Value& item : items->items) {
    QUIRE_ASSIGN_OR_RETURN(const Value value, Attribute(call, item, kByAttribute ? &positional[0] : nullptr));
    bool passed = Truth(value);
    if (has_test) {
      QUIRE_ASSIGN_OR_RETURN(passed, ApplyTest(call.interpreter, Str(positional[test_at]), value, rest));
    }
    if (passed == kWanted) selected.push_back(item);
  }
  return MakeList(std::move(selected), ListKind::kGenerator);
}

// Of a mapping, its methods only.
Result<Value> Attr(const Call& call) {
  const std::string name = call.Text(0, "");
  if (call.input.IsDict() && !HasMethod(call.input, name)) {
    return Value::Undefined(fmt::format("'dict object' has no attribute '{}'", name));
  }
  return GetAttribute(call.interpreter, call.input, name);
}

}  // namespace

void AddSequenceFilters(BuiltinTable* table) {
  const auto add = [table](std::string_view name, Builtin builtin) { table->emplace(name, std::move(builtin)); };
  const auto variadic = [&add](std::string_view name, Result<Value> (*function)(const Call&)) {
    add(name, {.function = function, .parameters = {}, .required = 0, .variadic = true});
  };
  add("list", {List, {}});
  add("length", {LengthFilter, {}});
  add("count", {LengthFilter, {}});
  add("first", {First, {}});
  add("last", {Last, {}});
  add("reverse", {Reverse, {}});
  add("join", {Join, {"d", "attribute"}});
  add("items", {ItemsFilter, {}});
  add("dictsort", {DictSort, {"case_sensitive", "by", "reverse"}});
  add("sort", {Sort, {"reverse", "case_sensitive", "attribute"}});
  add("unique", {Unique, {"case_sensitive", "attribute"}});
  add("min", {Extreme<-1>, {"case_sensitive", "attribute"}});
  add("max", {Extreme<1>, {"case_sensitive", "attribute"}});
  add("sum", {Sum, {"attribute", "start"}});
  add("groupby", {GroupBy, {"attribute", "default", "case_sensitive"}, 1});
  add("batch", {Batch, {"linecount", "fill_with"}, 1});
  add("slice", {SliceFilter, {"slices", "fill_with"}, 1});
  add("attr", {Attr, {"name"}, 1});
  variadic("map", Map);
  variadic("select", Select<true, false>);
  variadic("reject", Select<false, false>);
  variadic("selectattr", Select<true, true>);
  variadic("rejectattr", Select<false, true>);
}

}  // namespace quire::jinja
