#include "server/api/kv_routes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "server/api/model_context.h"
#include "server/api/worker_pool.h"
#include "server/served_model_testing.h"

namespace quire::server {
namespace {

TEST(KvRoutes, ReportsAreWrittenByWorkersAndNotByTheEngine) {
  TestModel model;
  std::atomic<int> num_notified{0};
  WorkerPool workers(1);
  std::promise<void> release;
  workers.Post([released = release.get_future().share()] { released.wait(); });
  const ModelContext context(model.served(), {"ascii"});
  ServerCounters counters;
  const HttpRequest request;
  const std::function<void()> notify = [&] { ++num_notified; };
  const auto exchange = AnswerKvReport(
      {.request = request, .rest = {}, .context = context, .counters = counters, .workers = workers, .notify = notify});
  ASSERT_TRUE(Eventually([&] { return num_notified == 1; })) << "the engine has left its report";
  EXPECT_EQ(exchange->Head(), nullptr);
  release.set_value();
  ASSERT_TRUE(Eventually([&] { return exchange->Head() != nullptr; }));
  EXPECT_EQ(nlohmann::json::parse(exchange->Head()->body)["num_blocks"], 4096);
  EXPECT_TRUE(Eventually([&] { return num_notified == 2; }));
}

}  // namespace
}  // namespace quire::server
