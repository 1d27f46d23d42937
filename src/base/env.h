// Small files and directories behind one seam, so that tests can make them fail (base/env_testing.h). Checkpoints'
// large files go through ReadableFile. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"

namespace quire {

// Held while it lives.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Env {
 public:
  virtual ~Env() = default;
  // kNotFound where there is none; kDataLoss for a bad medium.
  virtual Result<std::string> ReadFile(const std::string& path) const = 0;
  // The same of a file that anybody may have put there: its first `max_bytes` at most, in no more memory than that, and
  // without waiting as the reader of a FIFO would. kDataLoss too for a FIFO, a directory, a device. Other errors may
  // pass: too many files are open, or there is no memory.
  virtual Result<std::string> ReadFileUpTo(const std::string& path, size_t max_bytes) const = 0;
  // Replaces what is there. After an error part of it may be.
  virtual Status WriteFile(const std::string& path, std::string_view contents) const = 0;
  virtual bool Exists(const std::string& path) const = 0;
  virtual bool IsDirectory(const std::string& path) const = 0;
  // Names, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> ListDirectory(const std::string& path) const = 0;

  // With its parents; one that is there already is no error.
  virtual Status CreateDirectories(const std::string& path) const = 0;
  // In one step: whoever opens `to` finds the old file or the new one.
  virtual Status Rename(const std::string& from, const std::string& to) const = 0;
  // A file; kNotFound where there is none.
  virtual Status Remove(const std::string& path) const = 0;
  // Nanoseconds since the epoch.
  virtual Result<int64_t> ModifiedTime(const std::string& path) const = 0;
  virtual Status SetModifiedNow(const std::string& path) const = 0;
  // Creates the file if need be. kUnavailable while anybody, in this process or another, holds the lock.
  virtual Result<std::unique_ptr<FileLock>> Lock(const std::string& path) const = 0;
  // Disk space for `bytes` of an open file from `offset` on, so that writing there through a mapping cannot meet a full
  // disk. kResourceExhausted if there is none.
  virtual Status Allocate(int file, uint64_t offset, uint64_t bytes) const = 0;

  static const Env& Posix();
};

// Joins with exactly one '/'.
std::string JoinPath(const std::string& directory, const std::string& name);

}  // namespace quire
