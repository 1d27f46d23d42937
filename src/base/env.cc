#include "base/env.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

class PosixEnv final : public Env {
 public:
  Result<std::string> ReadFile(const std::string& path) const override {
    std::error_code code;
    if (fs::is_directory(path, code)) return Io("cannot read {}: it is a directory", path);
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      return MakeError(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot open {}: {}", path,
                       std::strerror(errno));
    }
    std::ostringstream contents;
    contents << file.rdbuf();
    if (file.bad()) return Io("cannot read {}: {}", path, std::strerror(errno));
    return std::move(contents).str();
  }

  Status WriteFile(const std::string& path, const std::string& contents) const override {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << contents;
    file.flush();
    if (!file) return Io("cannot write {}: {}", path, std::strerror(errno));
    return {};
  }

  bool Exists(const std::string& path) const override {
    std::error_code code;
    return fs::exists(path, code);
  }

  bool IsDirectory(const std::string& path) const override {
    std::error_code code;
    return fs::is_directory(path, code);
  }

  Result<std::vector<std::string>> ListDirectory(const std::string& path) const override {
    std::error_code code;
    std::vector<std::string> names;
    for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code)) {
      names.push_back(it->path().filename().string());
    }
    if (code) return Io("cannot list {}: {}", path, code.message());
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

const Env& Env::Posix() {
  static const PosixEnv env;
  return env;
}

std::string JoinPath(const std::string& directory, const std::string& name) {
  if (directory.empty() || directory.back() == '/') return directory + name;
  return directory + '/' + name;
}

}  // namespace quire
