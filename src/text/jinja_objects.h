// The objects that templates meet besides data: macros, namespaces, the loop variable, bound methods.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_interpreter.h"

namespace quire::jinja {

class MacroObject : public Object {
 public:
  MacroObject(const MacroDefinition& definition, std::shared_ptr<Scope> scope)
      : definition_(definition), scope_(std::move(scope)) {}
  std::string TypeName() const override { return "Macro"; }
  bool IsCallable() const override { return true; }
  Result<Value> GetAttribute(std::string_view name) override;
  Result<Value> Call(Interpreter& interpreter, const Arguments& arguments) override;
  void Release() override { scope_.reset(); }

  const MacroDefinition& definition() const { return definition_; }
  const std::shared_ptr<Scope>& scope() const { return scope_; }

 private:
  const MacroDefinition& definition_;
  std::shared_ptr<Scope> scope_;  // where it was defined
};

class NamespaceObject : public Object {
 public:
  std::string TypeName() const override { return "Namespace"; }
  std::string Repr() const override;
  Result<Value> GetAttribute(std::string_view name) override;
  void Release() override { attributes_.clear(); }
  void Set(std::string_view name, Value value);

 private:
  std::vector<std::pair<std::string, Value>> attributes_;
};

class LoopObject : public Object {
 public:
  LoopObject(const ForStatement& statement, std::shared_ptr<Scope> scope, std::shared_ptr<const ListObject> items,
             int64_t depth)
      : statement_(statement), scope_(std::move(scope)), items_(std::move(items)), depth_(depth) {}
  std::string TypeName() const override { return "LoopContext"; }
  bool IsCallable() const override { return statement_.recursive; }
  Result<Value> GetAttribute(std::string_view name) override;
  Result<Value> Call(Interpreter& interpreter, const Arguments& arguments) override;
  void Release() override;

  bool HasMethod(std::string_view name) const override { return name == "cycle" || name == "changed"; }
  Result<Value> CallMethod(std::string_view name, const Arguments& arguments) override {
    return name == "cycle" ? Cycle(arguments) : Changed(arguments);
  }

  void MoveTo(size_t index) { index_ = index; }

 private:
  Result<Value> Cycle(const Arguments& arguments) const;
  Value Changed(const Arguments& arguments);

  const ForStatement& statement_;
  std::shared_ptr<Scope> scope_;
  std::shared_ptr<const ListObject> items_;
  int64_t depth_;
  size_t index_ = 0;
  std::vector<Value> last_changed_;
  bool has_changed_ = false;
};

// cycler(...): its items one after the other, over and over, a step at each next().
class CyclerObject : public Object {
 public:
  explicit CyclerObject(std::vector<Value> items) : items_(std::move(items)) {}  // REQUIRES: not empty
  std::string TypeName() const override { return "Cycler"; }
  Result<Value> GetAttribute(std::string_view name) override;
  bool HasMethod(std::string_view name) const override { return name == "next" || name == "reset"; }
  Result<Value> CallMethod(std::string_view name, const Arguments& arguments) override;
  void Release() override { items_.resize(1, Value()); }

 private:
  std::vector<Value> items_;
  size_t position_ = 0;
};

// joiner(sep): nothing when it is called first, then the separator.
class JoinerObject : public Object {
 public:
  explicit JoinerObject(Value separator) : separator_(std::move(separator)) {}
  std::string TypeName() const override { return "Joiner"; }
  bool IsCallable() const override { return true; }
  Result<Value> Call(Interpreter& interpreter, const Arguments& arguments) override;
  void Release() override { separator_ = Value(); }

 private:
  Value separator_;
  bool used_ = false;
};

// `self`, whose attributes are the template's blocks; called, each is what the block writes.
class SelfObject : public Object {
 public:
  explicit SelfObject(const Interpreter& interpreter) : interpreter_(interpreter) {}
  std::string TypeName() const override { return "TemplateReference"; }
  Result<Value> GetAttribute(std::string_view name) override;

 private:
  const Interpreter& interpreter_;
};

class BlockFunction : public Object {
 public:
  explicit BlockFunction(std::string name) : name_(std::move(name)) {}
  std::string TypeName() const override { return "BlockReference"; }
  bool IsCallable() const override { return true; }
  Result<Value> Call(Interpreter& interpreter, const Arguments& arguments) override;

 private:
  std::string name_;
};

// `text.strip` before it is called.
class BoundMethod : public Object {
 public:
  BoundMethod(Value receiver, std::string name) : receiver_(std::move(receiver)), name_(std::move(name)) {}
  std::string TypeName() const override { return "builtin_function_or_method"; }
  bool IsCallable() const override { return true; }
  Result<Value> Call(Interpreter& interpreter, const Arguments& arguments) override;
  void Release() override { receiver_ = Value(); }

 private:
  Value receiver_;
  std::string name_;
};

// A function of the environment: range, namespace, raise_exception...
class GlobalFunction : public Object {
 public:
  explicit GlobalFunction(std::string name) : name_(std::move(name)) {}
  std::string TypeName() const override { return "function"; }
  bool IsCallable() const override { return true; }
  // dict.fromkeys(keys, value) is the only one.
  bool HasMethod(std::string_view name) const override { return name_ == "dict" && name == "fromkeys"; }
  Result<Value> CallMethod(std::string_view name, const Arguments& arguments) override;
  Result<Value> Call(Interpreter& interpreter, const Arguments& arguments) override;

 private:
  std::string name_;
};

}  // namespace quire::jinja
