#include "llm/model_location.h"

#include "hub/model_fetch.h"
#include "hub/progress_view.h"
#include "model/model_files.h"

namespace quire {

Result<std::string> LocateModel(const std::string& path_or_name, const std::string& revision) {
  QUIRE_ASSIGN_OR_RETURN(const std::string path,
                         FindOrFetchModel(path_or_name, revision, MakeProgressView(path_or_name)));
  return FindModelFiles(path);
}

}  // namespace quire
