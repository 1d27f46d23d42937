// Small files and directories behind one seam, so that tests can make reads fail. Checkpoints' large files go through
// MappedFile.
#pragma once

#include <string>
#include <vector>

#include "quire/result.h"

namespace quire {

class Env {
 public:
  virtual ~Env() = default;
  virtual Result<std::string> ReadFile(const std::string& path) const = 0;
  virtual Status WriteFile(const std::string& path, const std::string& contents) const = 0;
  virtual bool Exists(const std::string& path) const = 0;
  virtual bool IsDirectory(const std::string& path) const = 0;
  // Names, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> ListDirectory(const std::string& path) const = 0;

  static const Env& Posix();
};

// Joins with exactly one '/'.
std::string JoinPath(const std::string& directory, const std::string& name);

}  // namespace quire
