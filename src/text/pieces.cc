#include "text/pieces.h"

#include <algorithm>

#include "text/utf8.h"

namespace quire::text {
namespace {

void AppendNonEmpty(Span span, std::vector<Span>& out) {
  if (span.begin < span.end) out.push_back(span);
}

// Joins a part to the piece before it where `joins(part, previous_is_match)`.
void AppendJoined(const std::vector<SplitPart>& parts, FunctionRef<bool(bool is_match, bool previous)> joins,
                  std::vector<Span>& out) {
  bool previous = false;
  bool any = false;
  Span open;
  for (const SplitPart& part : parts) {
    if (any && joins(part.is_match, previous)) {
      open.end = part.span.end;
    } else {
      if (any) AppendNonEmpty(open, out);
      open = part.span;
      any = true;
    }
    previous = part.is_match;
  }
  if (any) AppendNonEmpty(open, out);
}

// A delimiter begins the piece after it, unless another delimiter follows.
void AppendMergedWithNext(const std::vector<SplitPart>& parts, std::vector<Span>& out) {
  const size_t first = out.size();
  bool next_is_match = false;
  bool any = false;
  Span open;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (any && part->is_match && !next_is_match) {
      open.begin = part->span.begin;
    } else {
      if (any) AppendNonEmpty(open, out);
      open = part->span;
      any = true;
    }
    next_is_match = part->is_match;
  }
  if (any) AppendNonEmpty(open, out);
  std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
}

}  // namespace

void AppendSplit(const std::vector<SplitPart>& parts, SplitBehavior behavior, std::vector<Span>& out) {
  switch (behavior) {
    case SplitBehavior::kRemoved:
      for (const SplitPart& part : parts) {
        if (!part.is_match) AppendNonEmpty(part.span, out);
      }
      break;
    case SplitBehavior::kIsolated:
      for (const SplitPart& part : parts) AppendNonEmpty(part.span, out);
      break;
    case SplitBehavior::kContiguous:
      AppendJoined(
          parts, [](bool is_match, bool previous) { return is_match == previous; }, out);
      break;
    case SplitBehavior::kMergedWithPrevious:
      AppendJoined(
          parts, [](bool is_match, bool previous) { return is_match && !previous; }, out);
      break;
    case SplitBehavior::kMergedWithNext:
      AppendMergedWithNext(parts, out);
      break;
  }
}

std::vector<SplitPart> PartsByCharacter(std::string_view text, size_t base, FunctionRef<bool(char32_t)> is_delimiter) {
  std::vector<SplitPart> parts;
  size_t open = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint code_point = DecodeUtf8(text, at);
    const size_t next = at + code_point.length;
    if (is_delimiter(code_point.value)) {
      if (open < at) parts.push_back({{base + open, base + at}, false});
      parts.push_back({{base + at, base + next}, true});
      open = next;
    }
    at = next;
  }
  if (open < text.size()) parts.push_back({{base + open, base + text.size()}, false});
  return parts;
}

}  // namespace quire::text
