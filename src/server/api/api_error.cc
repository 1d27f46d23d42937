#include "server/api/api_error.h"

#include <string_view>

#include "server/api/json_writer.h"

namespace quire::server {
namespace {

std::string_view TypeOf(int status) {
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

std::string_view CodeOf(int status) {
  switch (status) {
    case 401:
      return "invalid_api_key";
    case 429:
      return "queue_full";
    case 503:
      return "unavailable";
    default:
      return "";
  }
}

void WriteText(std::string_view key, std::string_view value, JsonWriter& json) {
  json.Key(key);
  value.empty() ? json.Null() : json.String(value);
}

}  // namespace

int StatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kContextLength:
    case ErrorCode::kUnimplemented:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kUnauthenticated:
      return 401;
    case ErrorCode::kResourceExhausted:
      return 429;
    case ErrorCode::kUnavailable:
    case ErrorCode::kCancelled:
      return 503;
    case ErrorCode::kDataLoss:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      break;
  }
  return 500;
}

ApiError ToApiError(const Error& error) {
  const int status = StatusOf(error.code);
  const bool too_long = error.code == ErrorCode::kContextLength;
  return {.status = status,
          .message = error.message,
          .param = error.field,
          .code = std::string(too_long ? "context_length_exceeded" : CodeOf(status))};
}

void WriteError(const ApiError& error, JsonWriter& json) {
  json.BeginObject().Key("error").BeginObject();
  json.Key("message").String(error.message);
  json.Key("type").String(TypeOf(error.status));
  WriteText("param", error.param, json);
  WriteText("code", error.code, json);
  json.EndObject().EndObject();
}

HttpReply ToReply(const ApiError& error) {
  HttpReply reply{.status = error.status};
  JsonWriter json(reply.body);
  WriteError(error, json);
  if (error.status == 429 || error.status == 503) reply.fields.emplace_back("Retry-After", "1");
  if (error.status == 401) reply.fields.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

}  // namespace quire::server
