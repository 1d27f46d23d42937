#include "llm/available_memory.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/env.h"

namespace quire {
namespace {

constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

// What the files of a version of control groups are called.
struct Hierarchy {
  CgroupHierarchy place;
  const char* limit;
  const char* usage;        // page cache included
  const char* reclaimable;  // a line of memory.stat; the kernel takes these pages back before it kills
};
constexpr Hierarchy kVersion2 = {{"", ""}, "memory.max", "memory.current", "inactive_file"};
constexpr Hierarchy kVersion1 = {
    {"memory", "memory"}, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

// "max" is no number.
std::optional<size_t> ReadNumber(const std::string& path) {
  const Result<std::string> text = Env::Posix().ReadFile(path);
  size_t value = 0;
  if (!text.ok() || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc()) return {};
  return value;
}

// The number behind the first word `key` of a line.
std::optional<size_t> ReadLine(const std::string& path, std::string_view key) {
  const Result<std::string> text = Env::Posix().ReadFile(path);
  if (!text.ok()) return {};
  std::istringstream lines(*text);
  for (std::string name, rest; lines >> name && std::getline(lines, rest);) {
    if (name == key) return static_cast<size_t>(std::strtoull(rest.c_str(), nullptr, 10));
  }
  return {};
}

size_t LeftInGroup(const Hierarchy& hierarchy, const std::string& directory) {
  const std::optional<size_t> limit = ReadNumber(JoinPath(directory, hierarchy.limit));
  const std::optional<size_t> usage = ReadNumber(JoinPath(directory, hierarchy.usage));
  if (!limit || !usage) return kUnlimited;
  const size_t reclaimable = ReadLine(JoinPath(directory, "memory.stat"), hierarchy.reclaimable).value_or(0);
  const size_t held = *usage - std::min(*usage, reclaimable);
  return *limit - std::min(*limit, held);
}

size_t LeftInGroups(const KernelFiles& files) {
  size_t left = kUnlimited;
  for (const Hierarchy& hierarchy : {kVersion2, kVersion1}) {
    ForEachGroup(files, hierarchy.place,
                 [&](const std::string& group) { left = std::min(left, LeftInGroup(hierarchy, group)); });
  }
  return left;
}

}  // namespace

size_t AvailableMemoryBytes(const KernelFiles& files) {
  constexpr size_t kGuessKib = size_t{1} << 20;
  const size_t available = ReadLine(JoinPath(files.proc, "meminfo"), "MemAvailable:").value_or(kGuessKib) << 10;
  return std::min(available, LeftInGroups(files));
}

}  // namespace quire
