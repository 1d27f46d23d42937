#include "hub/gguf_groups.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

constexpr std::string_view kSuffix = ".gguf";

std::string Upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

std::string_view FileName(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

bool AreDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

struct PartName {
  std::string_view stem;
  size_t part = 1;
  size_t num_parts = 1;
};

// "name-00002-of-00003.gguf", with five digits each.
PartName ParsePart(std::string_view path) {
  const std::string_view stem = path.substr(0, path.size() - kSuffix.size());
  constexpr size_t kTail = std::string_view("-00001-of-00003").size();
  if (stem.size() <= kTail) return {.stem = stem};
  const std::string_view tail = stem.substr(stem.size() - kTail);
  const std::string_view part = tail.substr(1, 5), total = tail.substr(10, 5);
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || !AreDigits(part) || !AreDigits(total)) return {.stem = stem};
  const auto number = [](std::string_view digits) { return static_cast<size_t>(std::stoul(std::string(digits))); };
  return {.stem = stem.substr(0, stem.size() - kTail), .part = number(part), .num_parts = number(total)};
}

bool IsModel(std::string_view path) {
  if (!Upper(path).ends_with(".GGUF")) return false;
  const std::string name = Upper(FileName(path));
  return !name.starts_with("MMPROJ") && name.find("IMATRIX") == std::string::npos;
}

// "Q4_K_M", "IQ2_XXS", "TQ1_0", "BF16", "F32", "MXFP4_MOE".
bool IsFormat(std::string_view word) {
  const std::string name = Upper(word);
  for (const std::string_view whole : {"BF16", "F16", "F32", "FP16", "FP32"}) {
    if (name == whole) return true;
  }
  if (name.starts_with("MXFP4")) return true;
  std::string_view rest = name;
  if (rest.starts_with('I') || rest.starts_with('T')) rest.remove_prefix(1);
  return rest.size() >= 2 && rest[0] == 'Q' && std::isdigit(static_cast<unsigned char>(rest[1])) != 0;
}

// The format at the end of the name, with what makes a kind of its own of it ("UD-", "i1-").
std::string LabelOf(std::string_view stem) {
  const std::string_view name = FileName(stem);
  const size_t at = name.find_last_of("-.");
  const std::string_view last = at == name.npos ? name : name.substr(at + 1);
  if (!IsFormat(last)) return "";
  for (const std::string_view prefix : {"UD-", "i1-"}) {
    if (at != name.npos && Upper(name.substr(0, at + 1)).ends_with(Upper(prefix)))
      return std::string(prefix) + std::string(last);
  }
  return std::string(last);
}

bool EndsWithWord(std::string_view stem, std::string_view selector) {
  const std::string whole = Upper(FileName(stem)), word = Upper(selector);
  if (!whole.ends_with(word)) return false;
  const size_t before = whole.size() - word.size();
  return before == 0 || std::string_view("-._").find(whole[before - 1]) != std::string_view::npos;
}

std::string Describe(const std::vector<GgufGroup>& groups) {
  constexpr size_t kMost = 40;
  std::string text;
  for (size_t i = 0; i < std::min(groups.size(), kMost); ++i) {
    const GgufGroup& group = groups[i];
    if (i > 0) text += ", ";
    text += group.label.empty() ? group.parts.front().path : group.label;
  }
  return groups.size() > kMost ? text + ", ..." : text;
}

std::string DescribeFiles(const std::vector<GgufGroup>& groups) {
  std::string text;
  for (const GgufGroup& group : groups) text += (text.empty() ? "" : ", ") + group.parts.front().path;
  return text;
}

// The most usual first. Where a repository has several of a kind, the shortest name is the model itself.
constexpr const char* kUsual[] = {"Q4_K_M", "Q4_K_XL",   "Q4_K_S", "Q4_0", "Q4_1", "IQ4_XS", "IQ4_NL",
                                  "MXFP4",  "MXFP4_MOE", "Q5_K_M", "Q6_K", "Q8_0", "BF16",   "F16"};

const GgufGroup& UsualOf(const std::vector<GgufGroup>& groups) {
  for (const char* name : kUsual) {
    const GgufGroup* best = nullptr;
    for (const GgufGroup& group : groups) {
      if (!EndsWithWord(group.stem, name)) continue;
      if (best == nullptr || group.stem.size() < best->stem.size()) best = &group;
    }
    if (best != nullptr) return *best;
  }
  return groups.front();
}

std::vector<GgufGroup> Matching(const std::vector<GgufGroup>& groups, std::string_view selector) {
  std::vector<GgufGroup> by_file, by_label, by_word;
  for (const GgufGroup& group : groups) {
    const auto is_named = [&](const RepoFile& file) {
      return file.path == selector || FileName(file.path) == selector;
    };
    if (std::ranges::any_of(group.parts, is_named)) by_file.push_back(group);
    if (!group.label.empty() && Upper(group.label) == Upper(selector)) by_label.push_back(group);
    if (EndsWithWord(group.stem, selector)) by_word.push_back(group);
  }
  if (!by_file.empty()) return by_file;
  return by_label.empty() ? by_word : by_label;
}

}  // namespace

uint64_t GgufGroup::size() const {
  uint64_t sum = 0;
  for (const RepoFile& part : parts) sum += part.size;
  return sum;
}

std::vector<GgufGroup> GroupGgufFiles(const std::vector<RepoFile>& listing) {
  std::map<std::pair<std::string, size_t>, std::map<size_t, RepoFile>> found;
  for (const RepoFile& file : listing) {
    if (!IsModel(file.path)) continue;
    const PartName name = ParsePart(file.path);
    if (name.part == 0 || name.part > name.num_parts) continue;
    found[{std::string(name.stem), name.num_parts}].emplace(name.part, file);
  }
  std::vector<GgufGroup> groups;
  for (const auto& [key, parts] : found) {
    GgufGroup group = {.stem = key.first, .label = LabelOf(key.first), .num_parts = key.second};
    for (const auto& [part, file] : parts) group.parts.push_back(file);
    groups.push_back(std::move(group));
  }
  return groups;
}

Result<GgufGroup> PickGguf(const std::vector<GgufGroup>& groups, std::string_view selector) {
  const std::vector<GgufGroup> matching =
      selector.empty() ? std::vector<GgufGroup>{UsualOf(groups)} : Matching(groups, selector);
  if (matching.empty()) {
    return NotFound("there is no GGUF file of the quantisation \"{}\": there are {}", selector, Describe(groups));
  }
  if (matching.size() > 1) {
    return InvalidArgument("\"{}\" may mean several files: name one of {}", selector, DescribeFiles(matching));
  }
  const GgufGroup& group = matching.front();
  if (group.complete()) return group;
  return DataLoss("{} has {} of its {} parts", group.stem, group.parts.size(), group.num_parts);
}

}  // namespace quire
