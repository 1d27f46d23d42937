// DiskStore: KV blocks in files, one per block, by the digest of the prefix that ends with the block; they outlive the
// process. Which blocks are stored and which go is decided elsewhere (kv/disk_index.h); this carries it out and trusts
// no byte that it reads.
//
//   <directory>/v1-<fingerprint, 32 hex digits>/LOCK                        held while a store is open
//   <directory>/v1-<fingerprint, 32 hex digits>/<2 digits>/<32 digits>.kv   by digest; <32 digits>.tmp while written
//
// A file is a FileHeader, the block's tokens, and its bytes as the backend gave them, all in the host's byte order. It
// is written under its temporary name and renamed, without fsync: a file that a crash has torn fails its checksum and
// counts as lost. What is known to be no good is deleted, so that the directory holds what the index knows; a file of
// another fingerprint is left alone. The modification time is that of the last use.
//
// Thread-safe, for different digests at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "kv/prefix_digest.h"
#include "quire/result.h"

namespace quire {

// Of everything that makes keys and values comparable: weights, tokenizer, the backend's kv_layout(), KV dtype, block
// size. Blocks of different fingerprints never meet.
struct KvFingerprint {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const KvFingerprint&, const KvFingerprint&) = default;
};

struct DiskStoreOptions {
  std::string directory;
  KvFingerprint fingerprint;
  const Env* env = &Env::Posix();  // outlives the store
};

// What a file must hold to be the block that is asked for.
struct BlockKey {
  PrefixDigest digest;
  PrefixDigest parent;
  std::span<const int32_t> tokens;
};

class DiskStore {
 public:
  // Creates the directory if it is absent, removes what an interrupted store left, and lists what is there; a folder
  // that cannot be listed is left out. An error (no directory, no permission, another process uses it) names the
  // directory. The log tells of the directories of other fingerprints, which nobody else bounds.
  static Result<std::unique_ptr<DiskStore>> Open(const DiskStoreOptions& options);
  DiskStore(const DiskStore&) = delete;
  DiskStore& operator=(const DiskStore&) = delete;

  const KvFingerprint& fingerprint() const { return fingerprint_; }
  // The blocks that Open found, by their names alone, the least recently used first.
  const std::vector<PrefixDigest>& contents() const { return contents_; }

  // An error leaves no file of this block that was not there before.
  Status Store(const BlockKey& key, std::span<const std::byte> block) const;
  // Fills `block` with what was stored under just this key. An error leaves it as it was: kNotFound, kDataLoss
  // (damaged, or not what its name says: the file is removed), kInvalidArgument (another fingerprint's), or the
  // system's, which may pass.
  Status Load(const BlockKey& key, std::span<std::byte> block) const;
  // One that is not there is no error.
  Status Drop(const PrefixDigest& digest) const;

 private:
  enum class Soundness : uint8_t { kSound, kDamaged, kForeign, kOther };

  DiskStore(const DiskStoreOptions& options, std::string root, std::unique_ptr<FileLock> lock);
  Status List();
  Status ListFolder(const std::string& folder, std::vector<std::pair<int64_t, PrefixDigest>>& found) const;
  std::string FolderOf(const PrefixDigest& digest) const;
  std::string PathOf(const PrefixDigest& digest) const;
  Soundness Check(const std::string& file, const BlockKey& key, size_t block_bytes) const;

  const Env& env_;
  const KvFingerprint fingerprint_;
  const std::string root_;
  const std::unique_ptr<FileLock> lock_;
  std::vector<PrefixDigest> contents_;
};

}  // namespace quire
