#include "base/json_limits.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>

namespace quire {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr uint64_t kMaxMembers = 16384;                     // of one object
constexpr uint64_t kMaxKeyComparisons = uint64_t{1} << 28;  // of all objects: a fraction of a second

}  // namespace

std::string JsonLimits::FindExcess(std::string_view what, std::string_view text) {
  std::array<uint64_t, kMaxDepth + 1> num_members{};  // [open brackets]
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (depth == kMaxDepth) return fmt::format("{} is nested more than {} deep", what, kMaxDepth);
      num_members[++depth] = 0;
    } else if (c == ']' || c == '}') {
      if (depth == 0) return {};
      --depth;
    } else if (c == ':') {
      num_comparisons_ += num_members[depth]++;
      if (num_members[depth] > kMaxMembers) {
        return fmt::format("an object of {} has more than {} members", what, kMaxMembers);
      }
      if (num_comparisons_ > kMaxKeyComparisons) {
        return fmt::format("the objects of {} are too large: their keys need more than {} comparisons", what,
                           kMaxKeyComparisons);
      }
    }
  }
  return {};
}

}  // namespace quire
