#include "hub/cache_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/env.h"

namespace quire {
namespace {

constexpr std::string_view kSeparator = "--";

std::string FolderName(std::string_view repo_id) {
  std::string name = kRepoFolderPrefix + std::string(repo_id);
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, kSeparator);
  return name;
}

}  // namespace

CacheLayout::CacheLayout(std::string cache_directory, std::string_view repo_id)
    : cache_(std::move(cache_directory)), name_(FolderName(repo_id)), folder_(JoinPath(cache_, name_)) {}

std::string CacheLayout::Blob(std::string_view etag) const { return fmt::format("{}/blobs/{}", folder_, etag); }

std::string CacheLayout::Incomplete(std::string_view etag) const { return Blob(etag) + ".incomplete"; }

std::string CacheLayout::Lock(std::string_view etag) const { return fmt::format("{}/{}.lock", LockFolder(), etag); }

std::string CacheLayout::LockFolder() const { return JoinPath(JoinPath(cache_, ".locks"), name_); }

std::string CacheLayout::Ref(std::string_view revision) const { return fmt::format("{}/refs/{}", folder_, revision); }

std::string CacheLayout::Snapshot(std::string_view commit) const {
  return fmt::format("{}/snapshots/{}", folder_, commit);
}

std::string CacheLayout::SnapshotFile(std::string_view commit, std::string_view path) const {
  return fmt::format("{}/{}", Snapshot(commit), path);
}

std::string CacheLayout::Tree(std::string_view commit) const {
  return fmt::format("{}/trees/{}.json", folder_, commit);
}

std::string CacheLayout::NoExist(std::string_view commit, std::string_view path) const {
  return fmt::format("{}/.no_exist/{}/{}", folder_, commit, path);
}

std::string CacheLayout::LinkTarget(std::string_view path, std::string_view etag) {
  std::string target = "../../";
  for (auto depth = std::ranges::count(path, '/'); depth > 0; --depth) target += "../";
  return fmt::format("{}blobs/{}", target, etag);
}

std::string RepoIdOfFolder(std::string_view folder_name) {
  if (!folder_name.starts_with(kRepoFolderPrefix)) return "";
  std::string id(folder_name.substr(std::string_view(kRepoFolderPrefix).size()));
  if (const size_t at = id.find(kSeparator); at != std::string::npos) id.replace(at, kSeparator.size(), "/");
  return id.find(kSeparator) == std::string::npos ? id : "";
}

}  // namespace quire
