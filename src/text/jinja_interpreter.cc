#include "text/jinja_interpreter.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja_builtins.h"
#include "text/jinja_objects.h"
#include "text/jinja_operators.h"

namespace quire::jinja {
namespace {

constexpr uint64_t kStepsPerObject = 64;
constexpr uint64_t kStepsPerIteration = 8;
constexpr uint64_t kBytesPerStep = 64;

Error TooDeep() { return InvalidArgument("the template recurses too deeply"); }

}  // namespace

const Value* Scope::Find(NameId name) const {
  for (const auto& [candidate, value] : variables) {
    if (candidate == name) return &value;
  }
  return nullptr;
}

void Scope::Set(NameId name, Value value) {
  for (auto& [candidate, held] : variables) {
    if (candidate == name) {
      held = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

// One level of recursion, while it lives.
class Interpreter::Nested {
 public:
  explicit Nested(Interpreter* interpreter) : interpreter_(*interpreter) { ++interpreter_.depth_; }
  ~Nested() { --interpreter_.depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  bool TooDeep() const { return interpreter_.depth_ > kMaxDepth; }

 private:
  Interpreter& interpreter_;
};

Interpreter::Interpreter(const Template& parsed, std::function<std::time_t()> now)
    : template_(parsed), now_(std::move(now)) {}

Interpreter::~Interpreter() {
  scope_.reset();
  template_scope_.reset();
  for (const auto& object : objects_) object->Release();
}

Value Interpreter::Own(std::shared_ptr<Object> object) {
  objects_.push_back(object);
  return Value(std::move(object));
}

Status Interpreter::Charge(uint64_t steps) {
  steps_ += steps;
  if (steps_ > kMaxSteps) return InvalidArgument("the template takes more than {} steps", kMaxSteps);
  return {};
}

Error Interpreter::Raise(const std::string& message) {
  located_ = true;
  return InvalidArgument("{}", message);
}

Result<std::string> Interpreter::Render(const DictObject& context, const DictObject& defaults) {
  auto globals = std::make_shared<Scope>(nullptr);
  for (uint32_t i = 0; i < template_.names.size(); ++i) {
    const std::string_view name = template_.names[i];
    const Value* value = context.Find(name);
    if (value == nullptr) value = defaults.Find(name);
    if (value != nullptr) globals->Set(NameId{i}, *value);
  }
  scope_ = globals;
  template_scope_ = std::make_shared<Scope>(globals);
  return Capture(template_.body, template_scope_);
}

Status Interpreter::Emit(std::string_view text) {
  if (out_->size() + text.size() > kMaxWeight) return InvalidArgument("the output exceeds {} bytes", kMaxWeight);
  out_->append(text);
  return Charge(text.size() / kBytesPerStep);
}

bool Interpreter::HasBlock(std::string_view name) const {
  return std::ranges::any_of(template_.blocks, [name](const auto& block) { return block->name == name; });
}

Result<std::string> Interpreter::RenderBlock(const NamedBlock& block, std::shared_ptr<Scope> around) {
  if (block.required) return InvalidArgument("required block '{}' not found", block.name);
  const Nested nested(this);
  if (nested.TooDeep()) return TooDeep();
  return Capture(block.body, std::make_shared<Scope>(std::move(around)));
}

Result<Interpreter::Flow> Interpreter::Run(const NamedBlockStatement& statement) {
  const NamedBlock& block = *statement.block;
  QUIRE_ASSIGN_OR_RETURN(const std::string text, RenderBlock(block, block.scoped ? scope_ : template_scope_));
  QUIRE_RETURN_IF_ERROR(Emit(text));
  return Flow::kNext;
}

Result<Value> Interpreter::CallBlock(std::string_view name) {
  for (const auto& block : template_.blocks) {
    if (block->name != name) continue;
    QUIRE_ASSIGN_OR_RETURN(std::string text, RenderBlock(*block, template_scope_));
    return Value(std::move(text));
  }
  return InvalidArgument("there is no block '{}'", name);
}

Result<std::string> Interpreter::Capture(const Block& block, std::shared_ptr<Scope> scope) {
  std::string captured;
  std::string* const outer_out = std::exchange(out_, &captured);
  std::shared_ptr<Scope> outer_scope = std::exchange(scope_, std::move(scope));
  const Result<Flow> flow = Execute(block);
  out_ = outer_out;
  scope_ = std::move(outer_scope);
  if (!flow.ok()) return flow.error();
  return captured;
}

Result<Interpreter::Flow> Interpreter::Execute(const Block& block) {
  for (const Statement& statement : block) {
    QUIRE_ASSIGN_OR_RETURN(const Flow flow, ExecuteOne(statement));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteOne(const Statement& statement) {
  const Nested nested(this);
  if (nested.TooDeep()) return TooDeep();
  QUIRE_RETURN_IF_ERROR(Charge(1));
  Result<Flow> flow = std::visit([this](const auto& node) { return Run(node); }, statement.node);
  if (flow.ok() || located_) return flow;
  located_ = true;
  return MakeError(flow.error().code, "chat template, line {}: {}", statement.line, flow.error().message);
}

Result<Interpreter::Flow> Interpreter::Run(const TextStatement& statement) {
  QUIRE_RETURN_IF_ERROR(Emit(statement.text));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::Run(const PrintStatement& statement) {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression));
  QUIRE_RETURN_IF_ERROR(value.IsString() ? Emit(value.text()) : Emit(Str(value)));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::Run(const IfStatement& statement) {
  for (const auto& [condition, body] : statement.branches) {
    QUIRE_ASSIGN_OR_RETURN(const Value value, Evaluate(*condition));
    if (Truth(value)) return Execute(body);
  }
  return Execute(statement.otherwise);
}

Result<Interpreter::Flow> Interpreter::Run(const ForStatement& statement) {
  QUIRE_ASSIGN_OR_RETURN(const Value iterable, Evaluate(*statement.iterable));
  return RunLoop(statement, iterable, 1);
}

// The items that pass the loop's filter.
Result<std::shared_ptr<const ListObject>> Interpreter::LoopItems(const ForStatement& loop, const Value& iterable) {
  QUIRE_ASSIGN_OR_RETURN(auto items, Iterate(iterable));
  QUIRE_RETURN_IF_ERROR(Charge(kStepsPerIteration * items->items.size()));
  if (loop.filter == nullptr) return items;
  auto passed = std::make_shared<ListObject>();
  const std::shared_ptr<Scope> outer = scope_;
  for (const Value& item : items->items) {
    scope_ = std::make_shared<Scope>(outer);
    QUIRE_RETURN_IF_ERROR(Assign(loop.target, item));
    QUIRE_ASSIGN_OR_RETURN(const Value keep, Evaluate(*loop.filter));
    if (Truth(keep)) passed->items.push_back(item);
  }
  scope_ = outer;
  return std::shared_ptr<const ListObject>(std::move(passed));
}

Result<Interpreter::Flow> Interpreter::RunLoop(const ForStatement& loop, const Value& iterable, int64_t depth) {
  const std::shared_ptr<Scope> outer = scope_;
  QUIRE_ASSIGN_OR_RETURN(const auto items, LoopItems(loop, iterable));
  QUIRE_RETURN_IF_ERROR(Charge(kStepsPerObject));
  const auto state = std::make_shared<LoopObject>(loop, outer, items, depth);
  const Value loop_value = Own(state);
  Flow flow = Flow::kNext;
  for (size_t i = 0; i < items->items.size() && flow != Flow::kBreak; ++i) {
    state->MoveTo(i);
    scope_ = std::make_shared<Scope>(outer);
    scope_->Set(kLoopName, loop_value);
    QUIRE_RETURN_IF_ERROR(Assign(loop.target, items->items[i]));
    QUIRE_ASSIGN_OR_RETURN(flow, Execute(loop.body));
  }
  if (items->items.empty()) {
    scope_ = std::make_shared<Scope>(outer);
    QUIRE_ASSIGN_OR_RETURN(flow, Execute(loop.otherwise));
    scope_ = outer;
    return flow;  // a break in the else branch is the outer loop's
  }
  scope_ = outer;
  return Flow::kNext;
}

Result<Value> Interpreter::CallLoop(const ForStatement& loop, const std::shared_ptr<Scope>& scope,
                                    const Value& iterable, int64_t depth) {
  const Nested nested(this);
  if (nested.TooDeep()) return TooDeep();
  std::string captured;
  std::string* const outer_out = std::exchange(out_, &captured);
  const std::shared_ptr<Scope> outer_scope = std::exchange(scope_, scope);
  const Result<Flow> flow = RunLoop(loop, iterable, depth);
  out_ = outer_out;
  scope_ = outer_scope;
  if (!flow.ok()) return flow.error();
  return Value(std::move(captured));
}

Status Interpreter::Assign(const Target& target, const Value& value) {
  if (target.tuple.empty() && target.attribute.empty()) {
    scope_->Set(target.name, value);
    return {};
  }
  if (target.tuple.empty()) {
    const Value* holder = FindVariable(target.name);
    auto* space = holder != nullptr && holder->Is(ValueKind::kObject)
                      ? dynamic_cast<NamespaceObject*>(holder->object().get())
                      : nullptr;
    if (space == nullptr) return InvalidArgument("cannot assign attribute on non-namespace object");
    space->Set(target.attribute, value);
    return {};
  }
  if (value.IsUndefined()) return UndefinedError(value);
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(value));
  if (items->items.size() != target.tuple.size()) {
    return InvalidArgument("cannot unpack {} values into {} names", items->items.size(), target.tuple.size());
  }
  for (size_t i = 0; i < target.tuple.size(); ++i) QUIRE_RETURN_IF_ERROR(Assign(target.tuple[i], items->items[i]));
  return {};
}

Result<Interpreter::Flow> Interpreter::Run(const SetStatement& statement) {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.value));
  QUIRE_RETURN_IF_ERROR(Assign(statement.target, value));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::Run(const SetBlockStatement& statement) {
  QUIRE_ASSIGN_OR_RETURN(std::string text, Capture(statement.body, std::make_shared<Scope>(scope_)));
  Value value(std::move(text));
  if (statement.filter != nullptr) {
    QUIRE_ASSIGN_OR_RETURN(value, EvaluateFilter(*statement.filter, &value));
  }
  QUIRE_RETURN_IF_ERROR(Assign(statement.target, value));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::Run(const MacroStatement& statement) {
  QUIRE_RETURN_IF_ERROR(Charge(kStepsPerObject));
  scope_->Set(statement.name, Own(std::make_shared<MacroObject>(statement.definition, scope_)));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::Run(const CallBlockStatement& statement) {
  QUIRE_RETURN_IF_ERROR(Charge(kStepsPerObject));
  const Value caller = Own(std::make_shared<MacroObject>(statement.caller, scope_));
  QUIRE_ASSIGN_OR_RETURN(const Value value, EvaluateCall(*statement.call, &caller));
  QUIRE_RETURN_IF_ERROR(Emit(Str(value)));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::Run(const FilterBlockStatement& statement) {
  QUIRE_ASSIGN_OR_RETURN(std::string text, Capture(statement.body, std::make_shared<Scope>(scope_)));
  const Value input(std::move(text));
  QUIRE_ASSIGN_OR_RETURN(const Value value, EvaluateFilter(*statement.filter, &input));
  QUIRE_RETURN_IF_ERROR(Emit(Str(value)));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::Run(const ScopeStatement& statement) {
  const std::shared_ptr<Scope> outer = scope_;
  auto inner = std::make_shared<Scope>(outer);
  for (const auto& [target, expression] : statement.variables) {
    QUIRE_ASSIGN_OR_RETURN(const Value value, Evaluate(*expression));
    scope_ = inner;
    QUIRE_RETURN_IF_ERROR(Assign(target, value));
    scope_ = outer;
  }
  scope_ = inner;
  const Result<Flow> flow = Execute(statement.body);
  scope_ = outer;
  return flow;
}

Status Interpreter::BindParameters(const MacroObject& macro, const Arguments& arguments, Scope* scope) {
  const MacroDefinition& definition = macro.definition();
  const size_t count = definition.parameters.size();
  const size_t required = count - definition.defaults.size();
  size_t named_used = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto& [id, name] = definition.parameters[i];
    const Value* named = arguments.FindNamed(name);
    if (named != nullptr) ++named_used;
    if (named != nullptr && i < arguments.positional.size()) {
      return InvalidArgument("macro '{}' got two values for '{}'", definition.name, name);
    }
    if (i < arguments.positional.size()) named = &arguments.positional[i];
    if (named != nullptr) {
      scope->Set(id, *named);
    } else if (i >= required) {
      QUIRE_ASSIGN_OR_RETURN(Value value, Evaluate(*definition.defaults[i - required]));
      scope->Set(id, std::move(value));
    } else {
      scope->Set(id, Value::Undefined(fmt::format("parameter '{}' was not provided", name)));
    }
  }
  const Value* caller = arguments.FindNamed("caller");
  if (definition.uses_caller && scope->Find(kCallerName) == nullptr) {
    scope->Set(kCallerName, caller == nullptr ? Value::Undefined("no caller defined") : *caller);
    if (caller != nullptr) ++named_used;
  }
  if (definition.uses_varargs) {
    std::vector<Value> rest;
    for (size_t i = count; i < arguments.positional.size(); ++i) rest.push_back(arguments.positional[i]);
    QUIRE_ASSIGN_OR_RETURN(Value tuple, MakeList(std::move(rest), ListKind::kTuple));
    scope->Set(kVarargsName, std::move(tuple));
  } else if (arguments.positional.size() > count) {
    return InvalidArgument("macro '{}' takes not more than {} argument(s)", definition.name, count);
  }
  if (!definition.uses_kwargs) {
    if (named_used == arguments.named.size()) return {};
    return InvalidArgument("macro '{}' got an unexpected named argument", definition.name);
  }
  auto kwargs = std::make_shared<DictObject>();
  for (const auto& [name, value] : arguments.named) {
    const bool known = (definition.uses_caller && name == "caller") ||
                       std::any_of(definition.parameters.begin(), definition.parameters.end(),
                                   [&name = name](const auto& parameter) { return parameter.second == name; });
    if (!known) QUIRE_RETURN_IF_ERROR(kwargs->Set(Value(name), value));
  }
  QUIRE_ASSIGN_OR_RETURN(Value dict, MakeDict(std::move(kwargs)));
  scope->Set(kKwargsName, std::move(dict));
  return {};
}

Result<Value> Interpreter::CallMacro(const MacroObject& macro, const Arguments& arguments) {
  const Nested nested(this);
  if (nested.TooDeep()) return TooDeep();
  auto scope = std::make_shared<Scope>(macro.scope());
  const std::shared_ptr<Scope> outer = std::exchange(scope_, scope);
  const Status bound = BindParameters(macro, arguments, scope.get());
  scope_ = outer;
  QUIRE_RETURN_IF_ERROR(bound);
  QUIRE_ASSIGN_OR_RETURN(std::string text, Capture(macro.definition().body, std::move(scope)));
  return Value(std::move(text));
}

Result<Value> Interpreter::CallValue(const Value& callee, const Arguments& arguments) {
  if (callee.IsUndefined()) return UndefinedError(callee);
  if (callee.Is(ValueKind::kObject)) return callee.object()->Call(*this, arguments);
  return InvalidArgument("'{}' object is not callable", TypeName(callee));
}

const Value* Interpreter::FindVariable(NameId name) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    if (const Value* value = scope->Find(name)) return value;
  }
  return nullptr;
}

}  // namespace quire::jinja
