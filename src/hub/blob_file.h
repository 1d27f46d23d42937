// A blob while its bytes come: <etag>.incomplete, under the lock that huggingface_hub takes for the same blob. What an
// earlier download left there is gone on with. It gets the blob's name when all bytes are there and their digest is
// right: nothing else has that name ever. Thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "hub/cache_layout.h"
#include "hub/digest.h"
#include "hub/repo_listing.h"
#include "quire/result.h"

namespace quire {

class BlobFile {
 public:
  // Nothing while another process, or another object, has the lock. Directories are made as needed.
  static Result<std::optional<BlobFile>> Open(const CacheLayout& layout, const RepoFile& file);
  ~BlobFile();
  BlobFile(BlobFile&& other) noexcept;
  BlobFile& operator=(BlobFile&&) = delete;

  // It has its name already, whoever gave it. Nothing else is to be done then.
  bool is_there() const { return file_ < 0; }
  uint64_t size() const { return size_; }  // bytes that are there
  uint64_t full_size() const { return full_size_; }

  // kResourceExhausted: the disk is full. kDataLoss: these are more bytes than the file has.
  Status Append(std::string_view bytes);
  // Throws away what is there.
  Status StartOver();
  // REQUIRES: size() == full_size(). kDataLoss: the bytes are others than the etag's; what is there is thrown away.
  Status Finish();

 private:
  BlobFile(const CacheLayout& layout, const RepoFile& file, int lock);
  Status OpenPart();

  std::string blob_, incomplete_, etag_;
  uint64_t full_size_ = 0;
  uint64_t size_ = 0;
  FileDigest digest_;
  int lock_ = -1;
  int file_ = -1;
};

}  // namespace quire
