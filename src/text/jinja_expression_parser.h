// The expression half of the parser: recursive descent over the tokens by Jinja's precedence (or, and, not, comparison,
// + -, ~, * / // %, **, unary, then postfixes, filters and tests).
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "quire/result.h"
#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace quire::jinja {

class ExpressionParser {
 public:
  // REQUIRES: the last token is kEnd.
  explicit ExpressionParser(std::vector<Token> tokens);

 protected:
  // Counts the levels of recursion while it lives.
  class DepthGuard {
   public:
    explicit DepthGuard(uint32_t* depth) : depth_(depth) { ++*depth_; }
    ~DepthGuard() {
      if (depth_ != nullptr) --*depth_;
    }
    DepthGuard(DepthGuard&& other) noexcept : depth_(std::exchange(other.depth_, nullptr)) {}
    DepthGuard& operator=(DepthGuard&&) = delete;

   private:
    uint32_t* depth_;
  };
  // Which of the names that a macro's signature depends on occurred.
  struct NameUse {
    bool varargs = false;
    bool kwargs = false;
    bool caller = false;
  };
  struct TupleOptions {
    bool conditional = true;         // whether "a if b else c" is allowed
    std::string_view end_name = {};  // a name that ends the tuple
    bool parenthesized = false;      // whether it may be empty
  };

  Result<DepthGuard> Deeper();
  Error Fail(std::string_view what) const;
  static std::string Describe(const Token& token);

  const Token& Current() const { return tokens_[position_]; }
  const Token& Peek() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  const Token& Next();
  bool IsOperator(std::string_view text) const;
  bool IsName(std::string_view text) const;
  bool TakeOperator(std::string_view text);
  bool TakeName(std::string_view text);
  Result<std::string> ExpectName();
  NameId Intern(const std::string& name);
  std::vector<std::string> TakeNames() { return std::move(names_); }

  Result<ExpressionPtr> ParseExpression();
  // One expression, or a tuple of several with commas between them.
  Result<ExpressionPtr> ParseTuple(TupleOptions options);
  // "name(arguments) | name..." after a '|': filters around `input`, which may be null.
  Result<ExpressionPtr> ParseFilterChain(ExpressionPtr input);

  NameUse use_;

 private:
  using Parse = Result<ExpressionPtr> (ExpressionParser::*)();
  struct BinaryToken {
    std::string_view text;
    Operator op;
  };

  Expression Node(ExpressionKind kind) const;
  Result<ExpressionPtr> Finish(Expression node) const;
  Result<ExpressionPtr> Make(ExpressionKind kind, ExpressionPtr a, ExpressionPtr b = nullptr) const;
  Result<ExpressionPtr> MakeConstant(Value value) const;
  Result<ExpressionPtr> ParseLeftAssociative(Parse operand, std::initializer_list<BinaryToken> tokens);

  Result<ExpressionPtr> ParseOr();
  Result<ExpressionPtr> ParseAnd();
  Result<ExpressionPtr> ParseNot();
  Result<ExpressionPtr> ParseCompare();
  bool TakeComparison(Operator* op);
  Result<ExpressionPtr> ParseSum();
  Result<ExpressionPtr> ParseConcat();
  Result<ExpressionPtr> ParseProduct();
  Result<ExpressionPtr> ParsePower();
  Result<ExpressionPtr> ParseUnary() { return ParseSigned(true); }
  Result<ExpressionPtr> ParseSigned(bool with_filters);
  Result<ExpressionPtr> ParsePrimary();
  Result<ExpressionPtr> ParseNameOrConstant();
  Result<ExpressionPtr> ParseStrings();
  Result<ExpressionPtr> ParseList();
  Result<ExpressionPtr> ParseDict();
  Result<ExpressionPtr> ParsePostfixes(ExpressionPtr node);
  Result<ExpressionPtr> ParseAttribute(ExpressionPtr object);
  Result<ExpressionPtr> ParseSubscript(ExpressionPtr object);
  Result<ExpressionPtr> ParseSlice(ExpressionPtr object, ExpressionPtr start);
  Result<ExpressionPtr> ParseCall(ExpressionPtr callee);
  Result<CallArguments> ParseArguments();
  Status ParseArgument(CallArguments* arguments);
  Result<ExpressionPtr> ParseFiltersAndTests(ExpressionPtr node);
  Result<ExpressionPtr> ParseOneFilter(ExpressionPtr input);
  Result<ExpressionPtr> ParseTest(ExpressionPtr input);
  Result<std::string> ParseDottedName();

  std::vector<Token> tokens_;
  size_t position_ = 0;
  uint32_t depth_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, NameId> name_ids_;
};

}  // namespace quire::jinja
