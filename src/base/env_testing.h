// FaultEnv: the files of another Env, where operations fail as a test says. TemporaryDirectory: gone with its object.
// Any thread.
#pragma once

#include <stdlib.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/env.h"
#include "base/error.h"

namespace quire {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "quire-test-XXXXXX").string();
    QUIRE_CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class FaultEnv final : public Env {
 public:
  enum class Operation : uint8_t {
    kRead,
    kWrite,
    kList,
    kCreateDirectories,
    kRename,
    kRemove,
    kTouch,
    kLock,
    kAllocate
  };
  static constexpr int kAlways = std::numeric_limits<int>::max();

  explicit FaultEnv(const Env& base = Env::Posix()) : base_(base) {}

  // The next `times` calls fail; 0: no more.
  void Fail(Operation operation, int times = kAlways) { At(operation) = times; }

  // A write that fails is that of a full disk: half of the file is there.
  Status WriteFile(const std::string& path, std::string_view contents) const override {
    if (!Fails(Operation::kWrite)) return base_.WriteFile(path, contents);
    (void)base_.WriteFile(path, contents.substr(0, contents.size() / 2)).ok();
    return ResourceExhausted("cannot write {}: No space left on device", path);
  }
  Result<std::string> ReadFile(const std::string& path) const override {
    if (Fails(Operation::kRead)) return Io("cannot read {}: Input/output error", path);
    return base_.ReadFile(path);
  }
  bool Exists(const std::string& path) const override { return base_.Exists(path); }
  bool IsDirectory(const std::string& path) const override { return base_.IsDirectory(path); }
  Result<std::vector<std::string>> ListDirectory(const std::string& path) const override {
    if (Fails(Operation::kList)) return Io("cannot list {}: Input/output error", path);
    return base_.ListDirectory(path);
  }
  Status CreateDirectories(const std::string& path) const override {
    if (Fails(Operation::kCreateDirectories)) return Io("cannot create the directory {}: Permission denied", path);
    return base_.CreateDirectories(path);
  }
  Status Rename(const std::string& from, const std::string& to) const override {
    if (Fails(Operation::kRename)) return Io("cannot rename to {}: Input/output error", to);
    return base_.Rename(from, to);
  }
  Status Remove(const std::string& path) const override {
    if (Fails(Operation::kRemove)) return Io("cannot remove {}: Permission denied", path);
    return base_.Remove(path);
  }
  Result<int64_t> ModifiedTime(const std::string& path) const override { return base_.ModifiedTime(path); }
  Status SetModifiedNow(const std::string& path) const override {
    if (Fails(Operation::kTouch)) return Io("cannot touch {}: Permission denied", path);
    return base_.SetModifiedNow(path);
  }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) const override {
    if (Fails(Operation::kLock)) return Io("cannot create {}: Permission denied", path);
    return base_.Lock(path);
  }
  Status Allocate(int file, uint64_t offset, uint64_t bytes) const override {
    if (Fails(Operation::kAllocate)) return ResourceExhausted("no disk space for {} bytes", bytes);
    return base_.Allocate(file, offset, bytes);
  }

 private:
  std::atomic<int>& At(Operation operation) const { return failures_[static_cast<size_t>(operation)]; }
  bool Fails(Operation operation) const {
    int left = At(operation).load();
    while (left > 0 && left != kAlways && !At(operation).compare_exchange_weak(left, left - 1)) {
    }
    return left > 0;
  }

  const Env& base_;
  mutable std::array<std::atomic<int>, 9> failures_ = {};
};

}  // namespace quire
