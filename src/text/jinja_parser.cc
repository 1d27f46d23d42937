#include "text/jinja_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <unordered_map>

#include "base/error.h"
#include "text/jinja_expression_parser.h"

namespace quire::jinja {
namespace {

class StatementParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Template> Run() {
    Template parsed;
    QUIRE_ASSIGN_OR_RETURN(parsed.body, ParseBlock({}));
    parsed.blocks = std::move(blocks_);
    parsed.names = TakeNames();
    return parsed;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  static bool Includes(Ends ends, std::string_view name) {
    return std::find(ends.begin(), ends.end(), name) != ends.end();
  }

  // Statements up to a tag whose name is in `ends`, of which "{%" is consumed and the name is current; up to the end of
  // the template when `ends` is empty.
  Result<Block> ParseBlock(Ends ends) {
    QUIRE_ASSIGN_OR_RETURN(const DepthGuard guard, Deeper());
    Block block;
    for (;;) {
      const Token token = Next();
      switch (token.kind) {
        case TokenKind::kData:
          block.push_back(Statement{token.line, TextStatement{token.text}});
          break;
        case TokenKind::kVariableBegin: {
          QUIRE_ASSIGN_OR_RETURN(Statement print, ParsePrint(token.line));
          block.push_back(std::move(print));
          break;
        }
        case TokenKind::kBlockBegin: {
          if (Current().kind == TokenKind::kName && Includes(ends, Current().text)) return block;
          QUIRE_ASSIGN_OR_RETURN(Statement statement, ParseTag());
          block.push_back(std::move(statement));
          break;
        }
        default:
          if (ends.size() == 0) return block;
          return Fail(fmt::format("the template ends where '{}' is awaited", *(ends.end() - 1)));
      }
    }
  }

  // A body, the tag that ends it and that tag's end.
  Result<Block> ParseBody(std::string_view end) {
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    QUIRE_ASSIGN_OR_RETURN(Block body, ParseBlock({end}));
    Next();
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    return body;
  }

  Status ExpectBlockEnd() {
    if (Current().kind != TokenKind::kBlockEnd) return Fail("expected '%}', got " + Describe(Current()));
    Next();
    return {};
  }

  Result<Statement> ParsePrint(int line) {
    QUIRE_ASSIGN_OR_RETURN(ExpressionPtr expression, ParseTuple({}));
    if (Current().kind != TokenKind::kVariableEnd) return Fail("expected '}}', got " + Describe(Current()));
    Next();
    return Statement{line, PrintStatement{std::move(expression)}};
  }

  Result<Statement> ParseTag() {
    using Method = Result<Statement> (StatementParser::*)();
    static const std::unordered_map<std::string_view, Method> kTags = {
        {"if", &StatementParser::ParseIf},
        {"for", &StatementParser::ParseFor},
        {"set", &StatementParser::ParseSet},
        {"macro", &StatementParser::ParseMacro},
        {"call", &StatementParser::ParseCallBlock},
        {"filter", &StatementParser::ParseFilterBlock},
        {"with", &StatementParser::ParseWith},
        {"generation", &StatementParser::ParseGeneration},
        {"break", &StatementParser::ParseBreak},
        {"continue", &StatementParser::ParseContinue},
        {"block", &StatementParser::ParseNamedBlock},
    };
    if (Current().kind != TokenKind::kName) return Fail("expected a tag's name, got " + Describe(Current()));
    const auto found = kTags.find(Current().text);
    if (found == kTags.end()) return Fail(fmt::format("unknown or misplaced tag '{}'", Current().text));
    const int line = Next().line;
    QUIRE_ASSIGN_OR_RETURN(Statement statement, (this->*found->second)());
    statement.line = line;
    return statement;
  }

  Result<Statement> ParseIf() {
    IfStatement result;
    for (std::string_view tag = "if";;) {
      if (tag != "else") {
        QUIRE_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseTuple({.conditional = false}));
        result.branches.emplace_back(std::move(condition), Block{});
      }
      QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
      Block& body = tag == "else" ? result.otherwise : result.branches.back().second;
      if (tag == "else") {
        QUIRE_ASSIGN_OR_RETURN(body, ParseBlock({"endif"}));
      } else {
        QUIRE_ASSIGN_OR_RETURN(body, ParseBlock({"elif", "else", "endif"}));
      }
      const std::string name = Next().text;
      if (name == "endif") break;
      tag = name == "else" ? "else" : "elif";
    }
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    return Statement{0, std::move(result)};
  }

