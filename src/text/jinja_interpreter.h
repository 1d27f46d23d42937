// Renders a parsed template by walking its tree. One Interpreter renders once, on one thread; it bounds the steps, the
// recursion and the sizes, so that any template over any context ends.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quire/result.h"
#include "text/jinja_ast.h"

namespace quire::jinja {

inline constexpr uint64_t kMaxSteps = 50'000'000;
inline constexpr uint32_t kMaxDepth = 1200;

// The variables of one block of the template; lookups go on in the parent.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> parent_scope) : parent(std::move(parent_scope)) {}
  const Value* Find(NameId name) const;  // here only
  void Set(NameId name, Value value);

  std::shared_ptr<Scope> parent;
  std::vector<std::pair<NameId, Value>> variables;
};

class MacroObject;

class Interpreter {
 public:
  Interpreter(const Template& parsed, std::function<std::time_t()> now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // `defaults`: variables that the context does not set.
  Result<std::string> Render(const DictObject& context, const DictObject& defaults);

  // For the built-in functions.
  Status Charge(uint64_t steps);
  Result<Value> CallValue(const Value& callee, const Arguments& arguments);
  Result<Value> CallMacro(const MacroObject& macro, const Arguments& arguments);
  // What the block writes where it sees the template's own variables; InvalidArgument when there is none of that name.
  Result<Value> CallBlock(std::string_view name);
  bool HasBlock(std::string_view name) const;
  Result<Value> CallLoop(const ForStatement& loop, const std::shared_ptr<Scope>& scope, const Value& iterable,
                         int64_t depth);
  // Keeps the object until the rendering ends.
  Value Own(std::shared_ptr<Object> object);
  std::time_t Now() const { return now_(); }
  // The error of raise_exception, whose message goes out as it is.
  Error Raise(const std::string& message);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Nested;

  Status Emit(std::string_view text);
  Result<Flow> Execute(const Block& block);
  Result<Flow> ExecuteOne(const Statement& statement);
  Result<Flow> Run(const TextStatement& statement);
  Result<Flow> Run(const PrintStatement& statement);
  Result<Flow> Run(const IfStatement& statement);
  Result<Flow> Run(const ForStatement& statement);
  Result<Flow> Run(const SetStatement& statement);
  Result<Flow> Run(const SetBlockStatement& statement);
  Result<Flow> Run(const MacroStatement& statement);
  Result<Flow> Run(const CallBlockStatement& statement);
  Result<Flow> Run(const FilterBlockStatement& statement);
  Result<Flow> Run(const ScopeStatement& statement);
  Result<Flow> Run(const NamedBlockStatement& statement);
  Result<Flow> Run(const BreakStatement&) { return Flow::kBreak; }
  Result<Flow> Run(const ContinueStatement&) { return Flow::kContinue; }

  Result<Flow> RunLoop(const ForStatement& loop, const Value& iterable, int64_t depth);
  Result<std::shared_ptr<const ListObject>> LoopItems(const ForStatement& loop, const Value& iterable);
  // The block's output in a scope of its own below `parent`.
  Result<std::string> Capture(const Block& block, std::shared_ptr<Scope> scope);
  Result<std::string> RenderBlock(const NamedBlock& block, std::shared_ptr<Scope> around);
  Status Assign(const Target& target, const Value& value);
  Status BindParameters(const MacroObject& macro, const Arguments& arguments, Scope* scope);

  Result<Value> Evaluate(const Expression& node);
  Result<Value> EvaluateKind(const Expression& node);
  Result<Value> EvaluateName(const Expression& node);
  Result<Value> EvaluateItems(const Expression& node, ListKind kind);
  Result<Value> EvaluateDict(const Expression& node);
  Result<Value> EvaluateSlice(const Expression& node);
  Result<Value> EvaluateCall(const Expression& node, const Value* caller = nullptr);
  Result<Value> EvaluateFilter(const Expression& node, const Value* input = nullptr);
  Result<Value> EvaluateTest(const Expression& node);
  Result<Value> EvaluateBinary(const Expression& node);
  Result<Value> EvaluateConcat(const Expression& node);
  Result<Value> EvaluateCompare(const Expression& node);
  Result<Value> EvaluateConditional(const Expression& node);
  Result<Arguments> EvaluateArguments(const CallArguments& arguments);
  Result<Value> Produced(Result<Value> value);
  const Value* FindVariable(NameId name) const;

  const Template& template_;
  const std::function<std::time_t()> now_;
  std::shared_ptr<Scope> template_scope_;  // what `set` outside of loops and macros writes to
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  uint64_t steps_ = 0;
  uint32_t depth_ = 0;
  bool located_ = false;  // whether the error under way says where it arose
  std::vector<std::shared_ptr<Object>> objects_;
};

}  // namespace quire::jinja
