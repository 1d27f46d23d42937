#include "text/jinja_operators.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_objects.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

constexpr const char* kOverflow = "an integer is out of range";

Error Unsupported(std::string_view symbol, const Value& a, const Value& b) {
  return InvalidArgument("unsupported operand type(s) for {}: '{}' and '{}'", symbol, TypeName(a), TypeName(b));
}

std::string_view Symbol(Operator op) {
  static constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<size_t>(op)];
}

int64_t FloorDivide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

Result<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return InvalidArgument("zero cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  int64_t result = 1;
  for (; exponent > 0; --exponent) {  // overflows within 63 rounds
    if (__builtin_mul_overflow(result, base, &result)) return InvalidArgument("{}", kOverflow);
  }
  return Value(result);
}

Result<Value> IntegerBinary(Operator op, int64_t a, int64_t b) {
  const bool divides = op == Operator::kDivide || op == Operator::kFloorDivide || op == Operator::kModulo;
  if (divides && b == 0) return InvalidArgument("division by zero");
  if (divides && b == -1 && a == INT64_MIN) return InvalidArgument("{}", kOverflow);
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Operator::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Operator::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Operator::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Operator::kDivide:
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDivide:
      return Value(FloorDivide(a, b));
    case Operator::kModulo:
      return Value(a - FloorDivide(a, b) * b);
    default:
      return IntegerPower(a, b);
  }
  if (overflow) return InvalidArgument("{}", kOverflow);
  return Value(result);
}

