#include "text/jinja_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

constexpr size_t kScannedEntries = 8;

Status CheckSize(uint32_t nesting, uint64_t weight) {
  if (nesting > kMaxNesting) return InvalidArgument("values are nested more than {} deep", kMaxNesting);
  if (weight > kMaxWeight) return InvalidArgument("a value is larger than {} bytes", kMaxWeight);
  return {};
}

// Equal keys have equal hash keys (1 == 1.0 == True).
std::string HashKey(const Value& key);

std::string NumberHashKey(const Value& key) {
  const double number = key.number();
  const bool whole = key.IsInteger() || (std::floor(number) == number && std::abs(number) < 9e18);
  if (!whole) return fmt::format("f{}", number);
  return fmt::format("i{}", key.IsInteger() ? key.integer() : static_cast<int64_t>(number));
}

std::string HashKey(const Value& key) {
  if (key.IsString()) return "s" + key.text();
  if (key.IsNumber()) return NumberHashKey(key);
  if (key.Is(ValueKind::kObject)) return fmt::format("o{}", static_cast<const void*>(key.object().get()));
  if (!key.IsList()) return key.IsNone() ? "n" : "u";
  std::string joined = "t";
  for (const Value& item : key.list()->items) {
    const std::string part = HashKey(item);
    joined += fmt::format("{}:{}", part.size(), part);
  }
  return joined;
}

bool EqualLists(const ListObject& a, const ListObject& b) {
  if (a.kind != b.kind || a.items.size() != b.items.size()) return false;
  if (a.kind == ListKind::kGenerator || a.kind == ListKind::kValuesView) return &a == &b;
  return std::equal(a.items.begin(), a.items.end(), b.items.begin(), Equal);
}

bool EqualDicts(const DictObject& a, const DictObject& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const auto& entry) {
    const Value* other = b.Find(entry.first);
    return other != nullptr && Equal(entry.second, *other);
  });
}

int Sign(auto a, auto b) { return a < b ? -1 : (b < a ? 1 : 0); }

Result<int> CompareLists(const ListObject& a, const ListObject& b) {
  const size_t common = std::min(a.items.size(), b.items.size());
  for (size_t i = 0; i < common; ++i) {
    if (!Equal(a.items[i], b.items[i])) return Compare(a.items[i], b.items[i]);
  }
  return Sign(a.items.size(), b.items.size());
}

std::string ReprItems(const std::vector<Value>& items) {
  std::string out;
  for (const Value& item : items) {
    if (!out.empty()) out += ", ";
    out += Repr(item);
  }
  return out;
}

std::string ListRepr(const ListObject& list) {
  switch (list.kind) {
    case ListKind::kList:
      return "[" + ReprItems(list.items) + "]";
    case ListKind::kTuple:
      return "(" + ReprItems(list.items) + (list.items.size() == 1 ? ",)" : ")");
    case ListKind::kRange:
      return list.shown;
    case ListKind::kGenerator:
      return "<generator object>";
    case ListKind::kKeysView:
      return "dict_keys([" + ReprItems(list.items) + "])";
    case ListKind::kValuesView:
      return "dict_values([" + ReprItems(list.items) + "])";
    case ListKind::kItemsView:
      return "dict_items([" + ReprItems(list.items) + "])";
  }
  return "";
}

std::string DictRepr(const DictObject& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.entries()) {
    if (out.size() > 1) out += ", ";
    out += Repr(key) + ": " + Repr(value);
  }
  return out + "}";
}

void AppendEscaped(char32_t code_point, std::string* out) {
  if (code_point < 0x100) {
    out->append(fmt::format("\\x{:02x}", static_cast<uint32_t>(code_point)));
  } else if (code_point < 0x10000) {
    out->append(fmt::format("\\u{:04x}", static_cast<uint32_t>(code_point)));
  } else {
    out->append(fmt::format("\\U{:08x}", static_cast<uint32_t>(code_point)));
  }
}

}  // namespace

Value Value::Undefined(std::string reason) {
  Value value;
  value.state_ = std::make_shared<const std::string>(std::move(reason));
  return value;
}

std::string Value::undefined_reason() const {
  const auto& reason = std::get<UndefinedReason>(state_);
  return reason == nullptr ? "value is undefined" : *reason;
}

uint32_t Value::nesting() const {
  if (IsList()) return list()->nesting;
  return IsDict() ? dict().nesting() : 0;
}

uint64_t Value::weight() const {
  if (IsString()) return text().size() + 1;
  if (IsList()) return list()->weight;
  return IsDict() ? dict().weight() : 1;
}

uint64_t Value::shallow_cost() const {
  if (IsString()) return text().size() / 64;
  if (IsList()) return list()->items.size() / 16;
  return IsDict() ? dict().size() / 16 : 0;
}

