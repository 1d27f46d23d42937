// NewFile: a file that is written under another name and gets its own when it is whole, so that nobody ever finds half
// of it. One thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "quire/result.h"

namespace quire {

class NewFile {
 public:
  // kInvalidArgument: there is something of that name, and `replaces` is false.
  static Result<NewFile> Create(const std::string& path, bool replaces);
  ~NewFile();  // unless it is finished, nothing stays
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;

  const std::string& path() const { return path_; }
  // kResourceExhausted: the disk is full.
  Status Append(std::span<const std::byte> bytes);
  // Waits until the disk has all of it, then gives it its name.
  Status Finish();

 private:
  NewFile(std::string path, std::string temporary, int fd, bool replaces);

  std::string path_, temporary_;
  int fd_ = -1;
  bool replaces_ = false;
};

}  // namespace quire
