// The objects that templates meet besides data: macros, namespaces, the loop variable, bound methods.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

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

  void MoveTo(size_t index) { index_ = index; }
  Result<Value> Cycle(const Arguments& arguments) const;
  Value Changed(const Arguments& arguments);
  static bool HasMethod(std::string_view name) { return name == "cycle" || name == "changed"; }

 private:
  const ForStatement& statement_;
  std::shared_ptr<Scope> scope_;
  std::shared_ptr<const ListObject> items_;
  int64_t depth_;
  size_t index_ = 0;
  std::vector<Value> last_changed_;
  bool has_changed_ = false;
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
  Result<Value> Call(Interpreter& interpreter, const Arguments& arguments) override;

 private:
  std::string name_;
};

}  // namespace quire::jinja
