#include "server/api/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "server/api/api_error.h"
#include "server/api/authorization.h"
#include "server/api/exchanges.h"

namespace quire::server {
namespace {

// Null if there is none.
const Route* FindRoute(std::string_view method, std::string_view path) {
  const auto found = std::ranges::find_if(
      Routes(), [&](const Route& route) { return route.MatchesPath(path) && route.MatchesMethod(method); });
  return found == Routes().end() ? nullptr : &*found;
}

// The methods of a path, as Allow lists them; empty if there is no such path.
std::string MethodsOf(std::string_view path) {
  std::string methods;
  for (const Route& route : Routes()) {
    if (!route.MatchesPath(path)) continue;
    if (!methods.empty()) methods += ", ";
    methods += route.method == "GET" ? "GET, HEAD" : route.method;
  }
  return methods;
}

// What is no path needs a key: who has none learns nothing.
Access AccessOf(std::string_view path) {
  const auto found = std::ranges::find_if(Routes(), [&](const Route& route) { return route.MatchesPath(path); });
  return found == Routes().end() ? Access::kWithKey : found->access;
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

HttpReply WrongMethod(const HttpRequest& head, const std::string& methods) {
  HttpReply reply = ToReply({.status = 405,
                             .message = fmt::format("{} does not take {}: use {}", head.path, head.method, methods),
                             .code = "method_not_allowed"});
  reply.fields.emplace_back("Allow", methods + ", OPTIONS");
  return reply;
}

}  // namespace

Api::Api(const ServerOptions& options, const ServedModel& model)
    : api_keys_(options.api_keys),
      no_key_for_metrics_(options.no_key_for_metrics),
      context_(model, options.served_model_names),
      workers_(options.num_worker_threads) {}

bool Api::IsAuthorized(const HttpRequest& head) const {
  const Access access = AccessOf(head.path);
  const bool open = access == Access::kOpen || (access == Access::kMetrics && no_key_for_metrics_);
  return open || api_keys_.empty() || IsOneOf(api_keys_, KeyOf(head));
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
  if (FindRoute(head.method, head.path) == nullptr) return WrongMethod(head, methods);
  return std::nullopt;
}

std::unique_ptr<HttpExchange> Api::Start(HttpRequest request, std::function<void()> notify) {
  const Route* found = FindRoute(request.method, request.path);
  QUIRE_CHECK(found != nullptr, "{} {} was to be refused", request.method, request.path);
  const Route& route = *found;
  if (route.runs_on == RunsOn::kIoThread) return Answer(route, request, notify);
  auto shared = std::make_shared<const HttpRequest>(std::move(request));
  return std::make_unique<DeferredExchange>(
      workers_, [this, &route, shared = std::move(shared), notify] { return Answer(route, *shared, notify); }, notify);
}

std::unique_ptr<HttpExchange> Api::Answer(const Route& route, const HttpRequest& request,
                                          const std::function<void()>& notify) {
  const std::string_view path = request.path;
  return route.answer({.request = request,
                       .rest = path.substr(std::min(route.path.size(), path.size())),
                       .context = context_,
                       .counters = counters_,
                       .workers = workers_,
                       .notify = notify});
}

HttpReply Api::ProtocolError(int status, std::string_view message) {
  return ToReply({.status = status, .message = std::string(message)});
}

void Api::CountReply(int status) {
  if (status >= 0 && static_cast<size_t>(status) < counters_.replies.size())
    ++counters_.replies[static_cast<size_t>(status)];
}

}  // namespace quire::server
