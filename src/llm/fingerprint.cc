#include "llm/fingerprint.h"

#include <xxhash.h>

#include <memory>
#include <span>
#include <string_view>

#include "base/env.h"
#include "base/mapped_file.h"
#include "quire/version.h"

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

Status AddFile(const std::string& directory, const std::string& name, Hasher& hasher) {
  QUIRE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(JoinPath(directory, name)));
  hasher.Add(name);
  hasher.Add(file.bytes());
  return {};
}

}  // namespace

Result<KvFingerprint> FingerprintModel(const FingerprintInput& input) {
  Hasher hasher;
  hasher.Add(kVersion);  // kernels may round differently in another
  hasher.Add(input.layout);
  QUIRE_RETURN_IF_ERROR(AddFile(input.tokenizer_directory, "tokenizer.json", hasher));
  QUIRE_RETURN_IF_ERROR(AddFile(input.model_directory, "config.json", hasher));
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, Env::Posix().ListDirectory(input.model_directory));
  for (const std::string& name : names) {
    if (name.ends_with(".safetensors")) QUIRE_RETURN_IF_ERROR(AddFile(input.model_directory, name, hasher));
  }
  return hasher.Digest();
}

}  // namespace quire
