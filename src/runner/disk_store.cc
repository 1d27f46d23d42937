#include "runner/disk_store.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/log.h"

namespace quire {
namespace {

constexpr uint32_t kFormat = 1;
constexpr char kMagic[8] = {'Q', 'u', 'i', 'r', 'e', 'K', 'V', '\n'};
constexpr std::string_view kRootPrefix = "v1-";  // of kFormat
constexpr std::string_view kSuffix = ".kv", kTemporarySuffix = ".tmp";
constexpr size_t kDigestDigits = 32;

struct FileHeader {
  char magic[8];
  uint64_t checksum;  // XXH3 of everything behind this field, to the end of the file
  uint32_t format;
  uint32_t num_tokens;
  KvFingerprint fingerprint;
  PrefixDigest digest;
  PrefixDigest parent;
  uint64_t block_bytes;
};
static_assert(sizeof(FileHeader) == 80, "no padding: every byte is written and checked");
constexpr size_t kChecksummedFrom = offsetof(FileHeader, format);

uint64_t ChecksumOf(std::string_view file) {
  const std::string_view covered = file.substr(kChecksummedFrom);
  return XXH3_64bits(covered.data(), covered.size());
}

std::string HexOf(uint64_t high, uint64_t low) { return fmt::format("{:016x}{:016x}", high, low); }

std::optional<uint64_t> ParseHex(std::string_view digits) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<PrefixDigest> ParseDigest(std::string_view digits) {
  if (digits.size() != kDigestDigits) return std::nullopt;
  const auto high = ParseHex(digits.substr(0, kDigestDigits / 2)), low = ParseHex(digits.substr(kDigestDigits / 2));
  if (!high || !low) return std::nullopt;
  return PrefixDigest{*high, *low};
}

// Of "<32 hex digits>.kv".
std::optional<PrefixDigest> DigestOfName(std::string_view name) {
  if (!name.ends_with(kSuffix)) return std::nullopt;
  return ParseDigest(name.substr(0, name.size() - kSuffix.size()));
}

std::string RootName(const KvFingerprint& fingerprint) {
  return std::string(kRootPrefix) + HexOf(fingerprint.high, fingerprint.low);
}

void LogOtherRoots(const Env& env, const std::string& directory, const std::string& own_name) {
  const Result<std::vector<std::string>> names = env.ListDirectory(directory);
  if (!names.ok()) return;
  const auto num_others = std::ranges::count_if(*names, [&](const std::string& name) {
    return name != own_name && name.starts_with(kRootPrefix) &&
           ParseDigest(std::string_view(name).substr(kRootPrefix.size())) && env.IsDirectory(JoinPath(directory, name));
  });
  if (num_others == 0) return;
  LogInfo("prefix_cache_of_others directories={} below={} own={}", num_others, LogValue(directory), own_name);
}

void Append(std::string& out, const void* data, size_t bytes) { out.append(static_cast<const char*>(data), bytes); }

std::string MakeFile(const BlockKey& key, const KvFingerprint& fingerprint, std::span<const std::byte> block) {
  FileHeader header = {.checksum = 0,
                       .format = kFormat,
                       .num_tokens = static_cast<uint32_t>(key.tokens.size()),
                       .fingerprint = fingerprint,
                       .digest = key.digest,
                       .parent = key.parent,
                       .block_bytes = block.size()};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::string file;
  file.reserve(sizeof(header) + key.tokens.size_bytes() + block.size());
  Append(file, &header, sizeof(header));
  Append(file, key.tokens.data(), key.tokens.size_bytes());
  Append(file, block.data(), block.size());
  header.checksum = ChecksumOf(file);
  std::memcpy(file.data(), &header, sizeof(header));
  return file;
}

}  // namespace

Result<std::unique_ptr<DiskStore>> DiskStore::Open(const DiskStoreOptions& options) {
  const Env& env = *options.env;
  const std::string name = RootName(options.fingerprint), root = JoinPath(options.directory, name);
  QUIRE_RETURN_IF_ERROR(env.CreateDirectories(root));
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, env.Lock(JoinPath(root, "LOCK")));
  std::unique_ptr<DiskStore> store(new DiskStore(options, root, std::move(lock)));
  QUIRE_RETURN_IF_ERROR(store->List());
  LogOtherRoots(env, options.directory, name);
  return store;
}

DiskStore::DiskStore(const DiskStoreOptions& options, std::string root, std::unique_ptr<FileLock> lock)
    : env_(*options.env), fingerprint_(options.fingerprint), root_(std::move(root)), lock_(std::move(lock)) {}

