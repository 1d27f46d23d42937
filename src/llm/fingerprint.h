// What makes keys and values comparable between processes: the fingerprint that the prefix cache on disk is kept by.
#pragma once

#include <string>

#include "quire/result.h"
#include "runner/disk_store.h"

namespace quire {

struct FingerprintInput {
  std::string model;      // a directory: config.json and every byte of *.safetensors; or a GGUF file: every byte
  std::string tokenizer;  // as LoadTokenizer takes it: tokenizer.json, or every byte of a GGUF file
  std::string layout;     // whatever else keys, values and their bytes depend on
};

// Reads all weights once more: by now from the page cache, as fast as memory. Errors name the file.
Result<KvFingerprint> FingerprintModel(const FingerprintInput& input);

}  // namespace quire
