#include "text/jinja_expression_parser.h"

#include <algorithm>

#include "base/error.h"

namespace quire::jinja {

ExpressionParser::ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  for (const char* name : {"loop", "caller", "varargs", "kwargs", "self"}) Intern(name);
}

Result<ExpressionParser::DepthGuard> ExpressionParser::Deeper() {
  if (depth_ >= kMaxTreeHeight) return Fail("the template is nested too deeply");
  return DepthGuard(&depth_);
}

Error ExpressionParser::Fail(std::string_view what) const {
  return InvalidArgument("chat template, line {}: {}", Current().line, what);
}

std::string ExpressionParser::Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kString:
      return "a string";
    default:
      return "'" + token.text + "'";
  }
}

const Token& ExpressionParser::Next() {
  const Token& token = Current();
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool ExpressionParser::IsOperator(std::string_view text) const {
  return Current().kind == TokenKind::kOperator && Current().text == text;
}

bool ExpressionParser::IsName(std::string_view text) const {
  return Current().kind == TokenKind::kName && Current().text == text;
}

bool ExpressionParser::TakeOperator(std::string_view text) {
  const bool found = IsOperator(text);
  if (found) Next();
  return found;
}

bool ExpressionParser::TakeName(std::string_view text) {
  const bool found = IsName(text);
  if (found) Next();
  return found;
}

Result<std::string> ExpressionParser::ExpectName() {
  if (Current().kind != TokenKind::kName) return Fail("expected a name, got " + Describe(Current()));
  return Next().text;
}

NameId ExpressionParser::Intern(const std::string& name) {
  const auto [found, added] = name_ids_.try_emplace(name, NameId{static_cast<uint32_t>(names_.size())});
  if (added) names_.push_back(name);
  return found->second;
}

Expression ExpressionParser::Node(ExpressionKind kind) const {
  Expression node;
  node.kind = kind;
  node.line = Current().line;
  return node;
}

Result<ExpressionPtr> ExpressionParser::Finish(Expression node) const {
  const auto include = [&node](const ExpressionPtr& child) {
    if (child != nullptr) node.height = std::max(node.height, child->height + 1);
  };
  for (const auto& child : node.children) include(child);
  for (const auto& argument : node.arguments.positional) include(argument);
  for (const auto& [name, argument] : node.arguments.named) include(argument);
  include(node.arguments.spread_positional);
  include(node.arguments.spread_named);
  if (node.height > kMaxTreeHeight) return Fail("an expression is nested too deeply");
  return std::make_unique<const Expression>(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::Make(ExpressionKind kind, ExpressionPtr a, ExpressionPtr b) const {
  Expression node = Node(kind);
  node.children.push_back(std::move(a));
  if (b != nullptr) node.children.push_back(std::move(b));
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::MakeConstant(Value value) const {
  Expression node = Node(ExpressionKind::kConstant);
  node.constant = std::move(value);
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::ParseExpression() {
  QUIRE_ASSIGN_OR_RETURN(const DepthGuard guard, Deeper());
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseOr());
  while (TakeName("if")) {
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (TakeName("else")) {
      QUIRE_ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    Expression node = Node(ExpressionKind::kConditional);
    node.children.push_back(std::move(condition));
    node.children.push_back(std::move(value));
    node.children.push_back(std::move(otherwise));
    QUIRE_ASSIGN_OR_RETURN(value, Finish(std::move(node)));
  }
  return value;
}

Result<ExpressionPtr> ExpressionParser::ParseTuple(TupleOptions options) {
  QUIRE_ASSIGN_OR_RETURN(const DepthGuard guard, Deeper());
  Expression tuple = Node(ExpressionKind::kTuple);
  bool is_tuple = false;
  for (;;) {
    const TokenKind kind = Current().kind;
    if (kind == TokenKind::kVariableEnd || kind == TokenKind::kBlockEnd || IsOperator(")")) break;
    if (!options.end_name.empty() && IsName(options.end_name)) break;
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr item, options.conditional ? ParseExpression() : ParseOr());
    tuple.children.push_back(std::move(item));
    if (!TakeOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !tuple.children.empty()) return std::move(tuple.children.front());
  if (!is_tuple && !options.parenthesized) return Fail("expected an expression, got " + Describe(Current()));
  return Finish(std::move(tuple));
}

Result<ExpressionPtr> ExpressionParser::ParseLeftAssociative(Parse operand, std::initializer_list<BinaryToken> tokens) {
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr left, (this->*operand)());
  for (;;) {
    const auto found =
        std::find_if(tokens.begin(), tokens.end(), [this](const BinaryToken& t) { return IsOperator(t.text); });
    if (found == tokens.end()) return left;
    Expression node = Node(ExpressionKind::kBinary);
    Next();
    node.op = found->op;
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr right, (this->*operand)());
    node.children.push_back(std::move(left));
    node.children.push_back(std::move(right));
    QUIRE_ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
}

Result<ExpressionPtr> ExpressionParser::ParseOr() {
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
  while (TakeName("or")) {
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
    QUIRE_ASSIGN_OR_RETURN(left, Make(ExpressionKind::kOr, std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::ParseAnd() {
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
  while (TakeName("and")) {
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
    QUIRE_ASSIGN_OR_RETURN(left, Make(ExpressionKind::kAnd, std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::ParseNot() {
  if (!TakeName("not")) return ParseCompare();
  QUIRE_ASSIGN_OR_RETURN(const DepthGuard guard, Deeper());
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  return Make(ExpressionKind::kNot, std::move(operand));
}

bool ExpressionParser::TakeComparison(Operator* op) {
  static const std::unordered_map<std::string_view, Operator> kTokens = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  if (TakeName("in")) {
    *op = Operator::kIn;
    return true;
  }
  if (IsName("not") && Peek().kind == TokenKind::kName && Peek().text == "in") {
    Next();
    Next();
    *op = Operator::kNotIn;
    return true;
  }
  const auto found = kTokens.find(Current().text);
  if (Current().kind != TokenKind::kOperator || found == kTokens.end()) return false;
  Next();
  *op = found->second;
  return true;
}

Result<ExpressionPtr> ExpressionParser::ParseCompare() {
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  Expression node = Node(ExpressionKind::kCompare);
  node.children.push_back(std::move(first));
  for (Operator op{}; TakeComparison(&op);) {
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseSum());
    node.ops.push_back(op);
    node.children.push_back(std::move(operand));
  }
  if (node.ops.empty()) return std::move(node.children.front());
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::ParseSum() {
  return ParseLeftAssociative(&ExpressionParser::ParseConcat, {{"+", Operator::kAdd}, {"-", Operator::kSubtract}});
}

Result<ExpressionPtr> ExpressionParser::ParseConcat() {
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr first, ParseProduct());
  if (!IsOperator("~")) return first;
  Expression node = Node(ExpressionKind::kConcat);
  node.children.push_back(std::move(first));
  while (TakeOperator("~")) {
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr part, ParseProduct());
    node.children.push_back(std::move(part));
  }
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::ParseProduct() {
  return ParseLeftAssociative(
      &ExpressionParser::ParsePower,
      {{"*", Operator::kMultiply}, {"/", Operator::kDivide}, {"//", Operator::kFloorDivide}, {"%", Operator::kModulo}});
}

Result<ExpressionPtr> ExpressionParser::ParsePower() {
  return ParseLeftAssociative(&ExpressionParser::ParseUnary, {{"**", Operator::kPower}});
}

Result<ExpressionPtr> ExpressionParser::ParseSigned(bool with_filters) {
  ExpressionPtr node;
  if (IsOperator("-") || IsOperator("+")) {
    QUIRE_ASSIGN_OR_RETURN(const DepthGuard guard, Deeper());
    const auto kind = Next().text == "-" ? ExpressionKind::kNegate : ExpressionKind::kPlus;
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseSigned(false));
    QUIRE_ASSIGN_OR_RETURN(node, Make(kind, std::move(operand)));
  } else {
    QUIRE_ASSIGN_OR_RETURN(node, ParsePrimary());
  }
  QUIRE_ASSIGN_OR_RETURN(node, ParsePostfixes(std::move(node)));
  return with_filters ? ParseFiltersAndTests(std::move(node)) : std::move(node);
}

Result<ExpressionPtr> ExpressionParser::ParsePrimary() {
  const Token& token = Current();
  switch (token.kind) {
    case TokenKind::kName:
      return ParseNameOrConstant();
    case TokenKind::kString:
      return ParseStrings();
    case TokenKind::kInteger:
      return MakeConstant(Value(Next().integer));
    case TokenKind::kFloat:
      return MakeConstant(Value(Next().number));
    default:
      break;
  }
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  if (!TakeOperator("(")) return Fail("expected an expression, got " + Describe(token));
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr inner, ParseTuple({.parenthesized = true}));
  if (!TakeOperator(")")) return Fail("expected ')', got " + Describe(Current()));
  return inner;
}

Result<ExpressionPtr> ExpressionParser::ParseNameOrConstant() {
  Expression node = Node(ExpressionKind::kName);
  const std::string name = Next().text;
  if (name == "true" || name == "True") return MakeConstant(Value(true));
  if (name == "false" || name == "False") return MakeConstant(Value(false));
  if (name == "none" || name == "None") return MakeConstant(Value::None());
  node.name = Intern(name);
  node.text = name;
  use_.caller |= node.name == kCallerName;
  use_.varargs |= node.name == kVarargsName;
  use_.kwargs |= node.name == kKwargsName;
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::ParseStrings() {
  std::string text;
  while (Current().kind == TokenKind::kString) text += Next().text;
  return MakeConstant(Value(std::move(text)));
}

Result<ExpressionPtr> ExpressionParser::ParseList() {
  Expression list = Node(ExpressionKind::kList);
  Next();
  while (!TakeOperator("]")) {
    if (!list.children.empty() && !TakeOperator(",")) return Fail("expected ',', got " + Describe(Current()));
    if (TakeOperator("]")) break;
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    list.children.push_back(std::move(item));
  }
  return Finish(std::move(list));
}

Result<ExpressionPtr> ExpressionParser::ParseDict() {
  Expression dict = Node(ExpressionKind::kDict);
  Next();
  while (!TakeOperator("}")) {
    if (!dict.children.empty() && !TakeOperator(",")) return Fail("expected ',', got " + Describe(Current()));
    if (TakeOperator("}")) break;
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    if (!TakeOperator(":")) return Fail("expected ':', got " + Describe(Current()));
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    dict.children.push_back(std::move(key));
    dict.children.push_back(std::move(value));
  }
  return Finish(std::move(dict));
}

Result<ExpressionPtr> ExpressionParser::ParsePostfixes(ExpressionPtr node) {
  for (;;) {
    if (IsOperator(".")) {
      QUIRE_ASSIGN_OR_RETURN(node, ParseAttribute(std::move(node)));
    } else if (IsOperator("[")) {
      QUIRE_ASSIGN_OR_RETURN(node, ParseSubscript(std::move(node)));
    } else if (IsOperator("(")) {
      QUIRE_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::ParseAttribute(ExpressionPtr object) {
  Next();
  if (Current().kind == TokenKind::kInteger) {
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr index, MakeConstant(Value(Next().integer)));
    return Make(ExpressionKind::kItem, std::move(object), std::move(index));
  }
  Expression node = Node(ExpressionKind::kAttribute);
  QUIRE_ASSIGN_OR_RETURN(node.text, ExpectName());
  node.children.push_back(std::move(object));
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::ParseSubscript(ExpressionPtr object) {
  Next();
  ExpressionPtr key;
  if (!IsOperator(":")) {
    QUIRE_ASSIGN_OR_RETURN(key, ParseExpression());
  }
  if (IsOperator(":")) return ParseSlice(std::move(object), std::move(key));
  if (IsOperator(",")) {
    Expression tuple = Node(ExpressionKind::kTuple);
    tuple.children.push_back(std::move(key));
    while (TakeOperator(",")) {
      QUIRE_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
      tuple.children.push_back(std::move(item));
    }
    QUIRE_ASSIGN_OR_RETURN(key, Finish(std::move(tuple)));
  }
  if (!TakeOperator("]")) return Fail("expected ']', got " + Describe(Current()));
  return Make(ExpressionKind::kItem, std::move(object), std::move(key));
}

Result<ExpressionPtr> ExpressionParser::ParseSlice(ExpressionPtr object, ExpressionPtr start) {
  Expression node = Node(ExpressionKind::kSlice);
  node.children.push_back(std::move(object));
  node.children.push_back(std::move(start));
  while (node.children.size() < 4 && TakeOperator(":")) {
    ExpressionPtr bound;
    if (!IsOperator(":") && !IsOperator("]")) {
      QUIRE_ASSIGN_OR_RETURN(bound, ParseExpression());
    }
    node.children.push_back(std::move(bound));
  }
  node.children.resize(4);
  if (!TakeOperator("]")) return Fail("expected ']', got " + Describe(Current()));
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::ParseCall(ExpressionPtr callee) {
  Expression node = Node(ExpressionKind::kCall);
  node.children.push_back(std::move(callee));
  QUIRE_ASSIGN_OR_RETURN(node.arguments, ParseArguments());
  return Finish(std::move(node));
}

Result<CallArguments> ExpressionParser::ParseArguments() {
  CallArguments arguments;
  Next();
  for (bool first = true; !TakeOperator(")"); first = false) {
    if (!first && !TakeOperator(",")) return Fail("expected ',', got " + Describe(Current()));
    if (!first && TakeOperator(")")) break;
    QUIRE_RETURN_IF_ERROR(ParseArgument(&arguments));
  }
  return arguments;
}

Status ExpressionParser::ParseArgument(CallArguments* arguments) {
  if (TakeOperator("**")) {
    QUIRE_ASSIGN_OR_RETURN(arguments->spread_named, ParseExpression());
    return {};
  }
  if (TakeOperator("*")) {
    QUIRE_ASSIGN_OR_RETURN(arguments->spread_positional, ParseExpression());
    return {};
  }
  const bool named = Current().kind == TokenKind::kName && Peek().kind == TokenKind::kOperator && Peek().text == "=";
  if (!named) {
    if (!arguments->named.empty()) return Fail("a positional argument follows a named one");
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    arguments->positional.push_back(std::move(value));
    return {};
  }
  const std::string name = Next().text;
  Next();
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
  arguments->named.emplace_back(name, std::move(value));
  return {};
}

Result<ExpressionPtr> ExpressionParser::ParseFiltersAndTests(ExpressionPtr node) {
  for (;;) {
    if (TakeOperator("|")) {
      QUIRE_ASSIGN_OR_RETURN(node, ParseOneFilter(std::move(node)));
    } else if (TakeName("is")) {
      QUIRE_ASSIGN_OR_RETURN(node, ParseTest(std::move(node)));
    } else if (IsOperator("(")) {
      QUIRE_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::ParseFilterChain(ExpressionPtr input) {
  do {
    QUIRE_ASSIGN_OR_RETURN(input, ParseOneFilter(std::move(input)));
  } while (TakeOperator("|"));
  return input;
}

Result<ExpressionPtr> ExpressionParser::ParseOneFilter(ExpressionPtr input) {
  Expression node = Node(ExpressionKind::kFilter);
  QUIRE_ASSIGN_OR_RETURN(node.text, ParseDottedName());
  node.children.push_back(std::move(input));
  if (IsOperator("(")) {
    QUIRE_ASSIGN_OR_RETURN(node.arguments, ParseArguments());
  }
  return Finish(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::ParseTest(ExpressionPtr input) {
  const bool negated = TakeName("not");
  Expression node = Node(ExpressionKind::kTest);
  QUIRE_ASSIGN_OR_RETURN(node.text, ParseDottedName());
  node.children.push_back(std::move(input));
  const TokenKind kind = Current().kind;
  const bool literal = kind == TokenKind::kName || kind == TokenKind::kString || kind == TokenKind::kInteger ||
                       kind == TokenKind::kFloat || IsOperator("[") || IsOperator("{");
  if (IsOperator("(")) {
    QUIRE_ASSIGN_OR_RETURN(node.arguments, ParseArguments());
  } else if (literal && !IsName("else") && !IsName("or") && !IsName("and")) {
    if (IsName("is")) return Fail("tests cannot be chained with 'is'");
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    QUIRE_ASSIGN_OR_RETURN(argument, ParsePostfixes(std::move(argument)));
    node.arguments.positional.push_back(std::move(argument));
  }
  QUIRE_ASSIGN_OR_RETURN(ExpressionPtr test, Finish(std::move(node)));
  return negated ? Make(ExpressionKind::kNot, std::move(test)) : std::move(test);
}

Result<std::string> ExpressionParser::ParseDottedName() {
  QUIRE_ASSIGN_OR_RETURN(std::string name, ExpectName());
  while (TakeOperator(".")) {
    QUIRE_ASSIGN_OR_RETURN(const std::string part, ExpectName());
    name += "." + part;
  }
  return name;
}

}  // namespace quire::jinja
