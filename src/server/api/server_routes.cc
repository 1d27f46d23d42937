#include "server/api/server_routes.h"

#include <fmt/format.h>

#include <string>

#include "engine/engine.h"
#include "quire/version.h"
#include "server/api/api_error.h"
#include "server/api/json_writer.h"
#include "server/api/metrics.h"
#include "server/api/model_context.h"

namespace quire::server {
namespace {

void WriteModel(const ModelContext& context, std::string_view name, JsonWriter& json) {
  json.BeginObject().Key("id").String(name).Key("object").String("model").Key("created").Int(context.created);
  json.Key("owned_by").String("quire").Key("root").String(context.model.root).Key("parent").Null();
  json.Key("max_model_len").Int(context.model.max_model_len).EndObject();
}

}  // namespace

HttpReply ReplyHealth(const Call& call) {
  const quire::Status status = call.context.model.engine->Health();
  return status.ok() ? HttpReply{.content_type = ""} : ToReply(ToApiError(status.error()));
}

HttpReply ReplyVersion(const Call&) {
  HttpReply reply;
  JsonWriter(reply.body).BeginObject().Key("version").String(kVersion).EndObject();
  return reply;
}

HttpReply ReplyModels(const Call& call) {
  HttpReply reply;
  JsonWriter json(reply.body);
  json.BeginObject().Key("object").String("list").Key("data").BeginArray();
  for (const std::string& name : call.context.names) WriteModel(call.context, name, json);
  json.EndArray().EndObject();
  return reply;
}

HttpReply ReplyModel(const Call& call) {
  if (!call.context.Serves(call.rest)) {
    return ToReply({.status = 404,
                    .message = fmt::format("The model `{}` does not exist.", call.rest),
                    .param = "model",
                    .code = "model_not_found"});
  }
  HttpReply reply;
  JsonWriter json(reply.body);
  WriteModel(call.context, call.rest, json);
  return reply;
}

HttpReply ReplyMetrics(const Call& call) {
  return {.content_type = kMetricsContentType, .body = MetricsText(call.context, call.counters)};
}

}  // namespace quire::server
