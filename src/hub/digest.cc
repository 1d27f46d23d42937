#include "hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <span>

#include "base/check.h"

namespace quire {
namespace {

constexpr size_t kSha256Digits = 64;

struct DeleteContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

struct FileDigest::State {
  std::unique_ptr<EVP_MD_CTX, DeleteContext> context;
};

FileDigest::FileDigest(std::string_view etag, uint64_t size) : state_(std::make_unique<State>()) {
  const bool is_lfs = etag.size() == kSha256Digits;
  state_->context.reset(EVP_MD_CTX_new());
  QUIRE_CHECK(state_->context != nullptr);
  QUIRE_CHECK(EVP_DigestInit_ex(state_->context.get(), is_lfs ? EVP_sha256() : EVP_sha1(), nullptr) == 1);
  if (is_lfs) return;
  std::string header = fmt::format("blob {}", size);
  header += '\0';
  Add(header);
}

FileDigest::~FileDigest() = default;
FileDigest::FileDigest(FileDigest&&) noexcept = default;
FileDigest& FileDigest::operator=(FileDigest&&) noexcept = default;

void FileDigest::Add(std::string_view bytes) {
  QUIRE_CHECK(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
}

std::string FileDigest::Finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  QUIRE_CHECK(EVP_DigestFinal_ex(state_->context.get(), digest, &size) == 1);
  std::string text;
  for (const unsigned char byte : std::span(digest, size)) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace quire
