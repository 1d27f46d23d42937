// For fuzz targets: files that are opened by a path and never on a disk, so that thousands a second can be written; and
// how an input that stands for several files is cut. One thread.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "weights/gguf_testing.h"

namespace quire::testing {

// A directory of links to files in memory, removed at exit.
class MemoryDirectory {
 public:
  explicit MemoryDirectory(std::initializer_list<const char*> names) {
    SetLogLevel(LogLevel::kOff);
    std::string made = (std::filesystem::temp_directory_path() / "quire-fuzz-XXXXXX").string();
    QUIRE_CHECK(mkdtemp(made.data()) != nullptr, "cannot make {}", made);
    path_ = made;
    for (const char* name : names) files_.emplace_back().name = name;
  }
  ~MemoryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  MemoryDirectory(const MemoryDirectory&) = delete;
  MemoryDirectory& operator=(const MemoryDirectory&) = delete;

  std::string path() const { return path_.string(); }

  // Contents in the order of the names; what is empty, or beyond the last one, is no file.
  void Write(const std::vector<std::string_view>& contents) {
    for (size_t i = 0; i < files_.size(); ++i) {
      const std::string_view bytes = i < contents.size() ? contents[i] : std::string_view();
      Place(files_[i], !bytes.empty());
      if (!bytes.empty()) files_[i].memory.Write(std::string(bytes));
    }
  }

 private:
  struct File {
    std::string name;
    MemoryFile memory;
    bool is_there = false;
  };

  void Place(File& file, bool is_there) const {
    if (file.is_there == is_there) return;
    const std::filesystem::path link = path_ / file.name;
    if (is_there) {
      std::filesystem::create_symlink(file.memory.path(), link);
    } else {
      std::filesystem::remove(link);
    }
    file.is_there = is_there;
  }

  std::filesystem::path path_;
  std::deque<File> files_;
};

inline std::string_view TextOf(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

// The parts between bytes of zero, which no text of JSON holds.
inline std::vector<std::string_view> CutAtZeros(std::string_view input) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = input.find('\0');
    parts.push_back(input.substr(0, end));
    if (end == std::string_view::npos) return parts;
    input.remove_prefix(end + 1);
  }
}

}  // namespace quire::testing