Result<Value> FloatBinary(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value(a + b);
    case Operator::kSubtract:
      return Value(a - b);
    case Operator::kMultiply:
      return Value(a * b);
    case Operator::kPower:
      return Value(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) return InvalidArgument("float division by zero");
  if (op == Operator::kDivide) return Value(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  return Value(op == Operator::kModulo ? remainder : std::floor((a - remainder) / b + 0.5));
}

Result<Value> AddStrings(const Value& a, const Value& b) {
  if (a.text().size() + b.text().size() > kMaxWeight) return InvalidArgument("a string is too long");
  if (!a.markup() && !b.markup()) return Value(a.text() + b.text());
  const std::string left = a.markup() ? a.text() : EscapeHtml(a.text());
  return Value(left + (b.markup() ? b.text() : EscapeHtml(b.text())), true);
}

Result<Value> AddLists(const ListObject& a, const ListObject& b) {
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return MakeList(std::move(items), a.kind);
}

bool AreLists(const Value& a, const Value& b) {
  const auto plain = [](const Value& v) { return v.IsList(ListKind::kList) || v.IsList(ListKind::kTuple); };
  return plain(a) && plain(b) && a.list()->kind == b.list()->kind;
}

Result<Value> Add(const Value& a, const Value& b) {
  if (a.IsString() && b.IsString()) return AddStrings(a, b);
  if (AreLists(a, b)) return AddLists(*a.list(), *b.list());
  if (a.IsString()) return InvalidArgument("can only concatenate str (not \"{}\") to str", TypeName(b));
  if (a.IsList(ListKind::kList)) return InvalidArgument("can only concatenate list (not \"{}\") to list", TypeName(b));
  return Unsupported("+", a, b);
}

// sequence * count
Result<Value> Repeat(const Value& sequence, int64_t count) {
  const auto times = static_cast<uint64_t>(std::max<int64_t>(count, 0));
  const uint64_t size = sequence.weight();
  if (times > 0 && size > kMaxWeight / times) return InvalidArgument("a repetition is too long");
  if (sequence.IsString()) {
    std::string text;
    for (uint64_t i = 0; i < times; ++i) text += sequence.text();
    return Value(std::move(text), sequence.markup());
  }
  std::vector<Value> items;
  const auto& unit = sequence.list()->items;
  for (uint64_t i = 0; i < times; ++i) items.insert(items.end(), unit.begin(), unit.end());
  return MakeList(std::move(items), sequence.list()->kind);
}

Result<Value> Multiply(const Value& a, const Value& b) {
  const auto repeatable = [](const Value& v) {
    return v.IsString() || v.IsList(ListKind::kList) || v.IsList(ListKind::kTuple);
  };
  if (repeatable(a) && b.IsInteger()) return Repeat(a, b.integer());
  if (repeatable(b) && a.IsInteger()) return Repeat(b, a.integer());
  return Unsupported("*", a, b);
}

Value NoAttribute(const Value& object, std::string_view name) {
  return Value::Undefined(fmt::format("'{} object' has no attribute '{}'", TypeName(object), name));
}

Value NoElement(const Value& object, const Value& key) {
  return Value::Undefined(fmt::format("{} object has no element {}", TypeName(object), Repr(key)));
}

// Python's attribute lookup alone: methods.
Result<Value> FindAttribute(Interpreter& interpreter, const Value& object, std::string_view name, bool* found) {
  *found = true;
  if (HasMethod(object, name)) {
    QUIRE_RETURN_IF_ERROR(interpreter.Charge(64));
    return interpreter.Own(std::make_shared<BoundMethod>(object, std::string(name)));
  }
  if (object.Is(ValueKind::kObject)) return object.object()->GetAttribute(name);
  if (object.IsList() && object.list()->is_group && name == "grouper") return object.list()->items[0];
  if (object.IsList() && object.list()->is_group && name == "list") return object.list()->items[1];
  *found = false;
  return NoAttribute(object, name);
}

const Value* FindKey(const Value& object, const Value& key) {
  return object.IsDict() && IsHashable(key) ? object.dict().Find(key) : nullptr;
}

// Whether an index within [-size, size) was made one within [0, size).
bool ResolveIndex(int64_t index, size_t size, size_t* resolved) {
  const auto signed_size = static_cast<int64_t>(size);
  if (index < -signed_size || index >= signed_size) return false;
  *resolved = static_cast<size_t>(index < 0 ? index + signed_size : index);
  return true;
}

Value CharacterAt(const Value& string, const Value& key) {
  const std::vector<size_t> offsets = CodePointOffsets(string.text());
  size_t at = 0;
  if (!ResolveIndex(key.integer(), offsets.size() - 1, &at)) return NoElement(string, key);
  return Value(string.text().substr(offsets[at], offsets[at + 1] - offsets[at]), string.markup());
}

bool IsIndexable(const ListObject& list) {
  return list.kind == ListKind::kList || list.kind == ListKind::kTuple || list.kind == ListKind::kRange;
}

struct SliceBounds {
  int64_t start;
  int64_t stop;
  int64_t step;
};

Result<int64_t> SliceIndex(const Value& value, int64_t otherwise) {
  if (value.IsNone()) return otherwise;
  if (value.IsUndefined()) return UndefinedError(value);
  if (!value.IsInteger()) return InvalidArgument("slice indices must be integers or None, not {}", TypeName(value));
  return value.integer();
}

// As slice.indices(): where it starts and stops over `size` items.
Result<SliceBounds> ResolveSlice(const Value& start, const Value& stop, const Value& step, int64_t size) {
  SliceBounds bounds{};
  QUIRE_ASSIGN_OR_RETURN(bounds.step, SliceIndex(step, 1));
  if (bounds.step == 0) return InvalidArgument("slice step cannot be zero");
  bounds.step = std::clamp<int64_t>(bounds.step, -INT64_MAX, INT64_MAX);
  const bool forward = bounds.step > 0;
  const int64_t low = forward ? 0 : -1;
  const int64_t high = forward ? size : size - 1;
  const auto resolve = [&](int64_t index) { return std::clamp(index < 0 ? index + size : index, low, high); };
  QUIRE_ASSIGN_OR_RETURN(const int64_t from, SliceIndex(start, 0));
  QUIRE_ASSIGN_OR_RETURN(const int64_t to, SliceIndex(stop, 0));
  bounds.start = start.IsNone() ? (forward ? low : high) : resolve(from);
  bounds.stop = stop.IsNone() ? (forward ? high : low) : resolve(to);
  return bounds;
}

template <typename Take>
void ForEachIndex(const SliceBounds& bounds, Take take) {
  int64_t at = bounds.start;
  while (bounds.step > 0 ? at < bounds.stop : at > bounds.stop) {
    take(static_cast<size_t>(at));
    if (__builtin_add_overflow(at, bounds.step, &at)) break;
  }
}

Result<Value> SliceString(const Value& object, const Value& start, const Value& stop, const Value& step) {
  const std::string& text = object.text();
  const std::vector<size_t> offsets = CodePointOffsets(text);
  QUIRE_ASSIGN_OR_RETURN(const SliceBounds bounds,
                         ResolveSlice(start, stop, step, static_cast<int64_t>(offsets.size() - 1)));
  std::string out;
  ForEachIndex(bounds, [&](size_t i) { out.append(text, offsets[i], offsets[i + 1] - offsets[i]); });
  return Value(std::move(out), object.markup());
}

}  // namespace

