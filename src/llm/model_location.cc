#include "llm/model_location.h"

#include "base/env.h"
#include "base/error.h"
#include "hub/model_fetch.h"
#include "hub/progress_view.h"

namespace quire {

Result<std::string> LocateModel(const std::string& path_or_name, const std::string& revision) {
  QUIRE_ASSIGN_OR_RETURN(const std::string path,
                         FindOrFetchModel(path_or_name, revision, MakeProgressView(path_or_name), false));
  if (Env::Posix().IsDirectory(path)) return path;
  return InvalidArgument("{} is a file: a model is a directory with config.json and model.safetensors", path);
}

}  // namespace quire
