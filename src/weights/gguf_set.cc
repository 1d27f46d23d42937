#include "weights/gguf_set.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/foreign_file.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr std::string_view kGgufSuffix = ".gguf";
constexpr int64_t kMaxParts = 99999;  // what the names have digits for

// "/models/big-00002-of-00003.gguf" in its pieces.
struct PartName {
  std::string prefix;  // "/models/big"
  int64_t number = 1;  // from 1
  int64_t count = 1;

  std::string Of(int64_t which) const { return fmt::format("{}-{:05}-of-{:05}{}", prefix, which, count, kGgufSuffix); }
};

std::optional<PartName> ParsePartName(std::string_view path) {
  constexpr std::string_view kPattern = "-#####-of-#####.gguf";
  if (path.size() <= kPattern.size()) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kPattern.size());
  for (size_t i = 0; i < tail.size(); ++i) {
    const bool matches = kPattern[i] == '#' ? tail[i] >= '0' && tail[i] <= '9' : tail[i] == kPattern[i];
    if (!matches) return std::nullopt;
  }
  const auto number = [&](size_t at) { return std::stoll(std::string(tail.substr(at, 5))); };
  return PartName{std::string(path.substr(0, path.size() - kPattern.size())), number(1), number(10)};
}

Result<GgufFile> OpenPart(const PartName& name, int64_t number) {
  const std::string path = name.Of(number);
  if (!Env::Posix().Exists(path)) {
    const std::string link = DanglingLink(path);
    return NotFound("{} is missing: part {} of {}{}{}", path, number, name.count,
                    link.empty() ? ": the download is incomplete" : ": ", link);
  }
  QUIRE_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  QUIRE_ASSIGN_OR_RETURN(const int64_t count, file.metadata().IntOr("split.count", 1, 0, kMaxParts));
  QUIRE_ASSIGN_OR_RETURN(const int64_t index, file.metadata().IntOr("split.no", 0, 0, kMaxParts));
  if (count != name.count || index != number - 1) {
    return DataLoss("{}: it says that it is part {} of {}, and its name part {} of {}", path, index + 1, count, number,
                    name.count);
  }
  return file;
}

}  // namespace

Result<GgufSet> GgufSet::Open(const std::string& path) {
  GgufSet set;
  QUIRE_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  QUIRE_ASSIGN_OR_RETURN(const int64_t count, file.metadata().IntOr("split.count", 1, 0, kMaxParts));
  if (count <= 1) {
    set.files_.push_back(std::move(file));
  } else {
    const std::optional<PartName> name = ParsePartName(path);
    if (!name || name->count != count) {
      return InvalidArgument(
          "{}: it is one of {} parts, which are found by their names: it must be named as it was split, "
          "NAME-00001-of-{:05}.gguf",
          path, count, count);
    }
    for (int64_t number = 1; number <= count; ++number) {
      QUIRE_ASSIGN_OR_RETURN(GgufFile part, OpenPart(*name, number));
      set.files_.push_back(std::move(part));
    }
  }
  QUIRE_RETURN_IF_ERROR(set.AddTensors());
  return set;
}

Status GgufSet::AddTensors() {
  for (const GgufFile& file : files_) {
    for (const auto& [name, tensor] : file.tensors()) {
      const auto [place, inserted] = tensors_.emplace(name, Place{&file, &tensor});
      if (!inserted) {
        return DataLoss("{}: tensor {} is in {} already", file.path(), PrintableName(name), place->second.file->path());
      }
    }
  }
  if (files_.size() == 1) return {};
  const auto num_tensors = static_cast<int64_t>(tensors_.size());
  QUIRE_ASSIGN_OR_RETURN(const int64_t said, metadata().IntOr("split.tensors.count", num_tensors));
  if (said == num_tensors) return {};
  return DataLoss("{}: key \"split.tensors.count\" is {}, and the parts hold {} tensors", metadata().path(), said,
                  num_tensors);
}

Result<std::string> FindGgufFile(const std::string& directory) {
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, Env::Posix().ListDirectory(directory));
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (!name.ends_with(kGgufSuffix) || name.starts_with('.') || name.starts_with("mmproj")) continue;
    const std::optional<PartName> part = ParsePartName(name);
    const std::string first = part ? part->Of(1) : name;
    if (std::find(found.begin(), found.end(), first) == found.end()) found.push_back(first);
  }
  if (found.empty()) return std::string();
  if (found.size() == 1) return JoinPath(directory, found.front());
  return InvalidArgument("{}: there are {} GGUF models: name the file, one of {}", directory, found.size(),
                         fmt::join(found, ", "));
}

}  // namespace quire
