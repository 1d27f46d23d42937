// The syntax tree of a template. Built by the parser, then constant and shared by every rendering.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja_value.h"

namespace quire::jinja {

// A variable's name, numbered by the parser.
enum class NameId : uint32_t {};

// The tree is no higher than this: parsing, evaluating and destroying recurse.
inline constexpr uint32_t kMaxTreeHeight = 200;

enum class ExpressionKind : uint8_t {
  kConstant,
  kName,
  kList,         // children: items
  kTuple,        // children: items
  kDict,         // children: key, value, key, value...
  kAttribute,    // children: object; text: attribute
  kItem,         // children: object, key
  kSlice,        // children: object, start, stop, step (each of the last three may be null)
  kCall,         // children: callee; arguments
  kFilter,       // children: input (null in a filter block); text: filter; arguments
  kTest,         // children: input; text: test; arguments
  kNot,          // children: operand
  kNegate,       // children: operand
  kPlus,         // children: operand
  kBinary,       // children: left, right; op
  kAnd,          // children: left, right
  kOr,           // children: left, right
  kConcat,       // children: parts
  kCompare,      // children: n operands; ops: n - 1
  kConditional,  // children: condition, then, else (may be null)
};

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr spread_positional;  // *args
  ExpressionPtr spread_named;       // **kwargs
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  int line = 0;
  uint32_t height = 1;
  NameId name{};
  Operator op{};
  Value constant;
  std::string text;
  std::vector<ExpressionPtr> children;
  std::vector<Operator> ops;
  CallArguments arguments;
};

struct Statement;
using Block = std::vector<Statement>;

// What `set` and `for` assign to: a name, an attribute of a namespace, or a tuple of those.
struct Target {
  NameId name{};
  std::string attribute;
  std::vector<Target> tuple;
};

struct TextStatement {
  std::string text;
};

struct PrintStatement {
  ExpressionPtr expression;
};

struct IfStatement {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};

struct ForStatement {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr filter;  // may be null
  bool recursive = false;
  Block body;
  Block otherwise;
};

struct SetStatement {
  Target target;
  ExpressionPtr value;
};

struct SetBlockStatement {
  Target target;
  ExpressionPtr filter;  // a chain of kFilter whose innermost input is null; may be null
  Block body;
};

struct MacroDefinition {
  std::string name;
  std::vector<std::pair<NameId, std::string>> parameters;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  Block body;
};

struct MacroStatement {
  NameId name{};
  MacroDefinition definition;
};

struct CallBlockStatement {
  ExpressionPtr call;
  MacroDefinition caller;
};

struct FilterBlockStatement {
  ExpressionPtr filter;
  Block body;
};

// `with`, `generation`: a body in a scope of its own.
struct ScopeStatement {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Block body;
};

// A part of the template by name. It sees the template's own variables; those of the loops and scopes around it only
// when it is `scoped`.
struct NamedBlock {
  std::string name;
  bool scoped = false;
  bool required = false;  // must be overridden, which a template that extends nothing cannot
  Block body;
};

struct NamedBlockStatement {
  std::shared_ptr<const NamedBlock> block;
};

struct BreakStatement {};
struct ContinueStatement {};

struct Statement {
  int line = 0;
  std::variant<TextStatement, PrintStatement, IfStatement, ForStatement, SetStatement, SetBlockStatement,
               MacroStatement, CallBlockStatement, FilterBlockStatement, ScopeStatement, NamedBlockStatement,
               BreakStatement, ContinueStatement>
      node;
};

struct Template {
  Block body;
  std::vector<std::shared_ptr<const NamedBlock>> blocks;
  std::vector<std::string> names;  // by NameId
};

// The names that mean something to the interpreter itself.
inline constexpr NameId kLoopName{0};
inline constexpr NameId kCallerName{1};
inline constexpr NameId kVarargsName{2};
inline constexpr NameId kKwargsName{3};
inline constexpr NameId kSelfName{4};

}  // namespace quire::jinja
