// What the variables of Hugging Face's own tools say, as those tools understand them. A plain value; reading it is for
// a thread that nobody else changes the environment beside.
#pragma once

#include <cstdint>
#include <string>

#include "quire/result.h"

namespace quire {

struct HubEnvironment {
  std::string cache_directory;  // HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub
  std::string endpoint;         // HF_ENDPOINT, without a slash at the end; https://huggingface.co
  std::string token;  // HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file HF_TOKEN_PATH or HF_HOME/token; empty: none
  std::string token_source;  // where the token is from, for messages
  std::string ca_file;       // REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE; empty: the system's
  bool offline = false;      // HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE
  int64_t timeout_s = 10;    // HF_HUB_ETAG_TIMEOUT: for a connection and for answers of the API
  int64_t stall_s = 10;      // HF_HUB_DOWNLOAD_TIMEOUT: for a transfer from which nothing comes
};

// Errors: a token or endpoint that cannot be sent, a timeout that is no number; they name the variable.
Result<HubEnvironment> ReadHubEnvironment();

// The cache's directory alone, which no variable can spoil.
std::string HubCacheDirectory();

}  // namespace quire
