// A generation: an answer's choices in the engine, gathered into one piece or streamed as they come. Knows of no
// protocol: parsers make one, and its writer tells the answer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sched/request.h"
#include "server/api/answer_writer.h"
#include "server/api/route.h"

namespace quire::server {

struct GenerationRequest;

struct Generation {
  std::string id;                 // for logs
  std::vector<Request> requests;  // one a prompt, all with as many choices; at least one
  std::string_view prompt_field;  // what the protocol calls what the engine calls prompt; static
  bool stream = false;
  bool drop_output = false;  // see AnswerEvents
  std::unique_ptr<AnswerWriter> writer;
};

// What the headers say: a client's own id, and its key.
void ReadHeaders(const HttpRequest& head, std::string_view id_prefix, GenerationRequest& request);
// Without a writer. Where the request says nothing of its length, the context limits it.
Generation MakeGeneration(const GenerationRequest& request, std::string_view prompt_field, int32_t max_model_len);

// Submits every request; the exchange answers with an error if one is refused.
std::unique_ptr<HttpExchange> StartGeneration(const Call& call, Generation generation);

}  // namespace quire::server
