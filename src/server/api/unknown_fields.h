// Request fields that the server does not know: all are counted, each name is logged once. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <span>
#include <string>

namespace quire::server {

class UnknownFields {
 public:
  void Note(std::span<const std::string> names);
  uint64_t count() const { return count_; }

 private:
  static constexpr size_t kMaxNames = 256;  // clients may make up names; beyond, they are counted alone

  std::atomic<uint64_t> count_{0};
  std::mutex mutex_;
  std::set<std::string> logged_;
};

}  // namespace quire::server
