// An error as OpenAI's API says it: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <string>

#include "quire/result.h"
#include "server/http/http.h"

namespace quire::server {

class JsonWriter;

struct ApiError {
  int status = 400;
  std::string message;
  std::string param;  // the request field that is wrong; empty: null
  std::string code;   // "model_not_found"; empty: null
};

int StatusOf(ErrorCode code);
// With the status that belongs to the error's code, and its field.
ApiError ToApiError(const Error& error);

// Writes {"error": ...}.
void WriteError(const ApiError& error, JsonWriter& json);
HttpReply ToReply(const ApiError& error);

}  // namespace quire::server
