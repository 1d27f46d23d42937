#include "text/jinja_objects.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja_builtins.h"

namespace quire::jinja {

Result<Value> MacroObject::GetAttribute(std::string_view name) {
  if (name == "name") return Value(definition_.name);
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

Result<Value> BoundMethod::Call(Interpreter& interpreter, const Arguments& arguments) {
  return CallMethod(interpreter, receiver_, name_, arguments);
}

Result<Value> GlobalFunction::Call(Interpreter& interpreter, const Arguments& arguments) {
  return CallGlobal(interpreter, name_, arguments);
}

}  // namespace quire::jinja