Status DiskStore::List() {
  std::vector<std::pair<int64_t, PrefixDigest>> found;  // by time of last use
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> folders, env_.ListDirectory(root_));
  size_t num_skipped = 0;
  std::string reason;  // of the first
  for (const std::string& folder : folders) {
    if (folder.size() != 2 || !ParseHex(folder)) continue;
    const Status listed = ListFolder(folder, found);
    if (!listed.ok() && num_skipped++ == 0) reason = listed.error().message;
  }
  if (num_skipped > 0) LogWarning("prefix_cache_folders_skipped count={} reason={}", num_skipped, LogValue(reason));
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [time, digest] : found) contents_.push_back(digest);
  return {};
}

Status DiskStore::ListFolder(const std::string& folder, std::vector<std::pair<int64_t, PrefixDigest>>& found) const {
  const std::string path = JoinPath(root_, folder);
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, env_.ListDirectory(path));
  for (const std::string& name : names) {
    if (name.ends_with(kTemporarySuffix)) (void)env_.Remove(JoinPath(path, name)).ok();
    const std::optional<PrefixDigest> digest = DigestOfName(name);
    if (!digest || !name.starts_with(folder)) continue;
    const Result<int64_t> time = env_.ModifiedTime(JoinPath(path, name));
    if (time.ok()) found.emplace_back(*time, *digest);
  }
  return {};
}

std::string DiskStore::FolderOf(const PrefixDigest& digest) const {
  return JoinPath(root_, HexOf(digest.high, digest.low).substr(0, 2));
}

std::string DiskStore::PathOf(const PrefixDigest& digest) const {
  return JoinPath(FolderOf(digest), HexOf(digest.high, digest.low));
}

Status DiskStore::Store(const BlockKey& key, std::span<const std::byte> block) const {
  const std::string path = PathOf(key.digest), temporary = path + std::string(kTemporarySuffix);
  QUIRE_RETURN_IF_ERROR(env_.CreateDirectories(FolderOf(key.digest)));
  Status status = env_.WriteFile(temporary, MakeFile(key, fingerprint_, block));
  if (status.ok()) status = env_.SetModifiedNow(temporary);
  if (status.ok()) status = env_.Rename(temporary, path + std::string(kSuffix));
  if (!status.ok()) (void)env_.Remove(temporary).ok();
  return status;
}

Status DiskStore::Load(const BlockKey& key, std::span<std::byte> block) const {
  const std::string path = PathOf(key.digest) + std::string(kSuffix);
  const size_t file_bytes = sizeof(FileHeader) + key.tokens.size_bytes() + block.size();
  const Result<std::string> file = env_.ReadFileUpTo(path, file_bytes + 1);  // one more: a longer file is told by it
  if (!file.ok()) {
    if (file.error().code == ErrorCode::kDataLoss) (void)env_.Remove(path).ok();
    return file.error();
  }
  switch (Check(*file, key, block.size())) {
    case Soundness::kSound:
      std::memcpy(block.data(), file->data() + file->size() - block.size(), block.size());
      // Only the order of a later start depends on it.
      (void)env_.SetModifiedNow(path).ok();
      return {};
    case Soundness::kForeign:
      return InvalidArgument("{} belongs to another model or layout: left alone", path);
    case Soundness::kDamaged:
      (void)env_.Remove(path).ok();
      return DataLoss("{} is truncated or damaged: removed", path);
    case Soundness::kOther:
      (void)env_.Remove(path).ok();
      return DataLoss("{} holds another block than its name says: removed", path);
  }
  return {};
}

DiskStore::Soundness DiskStore::Check(const std::string& file, const BlockKey& key, size_t block_bytes) const {
  FileHeader header;
  if (file.size() < sizeof(header)) return Soundness::kDamaged;
  std::memcpy(&header, file.data(), sizeof(header));
  const size_t token_bytes = key.tokens.size_bytes(), file_bytes = sizeof(header) + token_bytes + block_bytes;
  // Of a longer one only its header can be trusted, and no further than to leave it alone.
  const bool is_longer = file.size() > file_bytes;
  const bool is_whole =
      std::memcmp(header.magic, kMagic, sizeof(kMagic)) == 0 && (is_longer || header.checksum == ChecksumOf(file));
  if (!is_whole || header.format != kFormat) return Soundness::kDamaged;
  if (header.fingerprint != fingerprint_) return Soundness::kForeign;
  if (is_longer) return Soundness::kDamaged;
  const bool has_size =
      header.num_tokens == key.tokens.size() && header.block_bytes == block_bytes && file.size() == file_bytes;
  const bool is_asked_for = has_size && header.digest == key.digest && header.parent == key.parent &&
                            std::memcmp(file.data() + sizeof(header), key.tokens.data(), token_bytes) == 0;
  return is_asked_for ? Soundness::kSound : Soundness::kOther;
}

Status DiskStore::Drop(const PrefixDigest& digest) const {
  Status status = env_.Remove(PathOf(digest) + std::string(kSuffix));
  if (!status.ok() && status.error().code == ErrorCode::kNotFound) return {};
  return status;
}

}  // namespace quire
