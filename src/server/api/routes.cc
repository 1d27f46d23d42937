// The table of routes: a line of it is all that it takes to add one.
#include <array>

#include "server/api/chat.h"
#include "server/api/completions.h"
#include "server/api/exchanges.h"
#include "server/api/kv_routes.h"
#include "server/api/route.h"
#include "server/api/server_routes.h"
#include "server/api/tokenize_routes.h"

namespace quire::server {
namespace {

// A route that knows its answer at once.
template <HttpReply (*reply)(const Call&)>
std::unique_ptr<HttpExchange> Known(const Call& call) {
  return std::make_unique<KnownAnswer>(reply(call));
}

using enum Access;
using enum RunsOn;

constexpr std::array kRoutes = {
    Route{"GET", "/health", kOpen, kIoThread, Known<ReplyHealth>},
    Route{"GET", "/ping", kOpen, kIoThread, Known<ReplyHealth>},
    Route{"POST", "/ping", kOpen, kIoThread, Known<ReplyHealth>},
    Route{"GET", "/version", kWithKey, kIoThread, Known<ReplyVersion>},
    Route{"GET", "/metrics", kMetrics, kIoThread, Known<ReplyMetrics>},
    Route{"GET", "/v1/models", kWithKey, kIoThread, Known<ReplyModels>},
    Route{"GET", "/v1/models/", kWithKey, kIoThread, Known<ReplyModel>},
    Route{"GET", "/debug/kv", kWithKey, kIoThread, AnswerKvReport},
    Route{"POST", "/reset_prefix_cache", kWithKey, kIoThread, AnswerPrefixCacheReset},
    Route{"POST", "/tokenize", kWithKey, kWorker, Known<ReplyTokenize>},
    Route{"POST", "/detokenize", kWithKey, kWorker, Known<ReplyDetokenize>},
    Route{"POST", "/v1/completions", kWithKey, kWorker, AnswerCompletion},
    Route{"POST", "/v1/chat/completions", kWithKey, kWorker, AnswerChat},
};

}  // namespace

bool Route::MatchesPath(std::string_view asked) const {
  return path.ends_with('/') ? asked.starts_with(path) && asked.size() > path.size() : asked == path;
}

std::span<const Route> Routes() { return kRoutes; }

}  // namespace quire::server
