// What the server says of itself: health, version, models, metrics.
#pragma once

#include "server/api/route.h"

namespace quire::server {

HttpReply ReplyHealth(const Call& call);
HttpReply ReplyVersion(const Call& call);
HttpReply ReplyModels(const Call& call);
HttpReply ReplyModel(const Call& call);  // the one that the rest of the path names
HttpReply ReplyMetrics(const Call& call);

}  // namespace quire::server
