#include "llm/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/readable_file.h"
#include "base/thread_team.h"
#include "llm/available_cpus.h"
#include "llm/model_text.h"
#include "model/model_files.h"
#include "quire/version.h"
#include "tensor/buffer.h"
#include "weights/gguf_set.h"

namespace quire {
namespace {

class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }

  // Parts are told apart by their lengths.
  void Add(std::span<const std::byte> bytes) {
    const uint64_t size = bytes.size();
    XXH3_128bits_update(state_.get(), &size, sizeof(size));
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  void Add(std::string_view text) { Add(std::as_bytes(std::span(text.data(), text.size()))); }

  KvFingerprint Digest() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {.high = hash.high64, .low = hash.low64};
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

// A large file by its pieces, which threads share: each has a digest, and these are hashed in order.
class FileHasher {
 public:
  explicit FileHasher(ThreadTeam& team) : team_(team) {}

  Status Add(const std::string& directory, const std::string& name, Hasher& hasher) {
    QUIRE_ASSIGN_OR_RETURN(const ReadableFile file, ReadableFile::Open(JoinPath(directory, name)));
    hasher.Add(name);
    const auto num_pieces = static_cast<int64_t>((file.size() + kPiece - 1) / kPiece);
    std::vector<KvFingerprint> digests(static_cast<size_t>(num_pieces));
    std::vector<Status> statuses(static_cast<size_t>(team_.num_threads()));
    QUIRE_ASSIGN_OR_RETURN(const Buffer staging, Buffer::Allocate(kPiece * static_cast<size_t>(team_.num_threads())));
    team_.Run([&](int thread) {
      auto* own = static_cast<std::byte*>(staging.data()) + kPiece * static_cast<size_t>(thread);
      for (int64_t i = thread; i < num_pieces && statuses[static_cast<size_t>(thread)].ok(); i += team_.num_threads()) {
        const uint64_t begin = static_cast<uint64_t>(i) * kPiece;
        const std::span<std::byte> piece(own, std::min<uint64_t>(kPiece, file.size() - begin));
        statuses[static_cast<size_t>(thread)] = file.Read(begin, piece);
        const XXH128_hash_t hash = XXH3_128bits(piece.data(), piece.size());
        digests[static_cast<size_t>(i)] = {.high = hash.high64, .low = hash.low64};
      }
    });
    for (Status& status : statuses) QUIRE_RETURN_IF_ERROR(std::move(status));
    hasher.Add(std::as_bytes(std::span(digests)));
    return {};
  }

 private:
  static constexpr uint64_t kPiece = uint64_t{1} << 20;
  ThreadTeam& team_;
};

Status AddDirectory(const std::string& directory, FileHasher& files, Hasher& hasher) {
  QUIRE_RETURN_IF_ERROR(files.Add(directory, "config.json", hasher));
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, Env::Posix().ListDirectory(directory));
  for (const std::string& name : names) {
    if (name.ends_with(".safetensors")) QUIRE_RETURN_IF_ERROR(files.Add(directory, name, hasher));
  }
  return {};
}

// With all its parts.
Status AddGgufFile(const std::string& path, FileHasher& files, Hasher& hasher) {
  QUIRE_ASSIGN_OR_RETURN(const GgufSet set, GgufSet::Open(path));
  for (const GgufFile& file : set.files()) {
    const std::filesystem::path part = std::filesystem::absolute(file.path());
    QUIRE_RETURN_IF_ERROR(files.Add(part.parent_path().string(), part.filename().string(), hasher));
  }
  return {};
}

}  // namespace

Result<KvFingerprint> FingerprintModel(const FingerprintInput& input) {
  Hasher hasher;
  hasher.Add(kVersion);  // kernels may round differently in another
  hasher.Add(input.layout);
  constexpr int kMaxThreads = 8;  // which saturate the memory of most machines
  QUIRE_ASSIGN_OR_RETURN(ThreadTeam team, ThreadTeam::Start(std::min(AvailableCpus(), kMaxThreads)));
  FileHasher files(team);
  QUIRE_ASSIGN_OR_RETURN(const std::string tokenizer, FindTokenizerGguf(input.tokenizer));
  if (tokenizer.empty()) {
    QUIRE_RETURN_IF_ERROR(files.Add(input.tokenizer, "tokenizer.json", hasher));
  } else if (tokenizer != input.model) {
    QUIRE_RETURN_IF_ERROR(AddGgufFile(tokenizer, files, hasher));
  }
  QUIRE_RETURN_IF_ERROR(IsGgufModel(input.model) ? AddGgufFile(input.model, files, hasher)
                                                 : AddDirectory(input.model, files, hasher));
  return hasher.Digest();
}

}  // namespace quire
