// The HTTP server: OpenAI's and vLLM's API over an Engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "quire/result.h"
#include "quire/sampling_params.h"
#include "server/http/http_limits.h"

namespace quire {

class ChatTemplate;
class Engine;
class Tokenizer;

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;               // 0: any free one
  std::vector<std::string> api_keys;  // empty: open
  bool no_key_for_metrics = false;
  std::vector<std::string> served_model_names;  // the first one is what answers say
  int num_io_threads = 1;
  int num_worker_threads = 2;  // tokenizing, templating, parsing
  server::HttpLimits limits;
};

// What requests are answered with. All outlive the server.
struct ServedModel {
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: chat is a 400 that says so
  std::string chat_template_problem;            // then: why; empty: there is none
  SamplingParams defaults;                      // of a request that says nothing
  int32_t max_model_len = 0;
  std::string root;  // the model's directory, for /v1/models
};

class HttpServer {
 public:
  // Binds and listens on every address of the host that can be bound; if none can, the error names host and port.
  static Result<std::unique_ptr<HttpServer>> Start(const ServerOptions& options, const ServedModel& model);
  virtual ~HttpServer() = default;
  virtual uint16_t port() const = 0;
  // Stops accepting; answers that run go on.
  virtual void StopAccepting() = 0;
  virtual size_t num_active_requests() const = 0;
  // Closes everything and joins the threads.
  virtual void Stop() = 0;

 protected:
  HttpServer() = default;
};

}  // namespace quire
