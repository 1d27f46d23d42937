// The expression half of the interpreter.
#include <algorithm>

#include "base/error.h"
#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_objects.h"
#include "text/jinja_operators.h"

namespace quire::jinja {

Result<Value> Interpreter::Evaluate(const Expression& node) {
  if (node.kind == ExpressionKind::kConstant) return node.constant;
  QUIRE_RETURN_IF_ERROR(Charge(1));
  if (++depth_ > kMaxDepth) {
    --depth_;
    return InvalidArgument("the template recurses too deeply");
  }
  Result<Value> value = EvaluateKind(node);
  --depth_;
  return value;
}

// Accounts for a value that was just made.
Result<Value> Interpreter::Produced(Result<Value> value) {
  if (!value.ok()) return value;
  if (value->weight() > kMaxWeight) return InvalidArgument("a value is larger than {} bytes", kMaxWeight);
  QUIRE_RETURN_IF_ERROR(Charge(value->shallow_cost()));
  return value;
}

Result<Value> Interpreter::EvaluateKind(const Expression& node) {
  switch (node.kind) {
    case ExpressionKind::kConstant:
      return node.constant;
    case ExpressionKind::kName:
      return EvaluateName(node);
    case ExpressionKind::kList:
      return EvaluateItems(node, ListKind::kList);
    case ExpressionKind::kTuple:
      return EvaluateItems(node, ListKind::kTuple);
    case ExpressionKind::kDict:
      return EvaluateDict(node);
    case ExpressionKind::kSlice:
      return Produced(EvaluateSlice(node));
    case ExpressionKind::kCall:
      return Produced(EvaluateCall(node));
    case ExpressionKind::kFilter:
      return Produced(EvaluateFilter(node));
    case ExpressionKind::kTest:
      return EvaluateTest(node);
    case ExpressionKind::kConcat:
      return Produced(EvaluateConcat(node));
    case ExpressionKind::kCompare:
      return EvaluateCompare(node);
    case ExpressionKind::kConditional:
      return EvaluateConditional(node);
    default:
      break;
  }
  QUIRE_ASSIGN_OR_RETURN(Value value, Evaluate(*node.children[0]));
  switch (node.kind) {
    case ExpressionKind::kAttribute:
      return GetAttribute(*this, value, node.text);
    case ExpressionKind::kNot:
      return Value(!Truth(value));
    case ExpressionKind::kNegate:
      return Negate(value);
    case ExpressionKind::kPlus:
      return Binary(Operator::kAdd, Value(int64_t{0}), value);
    case ExpressionKind::kAnd:
      return Truth(value) ? Evaluate(*node.children[1]) : value;
    case ExpressionKind::kOr:
      return Truth(value) ? value : Evaluate(*node.children[1]);
    default:
      break;
  }
  QUIRE_ASSIGN_OR_RETURN(const Value right, Evaluate(*node.children[1]));
  if (node.kind == ExpressionKind::kItem) return GetItem(*this, value, right);
  return Produced(Binary(node.op, value, right));
}

Result<Value> Interpreter::EvaluateName(const Expression& node) {
  if (const Value* value = FindVariable(node.name)) return *value;
  if (node.name == kSelfName) {
    QUIRE_RETURN_IF_ERROR(Charge(64));
    return Own(std::make_shared<SelfObject>(*this));
  }
  if (!HasGlobal(node.text)) return Value::Undefined(fmt::format("'{}' is undefined", node.text));
  QUIRE_RETURN_IF_ERROR(Charge(64));
  return Own(std::make_shared<GlobalFunction>(node.text));
}

Result<Value> Interpreter::EvaluateItems(const Expression& node, ListKind kind) {
  std::vector<Value> items;
  items.reserve(node.children.size());
  for (const auto& child : node.children) {
    QUIRE_ASSIGN_OR_RETURN(Value item, Evaluate(*child));
    items.push_back(std::move(item));
  }
  return MakeList(std::move(items), kind);
}

Result<Value> Interpreter::EvaluateDict(const Expression& node) {
  auto dict = std::make_shared<DictObject>();
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
    QUIRE_ASSIGN_OR_RETURN(Value key, Evaluate(*node.children[i]));
    QUIRE_ASSIGN_OR_RETURN(Value value, Evaluate(*node.children[i + 1]));
    QUIRE_RETURN_IF_ERROR(dict->Set(std::move(key), std::move(value)));
  }
  return MakeDict(std::move(dict));
}

Result<Value> Interpreter::EvaluateSlice(const Expression& node) {
  Value parts[4] = {Value::None(), Value::None(), Value::None(), Value::None()};
  for (size_t i = 0; i < 4; ++i) {
    if (node.children[i] == nullptr) continue;
    QUIRE_ASSIGN_OR_RETURN(parts[i], Evaluate(*node.children[i]));
  }
  return Slice(parts[0], parts[1], parts[2], parts[3]);
}