bool Value::SameAs(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case ValueKind::kString:
      return std::get<StringPtr>(state_) == std::get<StringPtr>(other.state_) || text() == other.text();
    case ValueKind::kList:
      return list() == other.list();
    case ValueKind::kDict:
      return &dict() == &other.dict();
    case ValueKind::kObject:
      return object() == other.object();
    default:
      return Equal(*this, other);
  }
}

Status DictObject::Set(Value key, Value value) {
  if (!IsHashable(key)) return InvalidArgument("unhashable type: '{}'", TypeName(key));
  const uint32_t nesting = std::max({nesting_, value.nesting() + 1, key.nesting() + 1});
  const uint64_t weight = weight_ + key.weight() + value.weight();
  QUIRE_RETURN_IF_ERROR(CheckSize(nesting, weight));
  nesting_ = nesting;
  weight_ = weight;
  if (const Value* found = Find(key)) {
    *const_cast<Value*>(found) = std::move(value);
    return {};
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() <= kScannedEntries) return {};
  if (index_.empty()) {
    for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(HashKey(entries_[i].first), i);
  } else {
    index_.emplace(HashKey(entries_.back().first), entries_.size() - 1);
  }
  return {};
}

const Value* DictObject::Find(const Value& key) const {
  if (!index_.empty()) {
    const auto found = index_.find(HashKey(key));
    return found == index_.end() ? nullptr : &entries_[found->second].second;
  }
  for (const auto& [candidate, value] : entries_) {
    if (Equal(candidate, key)) return &value;
  }
  return nullptr;
}

const Value* DictObject::Find(std::string_view key) const {
  if (!index_.empty()) {
    const auto found = index_.find("s" + std::string(key));
    return found == index_.end() ? nullptr : &entries_[found->second].second;
  }
  for (const auto& [candidate, value] : entries_) {
    if (candidate.IsString() && candidate.text() == key) return &value;
  }
  return nullptr;
}

std::string Object::Repr() const { return "<" + TypeName() + " object>"; }

Result<Value> Object::GetAttribute(std::string_view name) {
  return Value::Undefined(fmt::format("'{} object' has no attribute '{}'", TypeName(), name));
}

Result<Value> Object::CallMethod(std::string_view name, const Arguments&) {
  return InvalidArgument("'{}' object has no method '{}'", TypeName(), name);
}

Result<Value> Object::Call(Interpreter&, const Arguments&) {
  return InvalidArgument("'{}' object is not callable", TypeName());
}

const Value* Arguments::FindNamed(std::string_view name) const {
  for (const auto& [candidate, value] : named) {
    if (candidate == name) return &value;
  }
  return nullptr;
}

Result<Value> MakeList(std::vector<Value> items, ListKind kind) {
  uint32_t nesting = 1;
  uint64_t weight = 1;
  for (const Value& item : items) {
    nesting = std::max(nesting, item.nesting() + 1);
    weight += item.weight();
  }
  QUIRE_RETURN_IF_ERROR(CheckSize(nesting, weight));
  auto list = std::make_shared<ListObject>();
  list->items = std::move(items);
  list->kind = kind;
  list->nesting = nesting;
  list->weight = weight;
  return Value(std::move(list));
}

Result<Value> MakeDict(std::shared_ptr<DictObject> dict) {
  return Value(std::shared_ptr<const DictObject>(std::move(dict)));
}

std::string TypeName(const Value& value) {
  static constexpr std::array<const char*, 7> kListNames = {"list",      "tuple",       "range",     "generator",
                                                            "dict_keys", "dict_values", "dict_items"};
  switch (value.kind()) {
    case ValueKind::kUndefined:
      return "Undefined";
    case ValueKind::kNone:
      return "NoneType";
    case ValueKind::kBool:
      return "bool";
    case ValueKind::kInt:
      return "int";
    case ValueKind::kFloat:
      return "float";
    case ValueKind::kString:
      return value.markup() ? "Markup" : "str";
    case ValueKind::kList:
      return kListNames[static_cast<size_t>(value.list()->kind)];
    case ValueKind::kDict:
      return "dict";
    case ValueKind::kObject:
      return value.object()->TypeName();
  }
  return "";
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case ValueKind::kUndefined:
    case ValueKind::kNone:
      return false;
    case ValueKind::kBool:
    case ValueKind::kInt:
      return value.integer() != 0;
    case ValueKind::kFloat:
      return value.number() != 0;
    case ValueKind::kString:
      return !value.text().empty();
    case ValueKind::kList:
      return value.list()->kind == ListKind::kGenerator || !value.list()->items.empty();
    case ValueKind::kDict:
      return value.dict().size() != 0;
    case ValueKind::kObject:
      return true;
  }
  return false;
}

bool IsHashable(const Value& value) {
  if (value.IsDict()) return false;
  if (!value.IsList()) return true;
  const ListObject& list = *value.list();
  return list.kind == ListKind::kTuple && std::all_of(list.items.begin(), list.items.end(), IsHashable);
}

