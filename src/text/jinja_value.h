// The values that a chat template computes with: Python's, as far as a sandboxed template can see them. Lists and dicts
// cannot change (Transformers renders in Jinja's immutable sandbox), so values share structure freely and, namespaces
// aside, form no cycles. A value is used by one thread; what a parsed template holds (strings, numbers) is shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "quire/result.h"

namespace quire::jinja {

class Value;
class Interpreter;
struct Arguments;

// Containers nest no deeper than this: printing, comparing and destroying recurse.
inline constexpr uint32_t kMaxNesting = 256;
// No string, and no container with all that is in it, is larger than this (bytes and elements).
inline constexpr uint64_t kMaxWeight = uint64_t{64} << 20;

struct StringObject {
  std::string text;
  bool markup = false;  // made by `safe` or `escape`: adding to it escapes the other side, as markupsafe.Markup does
};

enum class ListKind : uint8_t { kList, kTuple, kRange, kGenerator, kKeysView, kValuesView, kItemsView };

struct ListObject {
  std::vector<Value> items;
  ListKind kind = ListKind::kList;
  uint32_t nesting = 1;
  uint64_t weight = 1;
  bool consumed = false;  // a generator yields its items once
  std::string shown;      // what str() of a range says
  bool is_group = false;  // of groupby: a pair whose items are the attributes `grouper` and `list` too
};

class DictObject;
class Object;

enum class ValueKind : uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kObject };

struct NoneType {};
// Why a value is missing: the message of the error that using it causes.
using UndefinedReason = std::shared_ptr<const std::string>;

class Value {
 public:
  Value() = default;  // undefined
  explicit Value(NoneType) : state_(NoneType{}) {}
  explicit Value(bool value) : state_(value) {}
  explicit Value(int64_t value) : state_(value) {}
  explicit Value(double value) : state_(value) {}
  explicit Value(std::string text, bool markup = false)
      : state_(std::make_shared<const StringObject>(StringObject{std::move(text), markup})) {}
  explicit Value(std::shared_ptr<ListObject> list) : state_(std::move(list)) {}
  explicit Value(std::shared_ptr<const DictObject> dict) : state_(std::move(dict)) {}
  explicit Value(std::shared_ptr<Object> object) : state_(std::move(object)) {}
  Value(const char*) = delete;

  static Value None() { return Value(NoneType{}); }
  static Value Undefined(std::string reason);

  ValueKind kind() const { return static_cast<ValueKind>(state_.index()); }
  bool Is(ValueKind kind) const { return this->kind() == kind; }
  bool IsUndefined() const { return Is(ValueKind::kUndefined); }
  bool IsNone() const { return Is(ValueKind::kNone); }
  bool IsString() const { return Is(ValueKind::kString); }
  bool IsList() const { return Is(ValueKind::kList); }
  bool IsList(ListKind kind) const { return IsList() && list()->kind == kind; }
  bool IsDict() const { return Is(ValueKind::kDict); }
  bool IsBool() const { return Is(ValueKind::kBool); }
  bool IsInteger() const { return Is(ValueKind::kInt) || IsBool(); }  // a bool is an int, as in Python
  bool IsFloat() const { return Is(ValueKind::kFloat); }
  bool IsNumber() const { return IsInteger() || IsFloat(); }

  // REQUIRES: the value is of that kind.
  bool boolean() const { return std::get<bool>(state_); }
  int64_t integer() const { return IsBool() ? int64_t{boolean()} : std::get<int64_t>(state_); }
  double number() const { return IsFloat() ? std::get<double>(state_) : static_cast<double>(integer()); }
  const std::string& text() const { return std::get<StringPtr>(state_)->text; }
  bool markup() const { return IsString() && std::get<StringPtr>(state_)->markup; }
  const std::shared_ptr<ListObject>& list() const { return std::get<std::shared_ptr<ListObject>>(state_); }
  const DictObject& dict() const { return *std::get<std::shared_ptr<const DictObject>>(state_); }
  const std::shared_ptr<Object>& object() const { return std::get<std::shared_ptr<Object>>(state_); }
  std::string undefined_reason() const;

  uint32_t nesting() const;
  // What walking through the value costs: bytes and elements, shared ones counted each time.
  uint64_t weight() const;
  // What handling the value without walking through it costs, in steps.
  uint64_t shallow_cost() const;
  // Whether two values are the same object, as Python's `is`.
  bool SameAs(const Value& other) const;

 private:
  using StringPtr = std::shared_ptr<const StringObject>;
  // In the order of ValueKind.
  std::variant<UndefinedReason, NoneType, bool, int64_t, double, StringPtr, std::shared_ptr<ListObject>,
               std::shared_ptr<const DictObject>, std::shared_ptr<Object>>
      state_;
};

// A mapping in insertion order. Built by Set, then constant.
class DictObject {
 public:
  // InvalidArgument when the key is not hashable or the value is nested too deeply.
  Status Set(Value key, Value value);
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  uint32_t nesting() const { return nesting_; }
  uint64_t weight() const { return weight_; }

 private:
  const size_t* FindHashed(const std::string& hash_key) const;

  std::vector<std::pair<Value, Value>> entries_;
  std::unordered_map<std::string, size_t> index_;  // by HashKey, kept once a scan would be long
  uint32_t nesting_ = 1;
  uint64_t weight_ = 1;
};

// What is neither data nor missing: functions, macros, namespaces, the `loop` variable.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string TypeName() const = 0;
  virtual std::string Repr() const;
  // Undefined when there is none.
  virtual Result<Value> GetAttribute(std::string_view name);
  virtual bool IsCallable() const { return false; }
  virtual bool HasMethod(std::string_view) const { return false; }
  // REQUIRES: HasMethod(name).
  virtual Result<Value> CallMethod(std::string_view name, const Arguments& arguments);
  // Drops what the object refers to, so that cycles and long chains of objects fall apart one by one.
  virtual void Release() {}
  virtual Result<Value> Call(Interpreter& interpreter, const Arguments& arguments);
};

// What a call passes.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* FindNamed(std::string_view name) const;
};

Result<Value> MakeList(std::vector<Value> items, ListKind kind = ListKind::kList);
Result<Value> MakeDict(std::shared_ptr<DictObject> dict);

// The type's name as Python's messages write it: 'str', 'dict', 'NoneType'.
std::string TypeName(const Value& value);
bool Truth(const Value& value);
bool IsHashable(const Value& value);
bool Equal(const Value& a, const Value& b);
// Negative, zero or positive; InvalidArgument for types that Python does not order.
Result<int> Compare(const Value& a, const Value& b);
Result<bool> Contains(const Value& container, const Value& item);

std::string FloatRepr(double value);
std::string StringRepr(std::string_view text);
std::string Repr(const Value& value);
std::string Str(const Value& value);
std::string EscapeHtml(std::string_view text);

// The items that iterating over the value yields; a generator is spent by it.
Result<std::shared_ptr<const ListObject>> Iterate(const Value& value);
// Error of using a missing value.
Error UndefinedError(const Value& value);

}  // namespace quire::jinja