  Result<Statement> ParseFor() {
    ForStatement loop;
    QUIRE_ASSIGN_OR_RETURN(loop.target, ParseTarget(false));
    if (!TakeName("in")) return Fail("expected 'in', got " + Describe(Current()));
    QUIRE_ASSIGN_OR_RETURN(loop.iterable, ParseTuple({.conditional = false, .end_name = "recursive"}));
    if (TakeName("if")) {
      QUIRE_ASSIGN_OR_RETURN(loop.filter, ParseExpression());
    }
    loop.recursive = TakeName("recursive");
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    ++loops_;
    QUIRE_ASSIGN_OR_RETURN(loop.body, ParseBlock({"else", "endfor"}));
    --loops_;
    if (Next().text == "else") {
      QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
      QUIRE_ASSIGN_OR_RETURN(loop.otherwise, ParseBlock({"endfor"}));
      Next();
    }
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    return Statement{0, std::move(loop)};
  }

  Result<Statement> ParseSet() {
    QUIRE_ASSIGN_OR_RETURN(Target target, ParseTarget(true));
    if (TakeOperator("=")) {
      QUIRE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseTuple({}));
      QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
      return Statement{0, SetStatement{std::move(target), std::move(value)}};
    }
    SetBlockStatement block{.target = std::move(target), .filter = nullptr, .body = {}};
    if (TakeOperator("|")) {
      QUIRE_ASSIGN_OR_RETURN(block.filter, ParseFilterChain(nullptr));
    }
    QUIRE_ASSIGN_OR_RETURN(block.body, ParseBody("endset"));
    return Statement{0, std::move(block)};
  }

  // "(a, b=1)" and the body up to `end`.
  Status ParseParameters(MacroDefinition* macro) {
    if (!TakeOperator("(")) return Fail("expected '(', got " + Describe(Current()));
    while (!TakeOperator(")")) {
      if (!macro->parameters.empty() && !TakeOperator(",")) return Fail("expected ',', got " + Describe(Current()));
      QUIRE_ASSIGN_OR_RETURN(const std::string name, ExpectName());
      macro->parameters.emplace_back(Intern(name), name);
      if (TakeOperator("=")) {
        QUIRE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
        macro->defaults.push_back(std::move(value));
      } else if (!macro->defaults.empty()) {
        return Fail("a parameter without a default follows one with a default");
      }
    }
    return {};
  }

  Status ParseMacroBody(std::string_view end, MacroDefinition* macro) {
    const int loops = std::exchange(loops_, 0);
    const NameUse outer = std::exchange(use_, {});
    QUIRE_ASSIGN_OR_RETURN(macro->body, ParseBody(end));
    macro->uses_varargs = use_.varargs;
    macro->uses_kwargs = use_.kwargs;
    macro->uses_caller = use_.caller;
    use_ = NameUse{use_.varargs || outer.varargs, use_.kwargs || outer.kwargs, use_.caller || outer.caller};
    loops_ = loops;
    return {};
  }

  Result<Statement> ParseMacro() {
    MacroStatement macro;
    QUIRE_ASSIGN_OR_RETURN(macro.definition.name, ExpectName());
    macro.name = Intern(macro.definition.name);
    QUIRE_RETURN_IF_ERROR(ParseParameters(&macro.definition));
    QUIRE_RETURN_IF_ERROR(ParseMacroBody("endmacro", &macro.definition));
    return Statement{0, std::move(macro)};
  }

  Result<Statement> ParseCallBlock() {
    CallBlockStatement block;
    block.caller.name = "caller";
    if (IsOperator("(")) QUIRE_RETURN_IF_ERROR(ParseParameters(&block.caller));
    QUIRE_ASSIGN_OR_RETURN(block.call, ParseExpression());
    if (block.call->kind != ExpressionKind::kCall) return Fail("expected a call");
    QUIRE_RETURN_IF_ERROR(ParseMacroBody("endcall", &block.caller));
    return Statement{0, std::move(block)};
  }

  Result<Statement> ParseFilterBlock() {
    FilterBlockStatement block;
    QUIRE_ASSIGN_OR_RETURN(block.filter, ParseFilterChain(nullptr));
    QUIRE_ASSIGN_OR_RETURN(block.body, ParseBody("endfilter"));
    return Statement{0, std::move(block)};
  }

