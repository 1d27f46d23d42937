// str.isdigit() and its like: what all of a text is made of.
#include "text/jinja_builtins.h"
#include "text/jinja_string_methods.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

// Whether the text is not empty and every code point passes.
template <bool (*kPasses)(char32_t)>
Result<Value> All(const BuiltinCall& call) {
  const std::string& text = call.input.text();
  for (size_t offset = 0; offset < text.size();) {
    if (!kPasses(NextCodePoint(text, &offset))) return Value(false);
  }
  return Value(!text.empty());
}

bool IsAscii(char32_t code_point) { return code_point < 0x80; }
bool IsAlphanumeric(char32_t code_point) { return IsAlphabetic(code_point) || IsNumeric(code_point); }
// Of what str.isidentifier() takes: letters, digits and '_'.
bool IsNamePart(char32_t code_point) {
  return code_point == U'_' || IsAlphabetic(code_point) || IsDecimalDigit(code_point);
}

// All<kPasses>, which an empty text passes too.
template <bool (*kPasses)(char32_t)>
Result<Value> NoneFails(const BuiltinCall& call) {
  return call.input.text().empty() ? Value(true) : All<kPasses>(call);
}

Result<Value> IsIdentifier(const BuiltinCall& call) {
  const std::string& text = call.input.text();
  size_t offset = 0;
  if (text.empty() || IsDecimalDigit(NextCodePoint(text, &offset))) return Value(false);
  return All<IsNamePart>(call);
}

// Whether words begin in upper case and go on in lower case, and there is one.
Result<Value> IsTitle(const BuiltinCall& call) {
  const std::string& text = call.input.text();
  bool inside = false;
  bool found = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t code_point = NextCodePoint(text, &offset);
    const bool upper = IsUpper(code_point);
    if (upper ? inside : (IsLower(code_point) && !inside)) return Value(false);
    inside = upper || IsLower(code_point);
    found = found || inside;
  }
  return Value(found);
}

Result<Value> IsUpperCase(const BuiltinCall& call) { return Value(IsAllOfCase(call.input.text(), IsUpper, IsLower)); }
Result<Value> IsLowerCase(const BuiltinCall& call) { return Value(IsAllOfCase(call.input.text(), IsLower, IsUpper)); }

}  // namespace

void AddStringPredicates(BuiltinTable* table) {
  table->insert({
      {"isdigit", {All<IsDigit>, {}}},
      {"isdecimal", {All<IsDecimalDigit>, {}}},
      {"isnumeric", {All<IsNumeric>, {}}},
      {"isascii", {NoneFails<IsAscii>, {}}},
      {"isprintable", {NoneFails<IsPrintable>, {}}},
      {"isidentifier", {IsIdentifier, {}}},
      {"istitle", {IsTitle, {}}},
      {"isalpha", {All<IsAlphabetic>, {}}},
      {"isalnum", {All<IsAlphanumeric>, {}}},
      {"isspace", {All<IsPythonSpace>, {}}},
      {"isupper", {IsUpperCase, {}}},
      {"islower", {IsLowerCase, {}}},
  });
}

}  // namespace quire::jinja