Result<Arguments> Interpreter::EvaluateArguments(const CallArguments& arguments) {
  Arguments result;
  for (const auto& expression : arguments.positional) {
    QUIRE_ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    result.positional.push_back(std::move(value));
  }
  for (const auto& [name, expression] : arguments.named) {
    QUIRE_ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    result.named.emplace_back(name, std::move(value));
  }
  if (arguments.spread_positional != nullptr) {
    QUIRE_ASSIGN_OR_RETURN(const Value value, Evaluate(*arguments.spread_positional));
    QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(value));
    result.positional.insert(result.positional.end(), items->items.begin(), items->items.end());
  }
  if (arguments.spread_named != nullptr) {
    QUIRE_ASSIGN_OR_RETURN(const Value value, Evaluate(*arguments.spread_named));
    if (!value.IsDict()) return InvalidArgument("argument after ** must be a mapping, not {}", TypeName(value));
    for (const auto& [key, item] : value.dict().entries()) {
      if (!key.IsString()) return InvalidArgument("keywords must be strings");
      result.named.emplace_back(key.text(), item);
    }
  }
  return result;
}

// Methods and global functions are called without making an object of them first.
Result<Value> Interpreter::EvaluateCall(const Expression& node, const Value* caller) {
  const Expression& callee = *node.children[0];
  const bool is_method = callee.kind == ExpressionKind::kAttribute;
  const bool is_global = callee.kind == ExpressionKind::kName && FindVariable(callee.name) == nullptr;
  Value function;
  if (is_method) {
    QUIRE_ASSIGN_OR_RETURN(function, Evaluate(*callee.children[0]));
  } else if (!is_global || !HasGlobal(callee.text)) {
    QUIRE_ASSIGN_OR_RETURN(function, Evaluate(callee));
  }
  const bool direct = is_method && HasMethod(function, callee.text);
  const Value receiver = function;
  if (is_method && !direct) {
    QUIRE_ASSIGN_OR_RETURN(function, GetAttribute(*this, receiver, callee.text));
  }
  QUIRE_ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(node.arguments));
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  if (direct) return CallMethod(*this, receiver, callee.text, arguments);
  if (is_global && HasGlobal(callee.text)) return CallGlobal(*this, callee.text, arguments);
  return CallValue(function, arguments);
}

Result<Value> Interpreter::EvaluateFilter(const Expression& node, const Value* input) {
  Value value;
  if (node.children[0] == nullptr) {
    value = *input;
  } else if (input != nullptr) {
    QUIRE_ASSIGN_OR_RETURN(value, EvaluateFilter(*node.children[0], input));
  } else {
    QUIRE_ASSIGN_OR_RETURN(value, Evaluate(*node.children[0]));
  }
  QUIRE_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments));
  return ApplyFilter(*this, node.text, value, arguments);
}

Result<Value> Interpreter::EvaluateTest(const Expression& node) {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.children[0]));
  QUIRE_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments));
  QUIRE_ASSIGN_OR_RETURN(const bool passed, ApplyTest(*this, node.text, value, arguments));
  return Value(passed);
}

Result<Value> Interpreter::EvaluateConcat(const Expression& node) {
  std::string text;
  for (const auto& child : node.children) {
    QUIRE_ASSIGN_OR_RETURN(const Value part, Evaluate(*child));
    if (text.size() + part.weight() > kMaxWeight) return InvalidArgument("a string is too long");
    text += Str(part);
  }
  return Value(std::move(text));
}

Result<Value> Interpreter::EvaluateCompare(const Expression& node) {
  QUIRE_ASSIGN_OR_RETURN(Value left, Evaluate(*node.children[0]));
  for (size_t i = 0; i < node.ops.size(); ++i) {
    QUIRE_ASSIGN_OR_RETURN(Value right, Evaluate(*node.children[i + 1]));
    QUIRE_RETURN_IF_ERROR(Charge(std::min(left.weight(), right.weight()) / 64));
    QUIRE_ASSIGN_OR_RETURN(const bool holds, CompareBy(node.ops[i], left, right));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Interpreter::EvaluateConditional(const Expression& node) {
  QUIRE_ASSIGN_OR_RETURN(const Value condition, Evaluate(*node.children[0]));
  if (Truth(condition)) return Evaluate(*node.children[1]);
  if (node.children[2] != nullptr) return Evaluate(*node.children[2]);
  return Value::Undefined("the inline if-expression has no else branch");
}

}  // namespace quire::jinja