  Result<Statement> ParseWith() {
    ScopeStatement scope;
    while (Current().kind != TokenKind::kBlockEnd) {
      if (!scope.variables.empty() && !TakeOperator(",")) return Fail("expected ',', got " + Describe(Current()));
      QUIRE_ASSIGN_OR_RETURN(Target target, ParseOneTarget(false));
      if (!TakeOperator("=")) return Fail("expected '=', got " + Describe(Current()));
      QUIRE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      scope.variables.emplace_back(std::move(target), std::move(value));
    }
    QUIRE_ASSIGN_OR_RETURN(scope.body, ParseBody("endwith"));
    return Statement{0, std::move(scope)};
  }

  Result<Statement> ParseGeneration() {
    const int loops = std::exchange(loops_, 0);
    ScopeStatement scope;
    QUIRE_ASSIGN_OR_RETURN(scope.body, ParseBody("endgeneration"));
    loops_ = loops;
    return Statement{0, std::move(scope)};
  }

  // "block name scoped required", and "endblock" or "endblock name".
  Result<Statement> ParseNamedBlock() {
    NamedBlock block;
    QUIRE_ASSIGN_OR_RETURN(block.name, ExpectName());
    const bool known =
        std::any_of(blocks_.begin(), blocks_.end(), [&](const auto& b) { return b->name == block.name; });
    if (known) return Fail(fmt::format("block '{}' is defined twice", block.name));
    block.scoped = TakeName("scoped");
    block.required = TakeName("required");
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    const int loops = std::exchange(loops_, 0);
    QUIRE_ASSIGN_OR_RETURN(block.body, ParseBlock({"endblock"}));
    loops_ = loops;
    Next();
    TakeName(block.name);
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    blocks_.push_back(std::make_shared<const NamedBlock>(std::move(block)));
    return Statement{0, NamedBlockStatement{blocks_.back()}};
  }

  Result<Statement> ParseBreak() { return ParseLoopControl("break", BreakStatement{}); }
  Result<Statement> ParseContinue() { return ParseLoopControl("continue", ContinueStatement{}); }

  template <typename Node>
  Result<Statement> ParseLoopControl(std::string_view tag, Node node) {
    if (loops_ == 0) return Fail(fmt::format("'{}' outside of a loop", tag));
    QUIRE_RETURN_IF_ERROR(ExpectBlockEnd());
    return Statement{0, node};
  }

  // "a", "a, b", "(a, b)" and, where `attributes` may be set, "ns.a".
  Result<Target> ParseTarget(bool attributes) {
    QUIRE_ASSIGN_OR_RETURN(Target first, ParseOneTarget(attributes));
    if (!IsOperator(",")) return first;
    Target tuple;
    tuple.tuple.push_back(std::move(first));
    while (TakeOperator(",")) {
      if (Current().kind != TokenKind::kName && !IsOperator("(")) break;
      if (IsName("in")) break;
      QUIRE_ASSIGN_OR_RETURN(Target next, ParseOneTarget(attributes));
      tuple.tuple.push_back(std::move(next));
    }
    return tuple;
  }

  Result<Target> ParseOneTarget(bool attributes) {
    QUIRE_ASSIGN_OR_RETURN(const DepthGuard guard, Deeper());
    if (TakeOperator("(")) {
      QUIRE_ASSIGN_OR_RETURN(Target inner, ParseTarget(attributes));
      if (!TakeOperator(")")) return Fail("expected ')', got " + Describe(Current()));
      return inner;
    }
    QUIRE_ASSIGN_OR_RETURN(const std::string name, ExpectName());
    static constexpr std::array<std::string_view, 5> kConstants = {"true", "false", "none", "True", "None"};
    if (std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end()) {
      return Fail(fmt::format("cannot assign to '{}'", name));
    }
    Target target;
    target.name = Intern(name);
    if (attributes && TakeOperator(".")) {
      QUIRE_ASSIGN_OR_RETURN(target.attribute, ExpectName());
    }
    return target;
  }

  int loops_ = 0;  // that enclose the current tag within its macro
  std::vector<std::shared_ptr<const NamedBlock>> blocks_;
};

}  // namespace

Result<Template> ParseTemplate(std::string_view source) {
  QUIRE_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return StatementParser(std::move(tokens)).Run();
}

}  // namespace quire::jinja
