// From what people call a model to where it is: a path as it stands, or a name on the hub, found in the cache or
// downloaded into it. Reads the environment (hub_environment.h). Thread-compatible; processes may share the cache.
#pragma once

#include <string>

#include "hub/download.h"
#include "hub/hub_environment.h"
#include "hub/repo_ref.h"
#include "quire/result.h"

namespace quire {

// A directory in the Hugging Face layout, or a GGUF file. A path that exists is taken as it is. A hub name is looked
// for in the cache; if it is not wholly there, it is downloaded, unless HF_HUB_OFFLINE is set. Errors say what to do.
// `revision`: of a hub name that states none itself; "main": the usual one.
Result<std::string> FindOrFetchModel(const std::string& path_or_name, const std::string& revision,
                                     const ShowProgress& show);

struct FetchedModel {
  std::string path;
  std::string commit;
  uint64_t num_bytes = 0;       // of all that the model needs
  uint64_t received_bytes = 0;  // of that, what was downloaded now
};

// Asks the hub for the newest commit of the revision, and downloads what the cache lacks of it.
Result<FetchedModel> FetchModel(const HubEnvironment& environment, const RepoRef& ref, const ShowProgress& show);

}  // namespace quire
