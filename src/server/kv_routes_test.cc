#include "server/kv_routes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "server/test_model.h"
#include "server/worker_pool.h"

namespace quire::server {
namespace {

// Polls until `condition` holds; false after ten seconds.
bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

TEST(KvRoutes, ReportsAreWrittenByWorkersAndNotByTheEngine) {
  TestModel model;
  std::atomic<int> num_notified{0};
  WorkerPool workers(1);
  std::promise<void> release;
  workers.Post([released = release.get_future().share()] { released.wait(); });
  const auto exchange = StartKvReport(model.engine(), workers, [&] { ++num_notified; });
  ASSERT_TRUE(Eventually([&] { return num_notified == 1; })) << "the engine has left its report";
  EXPECT_EQ(exchange->Head(), nullptr);
  release.set_value();
  ASSERT_TRUE(Eventually([&] { return exchange->Head() != nullptr; }));
  EXPECT_EQ(nlohmann::json::parse(exchange->Head()->body)["num_blocks"], 4096);
  EXPECT_TRUE(Eventually([&] { return num_notified == 2; }));
}

}  // namespace
}  // namespace quire::server
