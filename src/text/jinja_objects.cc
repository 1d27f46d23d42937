#include "text/jinja_objects.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja_builtins.h"

namespace quire::jinja {

Result<Value> MacroObject::GetAttribute(std::string_view name) {
  if (name == "name") return Value(definition_.name);
  if (name == "caller") return Value(definition_.uses_caller);
  if (name == "catch_varargs") return Value(definition_.uses_varargs);
  if (name == "catch_kwargs") return Value(definition_.uses_kwargs);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& [id, parameter] : definition_.parameters) names.emplace_back(parameter);
    return MakeList(std::move(names), ListKind::kTuple);
  }
  return Object::GetAttribute(name);
}

Result<Value> MacroObject::Call(Interpreter& interpreter, const Arguments& arguments) {
  return interpreter.CallMacro(*this, arguments);
}

Result<Value> NamespaceObject::GetAttribute(std::string_view name) {
  for (const auto& [candidate, value] : attributes_) {
    if (candidate == name) return value;
  }
  return Object::GetAttribute(name);
}

std::string NamespaceObject::Repr() const {
  std::string out = "<Namespace {";
  for (const auto& [name, value] : attributes_) {
    if (out.back() != '{') out += ", ";
    // Namespaces alone form cycles.
    out += StringRepr(name) + ": " + (value.Is(ValueKind::kObject) ? "..." : jinja::Repr(value));
  }
  return out + "}>";
}

void NamespaceObject::Set(std::string_view name, Value value) {
  for (auto& [candidate, held] : attributes_) {
    if (candidate == name) {
      held = std::move(value);
      return;
    }
  }
  attributes_.emplace_back(name, std::move(value));
}

Result<Value> LoopObject::GetAttribute(std::string_view name) {
  const auto length = items_ == nullptr ? size_t{0} : items_->items.size();
  const auto integer = [](size_t value) { return Value(static_cast<int64_t>(value)); };
  if (name == "index") return integer(index_ + 1);
  if (name == "index0") return integer(index_);
  if (name == "revindex") return integer(length - index_);
  if (name == "revindex0") return integer(length - index_ - 1);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(index_ + 1 == length);
  if (name == "length") return integer(length);
  if (name == "depth") return Value(depth_);
  if (name == "depth0") return Value(depth_ - 1);
  if (name == "previtem") return index_ > 0 ? items_->items[index_ - 1] : Value::Undefined("there is no previous item");
  if (name == "nextitem") {
    return index_ + 1 < length ? items_->items[index_ + 1] : Value::Undefined("there is no next item");
  }
  return Object::GetAttribute(name);
}

Result<Value> LoopObject::Call(Interpreter& interpreter, const Arguments& arguments) {
  if (arguments.positional.size() != 1) return InvalidArgument("loop() takes one iterable");
  return interpreter.CallLoop(statement_, scope_, arguments.positional[0], depth_ + 1);
}

void LoopObject::Release() {
  scope_.reset();
  items_.reset();
  index_ = 0;
  last_changed_.clear();
}

Result<Value> LoopObject::Cycle(const Arguments& arguments) const {
  if (arguments.positional.empty()) return InvalidArgument("no items for cycling given");
  return arguments.positional[index_ % arguments.positional.size()];
}

Value LoopObject::Changed(const Arguments& arguments) {
  const bool same = has_changed_ && std::equal(last_changed_.begin(), last_changed_.end(), arguments.positional.begin(),
                                               arguments.positional.end(), Equal);
  has_changed_ = true;
  last_changed_ = arguments.positional;
  return Value(!same);
}

Result<Value> CyclerObject::GetAttribute(std::string_view name) {
  if (name == "current") return items_[position_];
  if (name == "pos") return Value(static_cast<int64_t>(position_));
  if (name == "items") return MakeList(items_, ListKind::kTuple);
  return Object::GetAttribute(name);
}

Result<Value> CyclerObject::CallMethod(std::string_view name, const Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty()) return InvalidArgument("{}() takes nothing", name);
  const Value current = items_[position_];
  position_ = name == "next" ? (position_ + 1) % items_.size() : 0;
  return name == "next" ? current : Value::None();
}

Result<Value> JoinerObject::Call(Interpreter&, const Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty()) return InvalidArgument("a joiner takes nothing");
  if (std::exchange(used_, true)) return separator_;
  return Value(std::string());
}

Result<Value> SelfObject::GetAttribute(std::string_view name) {
  if (!interpreter_.HasBlock(name)) return Object::GetAttribute(name);
  return Value(std::shared_ptr<Object>(std::make_shared<BlockFunction>(std::string(name))));
}

Result<Value> BlockFunction::Call(Interpreter& interpreter, const Arguments&) { return interpreter.CallBlock(name_); }

Result<Value> BoundMethod::Call(Interpreter& interpreter, const Arguments& arguments) {
  return jinja::CallMethod(interpreter, receiver_, name_, arguments);
}

Result<Value> GlobalFunction::CallMethod(std::string_view, const Arguments& arguments) {
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 2) return InvalidArgument("dict.fromkeys() takes keys and a value");
  QUIRE_ASSIGN_OR_RETURN(const auto keys, Iterate(given[0]));
  auto dict = std::make_shared<DictObject>();
  for (const Value& key : keys->items) {
    QUIRE_RETURN_IF_ERROR(dict->Set(key, given.size() == 2 ? given[1] : Value::None()));
  }
  return MakeDict(std::move(dict));
}

Result<Value> GlobalFunction::Call(Interpreter& interpreter, const Arguments& arguments) {
  return CallGlobal(interpreter, name_, arguments);
}

}  // namespace quire::jinja
