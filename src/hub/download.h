// Gets blobs into the cache, several at once, over one curl_multi handle on the calling thread. Each is gone on with
// where it stopped, checked, and tried again after what passes. Progress is a value that a view is shown.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hub/cache_layout.h"
#include "hub/hub_api.h"
#include "hub/hub_environment.h"
#include "hub/repo_listing.h"
#include "hub/repo_ref.h"
#include "quire/result.h"

namespace quire {

struct FileProgress {
  std::string name;
  std::string etag;
  uint64_t size = 0;
  uint64_t done = 0;
  enum class State : uint8_t { kWaiting, kRunning, kElsewhere, kDone } state = State::kWaiting;
};

struct DownloadProgress {
  std::vector<FileProgress> files;
  uint64_t received = 0;  // bytes from the network in this run
};

// Called some ten times a second, and once at the end.
using ShowProgress = std::function<void(const DownloadProgress&)>;

struct DownloadJob {
  RepoRef ref;
  std::string commit;
  std::vector<RepoFile> files;
};

// Afterwards each file's blob is in the cache. Errors name the file; what has come of it stays, for the next try.
// kDataLoss: the bytes are not those that the listing speaks of, also after a second try.
Status DownloadBlobs(const HubEnvironment& environment, const CacheLayout& layout, const DownloadJob& job,
                     const ShowProgress& show);

}  // namespace quire
