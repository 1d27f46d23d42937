#include "server/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "engine/engine.h"
#include "quire/version.h"
#include "server/exchanges.h"
#include "server/generation.h"
#include "server/generation_request.h"
#include "server/json_writer.h"
#include "server/kv_routes.h"
#include "server/metrics.h"
#include "server/tokenize_routes.h"
#include "server/unix_time.h"
#include "text/tokenizer.h"

namespace quire::server {
namespace {

struct Route {
  std::string_view path;
  std::string_view method;  // GET routes answer HEAD, too
};

constexpr std::array kRoutes = {
    Route{"/health", "GET"},          Route{"/ping", "GET"},
    Route{"/ping", "POST"},           Route{"/version", "GET"},
    Route{"/metrics", "GET"},         Route{"/v1/models", "GET"},
    Route{"/tokenize", "POST"},       Route{"/detokenize", "POST"},
    Route{"/v1/completions", "POST"}, Route{"/v1/chat/completions", "POST"},
    Route{"/debug/kv", "GET"},        Route{"/reset_prefix_cache", "POST"},
};
constexpr std::string_view kOneModel = "/v1/models/";

bool Matches(const Route& route, std::string_view path) {
  return route.path == path ||
         (route.path == "/v1/models" && path.starts_with(kOneModel) && path.size() > kOneModel.size());
}

// The methods of a path, as Allow lists them; empty if there is no such path.
std::string MethodsOf(std::string_view path) {
  std::string methods;
  for (const Route& route : kRoutes) {
    if (!Matches(route, path)) continue;
    if (!methods.empty()) methods += ", ";
    methods += route.method == "GET" ? "GET, HEAD" : route.method;
  }
  return methods;
}

bool Allows(std::string_view path, std::string_view method) {
  if (method == "HEAD") method = "GET";
  return std::ranges::any_of(kRoutes,
                             [&](const Route& route) { return Matches(route, path) && route.method == method; });
}

// In time that does not depend on where the two differ.
bool EqualsInConstantTime(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(other);
  }
  return difference == 0;
}

// The key of "Authorization: Bearer KEY".
std::optional<std::string_view> KeyOf(const HttpRequest& head) {
  constexpr std::string_view kScheme = "bearer ";
  const std::string* field = head.Find("Authorization");
  if (field == nullptr || field->size() < kScheme.size()) return std::nullopt;
  const std::string_view value = *field;
  if (!EqualsIgnoringCase(value.substr(0, kScheme.size()), kScheme)) return std::nullopt;
  return value.substr(kScheme.size());
}

HttpReply Preflight(const HttpRequest& head, const std::string& methods) {
  const std::string* wanted = head.Find("Access-Control-Request-Headers");
  HttpReply reply{.status = 204, .content_type = ""};
  reply.fields = {{"Allow", methods + ", OPTIONS"},
                  {"Access-Control-Allow-Methods", methods + ", OPTIONS"},
                  {"Access-Control-Allow-Headers", wanted == nullptr ? "*" : *wanted},
                  {"Access-Control-Max-Age", "600"}};
  return reply;
}

// Text that is longer than all its possible tokens does not fit. Tokens may stand for more bytes than they spell, where
// normalisation shortens the text: hence a margin.
size_t MaxPromptBytes(const ServedModel& model, const TokenStrings& strings) {
  constexpr size_t kMargin = 4;
  return static_cast<size_t>(std::max(1, model.max_model_len)) * strings.longest_token() * kMargin;
}

void WriteModel(const ModelContext& context, std::string_view name, JsonWriter& json) {
  json.BeginObject().Key("id").String(name).Key("object").String("model").Key("created").Int(context.created);
  json.Key("owned_by").String("quire").Key("root").String(context.model.root).Key("parent").Null();
  json.Key("max_model_len").Int(context.model.max_model_len).EndObject();
}

}  // namespace

ModelContext::ModelContext(const ServedModel& served, std::vector<std::string> served_names)
    : model(served),
      names(served_names.empty() ? std::vector<std::string>{"model"} : std::move(served_names)),
      token_strings(*served.tokenizer),
      created(SecondsSinceEpoch()),
      max_prompt_bytes(MaxPromptBytes(served, token_strings)) {}

bool ModelContext::Serves(std::string_view name) const {
  return name.empty() || std::ranges::find(names, name) != names.end();
}

Api::Api(const ServerOptions& options, const ServedModel& model)
    : api_keys_(options.api_keys),
      no_key_for_metrics_(options.no_key_for_metrics),
      context_(model, options.served_model_names),
      workers_(options.num_worker_threads) {}

bool Api::IsAuthorized(const HttpRequest& head) const {
  if (api_keys_.empty() || head.path == "/health" || head.path == "/ping") return true;
  if (head.path == "/metrics" && no_key_for_metrics_) return true;
  const std::optional<std::string_view> given = KeyOf(head);
  bool known = false;
  for (const std::string& key : api_keys_) known |= given && EqualsInConstantTime(*given, key);
  return known;
}

