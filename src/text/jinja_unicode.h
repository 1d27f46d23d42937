// Code points over UTF-8 text, with Python's notion of white space, letters' case and printability. Pure; any thread.
// A byte that is no valid UTF-8 counts as one code point of its own, so every function is total.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quire::jinja {

// The code point at `*offset`, which moves past it. REQUIRES: *offset < text.size().
char32_t NextCodePoint(std::string_view text, size_t* offset);
void AppendCodePoint(char32_t code_point, std::string* out);

bool IsValidUtf8(std::string_view text);
size_t CountCodePoints(std::string_view text);
// Byte offset of every code point and, last, the size of the text.
std::vector<size_t> CodePointOffsets(std::string_view text);

bool IsPythonSpace(char32_t code_point);
// False for what repr() escapes: controls, formats, surrogates, unassigned, separators other than ' '.
bool IsPrintable(char32_t code_point);
bool IsAlphabetic(char32_t code_point);
bool IsDecimalDigit(char32_t code_point);
bool IsDigit(char32_t code_point);    // decimal digits and those that stand for one: superscripts, circled
bool IsNumeric(char32_t code_point);  // digits, fractions and other numbers; no ideographs
bool IsUpper(char32_t code_point);
bool IsLower(char32_t code_point);

// Whether there is a letter of the wanted case and none of the other.
bool IsAllOfCase(std::string_view text, bool (*is_wanted)(char32_t), bool (*is_other)(char32_t));

std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
std::string FoldCase(std::string_view text);
std::string Capitalize(std::string_view text);
// str.title(): upper case after whatever is not a letter, lower case elsewhere.
std::string ToTitle(std::string_view text);

// Without the leading / trailing code points of `characters`; white space when `characters` is null.
std::string_view StripLeft(std::string_view text, const std::string_view* characters = nullptr);
std::string_view StripRight(std::string_view text, const std::string_view* characters = nullptr);

}  // namespace quire::jinja