Result<Value> Binary(Operator op, const Value& a, const Value& b) {
  if (op == Operator::kModulo && a.IsString()) return FormatPercent(a, b);
  if (a.IsUndefined()) return UndefinedError(a);
  if (b.IsUndefined()) return UndefinedError(b);
  if (a.IsInteger() && b.IsInteger()) return IntegerBinary(op, a.integer(), b.integer());
  if (a.IsNumber() && b.IsNumber()) return FloatBinary(op, a.number(), b.number());
  if (op == Operator::kAdd) return Add(a, b);
  if (op == Operator::kMultiply) return Multiply(a, b);
  return Unsupported(Symbol(op), a, b);
}

Result<bool> CompareBy(Operator op, const Value& a, const Value& b) {
  if (op == Operator::kEqual) return Equal(a, b);
  if (op == Operator::kNotEqual) return !Equal(a, b);
  if (op == Operator::kIn) return Contains(b, a);
  if (op == Operator::kNotIn) {
    QUIRE_ASSIGN_OR_RETURN(const bool found, Contains(b, a));
    return !found;
  }
  if (a.IsNumber() && b.IsNumber() && (std::isnan(a.number()) || std::isnan(b.number()))) return false;
  QUIRE_ASSIGN_OR_RETURN(const int order, Compare(a, b));
  if (op == Operator::kLess) return order < 0;
  if (op == Operator::kLessEqual) return order <= 0;
  return op == Operator::kGreater ? order > 0 : order >= 0;
}

Result<Value> Negate(const Value& value) {
  if (value.IsUndefined()) return UndefinedError(value);
  if (value.IsInteger()) return IntegerBinary(Operator::kSubtract, 0, value.integer());
  if (value.IsFloat()) return Value(-value.number());
  return InvalidArgument("bad operand type for unary -: '{}'", TypeName(value));
}

Result<int64_t> Length(const Value& value) {
  if (value.IsUndefined()) return int64_t{0};
  if (value.IsString()) return static_cast<int64_t>(CountCodePoints(value.text()));
  if (value.IsDict()) return static_cast<int64_t>(value.dict().size());
  if (value.IsList() && value.list()->kind != ListKind::kGenerator) {
    return static_cast<int64_t>(value.list()->items.size());
  }
  return InvalidArgument("object of type '{}' has no len()", TypeName(value));
}

Result<Value> GetAttribute(Interpreter& interpreter, const Value& object, std::string_view name) {
  if (object.IsUndefined()) return UndefinedError(object);
  bool found = false;
  QUIRE_ASSIGN_OR_RETURN(Value attribute, FindAttribute(interpreter, object, name, &found));
  if (found || !object.IsDict()) return attribute;
  const Value* entry = object.dict().Find(name);
  return entry == nullptr ? attribute : *entry;
}

Result<Value> GetItem(Interpreter& interpreter, const Value& object, const Value& key) {
  if (object.IsUndefined()) return UndefinedError(object);
  if (const Value* entry = FindKey(object, key)) return *entry;
  if (key.IsInteger() && object.IsString()) return CharacterAt(object, key);
  if (key.IsInteger() && object.IsList() && IsIndexable(*object.list())) {
    size_t at = 0;
    const auto& items = object.list()->items;
    return ResolveIndex(key.integer(), items.size(), &at) ? items[at] : NoElement(object, key);
  }
  if (!key.IsString()) return NoElement(object, key);
  bool found = false;
  return FindAttribute(interpreter, object, key.text(), &found);
}

Result<Value> Slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.IsUndefined()) return UndefinedError(object);
  if (object.IsString()) return SliceString(object, start, stop, step);
  if (!object.IsList() || !IsIndexable(*object.list())) {
    return InvalidArgument("'{}' object cannot be sliced", TypeName(object));
  }
  const ListObject& list = *object.list();
  QUIRE_ASSIGN_OR_RETURN(const SliceBounds bounds,
                         ResolveSlice(start, stop, step, static_cast<int64_t>(list.items.size())));
  std::vector<Value> items;
  ForEachIndex(bounds, [&](size_t i) { items.push_back(list.items[i]); });
  return MakeList(std::move(items), list.kind == ListKind::kTuple ? ListKind::kTuple : ListKind::kList);
}

}  // namespace quire::jinja
