#include "hub/repo_listing.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "hub/repo_ref.h"

namespace quire {
namespace {

// Read with sorted members, so that a listing with many of them is read in no time; written in the order of
// huggingface_hub.
using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr int kTreeVersion = 1;

bool IsHex(std::string_view text, size_t length) {
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f'); };
  return text.size() == length && std::ranges::all_of(text, is_digit);
}

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Result<uint64_t> SizeOf(const Json& object, const char* key, const std::string& path) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return DataLoss("{} has no {}", path, key);
  return found->get<uint64_t>();
}

Status Check(const RepoFile& file) {
  if (!IsSafePath(file.path)) return DataLoss("\"{}\" is no path of a file", file.path);
  if (!IsHex(file.blob_id, 40))
    return DataLoss("{} has the digest \"{}\", which is none of git", file.path, file.blob_id);
  if (file.sha256.empty() || IsHex(file.sha256, 64)) return {};
  return DataLoss("{} has the digest \"{}\", which is no SHA-256", file.path, file.sha256);
}

Result<RepoFile> FileOfPage(const Json& entry) {
  RepoFile file;
  file.path = TextOf(entry, "path");
  QUIRE_ASSIGN_OR_RETURN(file.size, SizeOf(entry, "size", file.path));
  file.blob_id = TextOf(entry, "oid");
  file.xet_hash = TextOf(entry, "xetHash");
  if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
    file.sha256 = TextOf(*lfs, "oid");
    if (file.sha256.empty()) return DataLoss("{} is in LFS and has no digest", file.path);
    QUIRE_ASSIGN_OR_RETURN(file.size, SizeOf(*lfs, "size", file.path));
  }
  QUIRE_RETURN_IF_ERROR(Check(file));
  return file;
}

Result<RepoFile> FileOfTree(const std::string& path, const Json& entry) {
  if (!entry.is_object()) return DataLoss("{} is described by no object", path);
  RepoFile file;
  file.path = path;
  QUIRE_ASSIGN_OR_RETURN(file.size, SizeOf(entry, "size", path));
  file.blob_id = TextOf(entry, "blob_id");
  file.sha256 = TextOf(entry, "lfs_sha256");
  file.xet_hash = TextOf(entry, "xet_hash");
  if (!file.sha256.empty()) {
    QUIRE_ASSIGN_OR_RETURN(file.size, SizeOf(entry, "lfs_size", path));
  }
  QUIRE_RETURN_IF_ERROR(Check(file));
  return file;
}

OrderedJson TreeEntry(const RepoFile& file) {
  OrderedJson entry = {{"size", file.size}, {"blob_id", file.blob_id}};
  if (!file.sha256.empty()) {
    entry["lfs_sha256"] = file.sha256;
    entry["lfs_size"] = file.size;
  }
  if (IsHex(file.xet_hash, 64)) entry["xet_hash"] = file.xet_hash;
  return entry;
}

void SortByPath(std::vector<RepoFile>& files) { std::ranges::sort(files, {}, &RepoFile::path); }

}  // namespace

Status AddListingPage(std::string_view json, std::vector<RepoFile>& files) {
  const Json page = Json::parse(json, nullptr, false);
  if (!page.is_array()) return DataLoss("the list of files is no JSON array");
  for (const Json& entry : page) {
    if (!entry.is_object()) return DataLoss("the list of files has an entry that is no object");
    if (TextOf(entry, "type") != "file") continue;
    QUIRE_ASSIGN_OR_RETURN(RepoFile file, FileOfPage(entry));
    files.push_back(std::move(file));
  }
  return {};
}

std::string FormatTreeFile(const std::vector<RepoFile>& files) {
  std::vector<RepoFile> sorted = files;
  SortByPath(sorted);
  OrderedJson entries = OrderedJson::object();
  // Not operator[], which searches all keys before it.
  auto& members = entries.get_ref<OrderedJson::object_t&>();
  for (const RepoFile& file : sorted) members.push_back({file.path, TreeEntry(file)});
  OrderedJson tree = {{"format_version", kTreeVersion}};
  tree["files"] = std::move(entries);
  return tree.dump(1, ' ', true, OrderedJson::error_handler_t::replace);
}

Result<std::vector<RepoFile>> ParseTreeFile(std::string_view json) {
  const Json tree = Json::parse(json, nullptr, false);
  if (!tree.is_object()) return DataLoss("the list of files is no JSON object");
  const auto version = tree.find("format_version");
  if (version == tree.end() || *version != kTreeVersion) return DataLoss("the list of files is of an unknown version");
  const auto entries = tree.find("files");
  if (entries == tree.end() || !entries->is_object()) return DataLoss("the list of files names none");
  std::vector<RepoFile> files;
  for (const auto& [path, entry] : entries->items()) {
    QUIRE_ASSIGN_OR_RETURN(RepoFile file, FileOfTree(path, entry));
    files.push_back(std::move(file));
  }
  SortByPath(files);
  return files;
}

}  // namespace quire
