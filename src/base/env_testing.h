// FaultEnv: the files of another Env, where operations fail as a test says. TemporaryDirectory: gone with its object.
// Any thread.
#pragma once

#include <stdlib.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
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
    kOpen,    // of a file to read: too many are open, which passes
    kRead,    // the medium is bad
    kDamage,  // a read succeeds, with less than was written or something else
    kThrow,   // a read or a write throws
    kWrite,   // the disk is full
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
  void Fail(Operation operation, int times = kAlways) { At(operation).num_left = times; }
  // Beside these, the last `times` of every `period` calls from now on. Before other threads use it.
  void FailRegularly(Operation operation, uint32_t times, uint32_t period) {
    Fault& fault = At(operation);
    fault.num_calls = 0;
    fault.times = times;
    fault.period = period;
  }

  // A write that fails is that of a full disk: half of the file is there.
  Status WriteFile(const std::string& path, std::string_view contents) const override {
    if (Fails(Operation::kThrow)) throw std::bad_alloc();
    if (!Fails(Operation::kWrite)) return base_.WriteFile(path, contents);
    (void)base_.WriteFile(path, contents.substr(0, contents.size() / 2)).ok();
    return ResourceExhausted("cannot write {}: No space left on device", path);
  }
  Result<std::string> ReadFile(const std::string& path) const override {
    QUIRE_RETURN_IF_ERROR(FailRead(path));
    return Damaged(base_.ReadFile(path));
  }
  Result<std::string> ReadFileUpTo(const std::string& path, size_t max_bytes) const override {
    QUIRE_RETURN_IF_ERROR(FailRead(path));
    return Damaged(base_.ReadFileUpTo(path, max_bytes));
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
  static constexpr size_t kNumOperations = static_cast<size_t>(Operation::kAllocate) + 1;
  struct Fault {
    std::atomic<int> num_left = 0;
    std::atomic<uint32_t> num_calls = 0;
    std::atomic<uint32_t> times = 0, period = 0;
  };

  Fault& At(Operation operation) const { return faults_[static_cast<size_t>(operation)]; }
  bool Fails(Operation operation) const {
    Fault& fault = At(operation);
    const uint32_t call = fault.num_calls++, period = fault.period;
    if (period > 0 && call % period + fault.times >= period) return true;
    int left = fault.num_left.load();
    while (left > 0 && left != kAlways && !fault.num_left.compare_exchange_weak(left, left - 1)) {
    }
    return left > 0;
  }
  Status FailRead(const std::string& path) const {
    if (Fails(Operation::kThrow)) throw std::bad_alloc();
    if (Fails(Operation::kOpen)) return ResourceExhausted("cannot open {}: Too many open files", path);
    if (Fails(Operation::kRead)) return DataLoss("cannot read {}: Input/output error", path);
    return {};
  }
  // With a flipped bit, truncated, or with nothing but zeros in its second half, in turn.
  Result<std::string> Damaged(Result<std::string> read) const {
    if (!read.ok() || read->empty() || !Fails(Operation::kDamage)) return read;
    const size_t size = read->size(), number = num_damaged_++;
    char& flipped = (*read)[number * 7919 % size];
    if (number % 3 == 0) flipped = static_cast<char>(flipped ^ 4);
    if (number % 3 == 1) read->resize(size / 2);
    if (number % 3 == 2) read->replace(size / 2, size, size - size / 2, '\0');
    return read;
  }

  const Env& base_;
  mutable std::array<Fault, kNumOperations> faults_;
  mutable std::atomic<size_t> num_damaged_ = 0;
};

}  // namespace quire