std::optional<HttpReply> Api::Refuse(const HttpRequest& head) {
  const std::string methods = MethodsOf(head.path);
  if (head.method == "OPTIONS" && !methods.empty()) return Preflight(head, methods);
  if (!IsAuthorized(head)) {
    const bool given = head.Find("Authorization") != nullptr;
    return ToReply(
        {.status = 401,
         .message = given ? "the API key is wrong" : "an API key is needed: send 'Authorization: Bearer KEY'",
         .code = "invalid_api_key"});
  }
  if (methods.empty()) {
    return ToReply(
        {.status = 404, .message = fmt::format("there is no {} {}", head.method, head.path), .code = "not_found"});
  }
  if (!Allows(head.path, head.method)) {
    HttpReply reply = ToReply({.status = 405,
                               .message = fmt::format("{} does not take {}: use {}", head.path, head.method, methods),
                               .code = "method_not_allowed"});
    reply.fields.emplace_back("Allow", methods + ", OPTIONS");
    return reply;
  }
  return std::nullopt;
}

std::unique_ptr<HttpExchange> Api::Start(HttpRequest request, std::function<void()> notify) {
  if (request.path == "/debug/kv") return StartKvReport(*context_.model.engine, workers_, std::move(notify));
  if (request.path == "/reset_prefix_cache") {
    return StartPrefixCacheReset(*context_.model.engine, std::move(notify));
  }
  if (request.method != "POST" || request.path == "/ping") return std::make_unique<KnownAnswer>(Get(request.path));
  auto shared = std::make_shared<const HttpRequest>(std::move(request));
  return std::make_unique<DeferredExchange>(
      workers_, [this, shared = std::move(shared), notify] { return Run(*shared, notify); }, notify);
}

HttpReply Api::Get(std::string_view path) const {
  if (path == "/health" || path == "/ping") return Health();
  if (path == "/metrics") return {.content_type = kMetricsContentType, .body = MetricsText(context_, counters_)};
  if (path == "/v1/models") return Models();
  if (path.starts_with(kOneModel)) return Model(path.substr(kOneModel.size()));
  HttpReply reply;
  JsonWriter(reply.body).BeginObject().Key("version").String(kVersion).EndObject();
  return reply;
}

std::unique_ptr<HttpExchange> Api::Run(const HttpRequest& request, const std::function<void()>& notify) {
  if (request.path == "/tokenize") {
    return std::make_unique<KnownAnswer>(AnswerTokenize(context_, request.body, counters_));
  }
  if (request.path == "/detokenize") {
    return std::make_unique<KnownAnswer>(AnswerDetokenize(context_, request.body, counters_));
  }
  return Generate(request, notify);
}

std::unique_ptr<HttpExchange> Api::Generate(const HttpRequest& request, const std::function<void()>& notify) {
  const bool chat = request.path == "/v1/chat/completions";
  ParsedRequest parsed = chat ? ParseChatRequest(context_, request.body, counters_)
                              : ParseCompletionRequest(context_, request.body, counters_);
  if (const ApiError* error = std::get_if<ApiError>(&parsed)) {
    return std::make_unique<KnownAnswer>(ToReply(*error));
  }
  auto& generation = std::get<GenerationRequest>(parsed);
  if (const std::string* name = request.Find(kRequestIdField)) SetRequestId(*name, generation);
  if (const auto key = KeyOf(request); key && !key->empty()) generation.client_key = *key;
  return StartGeneration(context_, std::move(generation), workers_, notify);
}

HttpReply Api::ProtocolError(int status, std::string_view message) {
  return ToReply({.status = status, .message = std::string(message)});
}

void Api::CountReply(int status) {
  if (status >= 0 && static_cast<size_t>(status) < counters_.replies.size())
    ++counters_.replies[static_cast<size_t>(status)];
}

HttpReply Api::Health() const {
  const quire::Status status = context_.model.engine->Health();
  return status.ok() ? HttpReply{.content_type = ""} : ToReply(ToApiError(status.error()));
}

HttpReply Api::Models() const {
  HttpReply reply;
  JsonWriter json(reply.body);
  json.BeginObject().Key("object").String("list").Key("data").BeginArray();
  for (const std::string& name : context_.names) WriteModel(context_, name, json);
  json.EndArray().EndObject();
  return reply;
}

HttpReply Api::Model(std::string_view name) const {
  if (!context_.Serves(name)) {
    return ToReply({.status = 404,
                    .message = fmt::format("The model `{}` does not exist.", name),
                    .param = "model",
                    .code = "model_not_found"});
  }
  HttpReply reply;
  JsonWriter json(reply.body);
  WriteModel(context_, name, json);
  return reply;
}

}  // namespace quire::server
