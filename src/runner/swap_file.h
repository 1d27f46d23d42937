// SwapFile: swap space in a memory-mapped temporary file. The file has no name (it is unlinked as soon as it is open),
// so that it goes with the process however that ends. It grows in chunks as places are first used, and has its disk
// space before anything is written: a full disk is the error of one transfer, never a SIGBUS.
#pragma once

#include <memory>
#include <string>

#include "base/env.h"
#include "runner/swap_store.h"

namespace quire {

struct SwapFileOptions {
  std::string directory;  // empty: $TMPDIR, or else /tmp; on a tmpfs the places are memory
  uint32_t num_places = 0;
  size_t place_bytes = 0;
  const Env* env = &Env::Posix();  // outlives the file
};

class SwapFile : public SwapStore {
 public:
  // Takes no disk space yet. Errors name the directory.
  static Result<std::unique_ptr<SwapFile>> Create(const SwapFileOptions& options);

  // Disk space taken so far.
  virtual size_t file_bytes() const = 0;
};

}  // namespace quire