bool Equal(const Value& a, const Value& b) {
  if (a.IsInteger() && b.IsInteger()) return a.integer() == b.integer();
  if (a.IsNumber() && b.IsNumber()) return a.number() == b.number();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case ValueKind::kString:
      return a.text() == b.text();
    case ValueKind::kList:
      return EqualLists(*a.list(), *b.list());
    case ValueKind::kDict:
      return EqualDicts(a.dict(), b.dict());
    case ValueKind::kObject:
      return a.object() == b.object();
    default:
      return true;
  }
}

Result<int> Compare(const Value& a, const Value& b) {
  if (a.IsUndefined()) return UndefinedError(a);
  if (b.IsUndefined()) return UndefinedError(b);
  if (a.IsInteger() && b.IsInteger()) return Sign(a.integer(), b.integer());
  if (a.IsNumber() && b.IsNumber()) return Sign(a.number(), b.number());
  if (a.IsString() && b.IsString()) return Sign(a.text().compare(b.text()), 0);
  const bool lists = a.IsList() && b.IsList() && a.list()->kind == b.list()->kind;
  if (lists && (a.list()->kind == ListKind::kList || a.list()->kind == ListKind::kTuple)) {
    return CompareLists(*a.list(), *b.list());
  }
  return InvalidArgument("values of type '{}' and '{}' have no order", TypeName(a), TypeName(b));
}

Result<bool> Contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case ValueKind::kUndefined:
      return false;
    case ValueKind::kString:
      if (item.IsString()) return container.text().find(item.text()) != std::string::npos;
      return InvalidArgument("'in <string>' requires string as left operand, not {}", TypeName(item));
    case ValueKind::kDict:
      if (IsHashable(item)) return container.dict().Find(item) != nullptr;
      return InvalidArgument("unhashable type: '{}'", TypeName(item));
    case ValueKind::kList: {
      QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(container));
      return std::any_of(items->items.begin(), items->items.end(), [&](const Value& v) { return Equal(v, item); });
    }
    default:
      return InvalidArgument("argument of type '{}' is not iterable", TypeName(container));
  }
}

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  std::string text(buffer.data(), end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string StringRepr(std::string_view text) {
  const bool double_quotes = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t offset = 0; offset < text.size();) {
    const char32_t code_point = NextCodePoint(text, &offset);
    if (code_point == U'\n') {
      out += "\\n";
    } else if (code_point == U'\r') {
      out += "\\r";
    } else if (code_point == U'\t') {
      out += "\\t";
    } else if (code_point == U'\\' || code_point == static_cast<unsigned char>(quote)) {
      out += '\\';
      out += static_cast<char>(code_point);
    } else if (IsPrintable(code_point)) {
      AppendCodePoint(code_point, &out);
    } else {
      AppendEscaped(code_point, &out);
    }
  }
  return out + quote;
}

std::string Repr(const Value& value) {
  switch (value.kind()) {
    case ValueKind::kUndefined:
      return "Undefined";
    case ValueKind::kNone:
      return "None";
    case ValueKind::kBool:
      return value.boolean() ? "True" : "False";
    case ValueKind::kInt:
      return std::to_string(value.integer());
    case ValueKind::kFloat:
      return FloatRepr(value.number());
    case ValueKind::kString:
      return value.markup() ? "Markup(" + StringRepr(value.text()) + ")" : StringRepr(value.text());
    case ValueKind::kList:
      return ListRepr(*value.list());
    case ValueKind::kDict:
      return DictRepr(value.dict());
    case ValueKind::kObject:
      return value.object()->Repr();
  }
  return "";
}

std::string Str(const Value& value) {
  if (value.IsString()) return value.text();
  return value.IsUndefined() ? "" : Repr(value);
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Result<std::shared_ptr<const ListObject>> Iterate(const Value& value) {
  auto items = std::make_shared<ListObject>();
  switch (value.kind()) {
    case ValueKind::kUndefined:
      break;
    case ValueKind::kString: {
      const std::string_view text = value.text();
      for (size_t offset = 0; offset < text.size();) {
        const size_t start = offset;
        NextCodePoint(text, &offset);
        items->items.push_back(Value(std::string(text.substr(start, offset - start))));
      }
      break;
    }
    case ValueKind::kDict:
      for (const auto& [key, unused] : value.dict().entries()) items->items.push_back(key);
      break;
    case ValueKind::kList: {
      const auto& list = value.list();
      if (list->kind != ListKind::kGenerator) return std::shared_ptr<const ListObject>(list);
      if (!list->consumed) items->items = list->items;
      list->consumed = true;
      break;
    }
    default:
      return InvalidArgument("'{}' object is not iterable", TypeName(value));
  }
  return std::shared_ptr<const ListObject>(std::move(items));
}

Error UndefinedError(const Value& value) { return InvalidArgument("{}", value.undefined_reason()); }

}  // namespace quire::jinja
