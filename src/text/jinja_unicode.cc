#include "text/jinja_unicode.h"

#include <utf8proc.h>

#include <algorithm>

namespace quire::jinja {
namespace {

constexpr char32_t kSharpS = 0xDF;

utf8proc_category_t Category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

char32_t Upper(char32_t code_point) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code_point)));
}

char32_t Lower(char32_t code_point) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point)));
}

// The one common letter whose capital is two letters; `rest` is the case of the second.
void AppendUpper(char32_t code_point, bool title, std::string* out) {
  if (code_point == kSharpS) {
    out->append(title ? "Ss" : "SS");
    return;
  }
  AppendCodePoint(Upper(code_point), out);
}

bool IsCased(char32_t code_point) { return IsUpper(code_point) || IsLower(code_point); }

bool Contains(std::string_view characters, char32_t wanted) {
  for (size_t offset = 0; offset < characters.size();) {
    if (NextCodePoint(characters, &offset) == wanted) return true;
  }
  return false;
}

bool IsStripped(char32_t code_point, const std::string_view* characters) {
  return characters == nullptr ? IsPythonSpace(code_point) : Contains(*characters, code_point);
}

}  // namespace

char32_t NextCodePoint(std::string_view text, size_t* offset) {
  const auto first = static_cast<unsigned char>(text[*offset]);
  if (first < 0x80) {
    ++*offset;
    return first;
  }
  utf8proc_int32_t code_point = -1;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + *offset;
  const auto length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - *offset), &code_point);
  if (length <= 0) {
    ++*offset;
    return 0xDC00U + first;  // as Python's surrogateescape
  }
  *offset += static_cast<size_t>(length);
  return static_cast<char32_t>(code_point);
}

void AppendCodePoint(char32_t code_point, std::string* out) {
  if (code_point >= 0xDC80 && code_point <= 0xDCFF) {
    out->push_back(static_cast<char>(code_point - 0xDC00));
    return;
  }
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

bool IsValidUtf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const size_t start = offset;
    if (NextCodePoint(text, &offset) >= 0x80 && offset == start + 1) return false;
  }
  return true;
}

size_t CountCodePoints(std::string_view text) {
  size_t count = 0;
  for (size_t offset = 0; offset < text.size(); ++count) NextCodePoint(text, &offset);
  return count;
}

std::vector<size_t> CodePointOffsets(std::string_view text) {
  std::vector<size_t> offsets;
  offsets.reserve(text.size() + 1);
  for (size_t offset = 0; offset < text.size(); NextCodePoint(text, &offset)) offsets.push_back(offset);
  offsets.push_back(text.size());
  return offsets;
}

bool IsPythonSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsPrintable(char32_t code_point) {
  if (code_point < 0x7F) return code_point >= 0x20;
  switch (Category(code_point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool IsAlphabetic(char32_t code_point) {
  const auto category = Category(code_point);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsDecimalDigit(char32_t code_point) { return Category(code_point) == UTF8PROC_CATEGORY_ND; }

bool IsDigit(char32_t code_point) {
  if (IsDecimalDigit(code_point)) return true;
  if (Category(code_point) != UTF8PROC_CATEGORY_NO) return false;
  utf8proc_int32_t parts[4];
  int boundary = UTF8PROC_BOUNDCLASS_START;
  const auto count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts, 4,
                              static_cast<utf8proc_option_t>(UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE), &boundary);
  return count == 1 && IsDecimalDigit(static_cast<char32_t>(parts[0]));
}

bool IsNumeric(char32_t code_point) {
  const auto category = Category(code_point);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool IsUpper(char32_t code_point) { return Category(code_point) == UTF8PROC_CATEGORY_LU; }
bool IsLower(char32_t code_point) { return Category(code_point) == UTF8PROC_CATEGORY_LL; }

bool IsAllOfCase(std::string_view text, bool (*is_wanted)(char32_t), bool (*is_other)(char32_t)) {
  bool found = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t code_point = NextCodePoint(text, &offset);
    if (is_other(code_point)) return false;
    found = found || is_wanted(code_point);
  }
  return found;
}

std::string ToUpper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) AppendUpper(NextCodePoint(text, &offset), false, &out);
  return out;
}

std::string ToLower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) AppendCodePoint(Lower(NextCodePoint(text, &offset)), &out);
  return out;
}

std::string FoldCase(std::string_view text) {
  std::string out;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t code_point = NextCodePoint(text, &offset);
    utf8proc_int32_t parts[4];
    int boundary = UTF8PROC_BOUNDCLASS_START;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts, 4, UTF8PROC_CASEFOLD, &boundary);
    if (count < 1 || count > 4) AppendCodePoint(code_point, &out);
    for (int i = 0; i < count && count <= 4; ++i) AppendCodePoint(static_cast<char32_t>(parts[i]), &out);
  }
  return out;
}

std::string Capitalize(std::string_view text) {
  std::string out;
  if (text.empty()) return out;
  size_t offset = 0;
  AppendUpper(NextCodePoint(text, &offset), true, &out);
  return out + ToLower(text.substr(offset));
}

std::string ToTitle(std::string_view text) {
  std::string out;
  bool inside_word = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t code_point = NextCodePoint(text, &offset);
    if (inside_word) {
      AppendCodePoint(Lower(code_point), &out);
    } else {
      AppendUpper(code_point, true, &out);
    }
    inside_word = IsCased(code_point);
  }
  return out;
}

std::string_view StripLeft(std::string_view text, const std::string_view* characters) {
  size_t offset = 0;
  while (offset < text.size()) {
    size_t next = offset;
    if (!IsStripped(NextCodePoint(text, &next), characters)) break;
    offset = next;
  }
  return text.substr(offset);
}

std::string_view StripRight(std::string_view text, const std::string_view* characters) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    size_t end = start;
    char32_t code_point = NextCodePoint(text, &end);
    if (end != text.size()) code_point = 0xDC00U + static_cast<unsigned char>(text.back());
    if (!IsStripped(code_point, characters)) break;
    text.remove_suffix(end == text.size() ? text.size() - start : 1);
  }
  return text;
}

}  // namespace quire::jinja
