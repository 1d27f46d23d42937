#include "model/model_files.h"

#include <algorithm>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "weights/gguf_set.h"

namespace quire {
namespace {

bool IsGgufFile(const std::string& path) {
  const Result<std::string> head = Env::Posix().ReadFileUpTo(path, 4);
  return path.ends_with(".gguf") || (head.ok() && *head == "GGUF");
}

}  // namespace

Result<std::string> FindModelFiles(const std::string& path) {
  if (!Env::Posix().IsDirectory(path)) {
    if (IsGgufFile(path)) return path;
    return InvalidArgument(
        "{} is a file, and not of GGUF: a model is a directory with config.json and model.safetensors, or a GGUF file",
        path);
  }
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, Env::Posix().ListDirectory(path));
  const auto is_safetensors = [](const std::string& name) { return name.ends_with(".safetensors"); };
  if (std::any_of(names.begin(), names.end(), is_safetensors)) return path;
  QUIRE_ASSIGN_OR_RETURN(const std::string gguf, FindGgufFile(path));
  return gguf.empty() ? path : gguf;
}

bool IsGgufModel(const std::string& path) { return Env::Posix().Exists(path) && !Env::Posix().IsDirectory(path); }

}  // namespace quire
