// Orders of the queue, with groups that nobody runs.
#include "sched/waiting_queue.h"

#include <gtest/gtest.h>

#include <memory>

#include "kv/block_pool.h"

namespace quire {
namespace {

class WaitingQueueTest : public testing::Test {
 protected:
  SequenceGroup& Add(WaitingQueue& queue, const std::string& client, int32_t priority = 0) {
    const uint64_t order = queue.NextOrder();
    Request request{.id = RequestId{order}, .prompt = {1, 2, 3}, .priority = priority, .client_key = client};
    request.params.max_tokens = 1;
    groups_.push_back(std::make_unique<SequenceGroup>(std::move(request), order, 4U, 1U,
                                                      SequenceKv(InlineFirst(BlockTable(pool_, 4)))));
    queue.AddActive(*groups_.back());
    queue.Insert(*groups_.back());
    return *groups_.back();
  }
  // The ids in the order in which they would be admitted, each charged with what it is given.
  static std::vector<uint64_t> Drain(WaitingQueue& queue, uint64_t charge) {
    std::vector<uint64_t> ids;
    while (SequenceGroup* group = queue.First()) {
      queue.Remove(*group);
      queue.Charge(*group, charge);
      ids.push_back(static_cast<uint64_t>(group->request.id));
    }
    return ids;
  }

  BlockPool pool_{4};
  std::vector<std::unique_ptr<SequenceGroup>> groups_;
};

using Ids = std::vector<uint64_t>;

TEST_F(WaitingQueueTest, ByArrivalWhoeverAsks) {
  WaitingQueue queue({}, false);
  for (const char* client : {"a", "b", "a", "c"}) Add(queue, client);
  EXPECT_EQ(queue.num_tokens(), 12U);
  EXPECT_EQ(Drain(queue, 10), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(queue.num_tokens(), 0U);
  EXPECT_TRUE(queue.empty());
}

TEST_F(WaitingQueueTest, ByPriorityThenArrival) {
  WaitingQueue queue({.by_priority = true}, false);
  for (const int priority : {2, 0, 1, 0}) Add(queue, "", priority);
  EXPECT_EQ(Drain(queue, 10), (Ids{1, 3, 2, 0}));
}

TEST_F(WaitingQueueTest, FairlyBetweenClientsByWhatEachWasGiven) {
  WaitingQueue queue({}, true);
  for (const char* client : {"a", "a", "a", "b", "c", "b"}) Add(queue, client);
  EXPECT_EQ(Drain(queue, 10), (Ids{0, 3, 4, 1, 5, 2}));
}

TEST_F(WaitingQueueTest, AfterGoesThroughAllThatWait) {
  WaitingQueue queue({}, true);
  for (const char* client : {"a", "b", "a"}) Add(queue, client);
  Ids ids;
  for (const SequenceGroup* group = queue.First(); group != nullptr; group = queue.After(*group)) {
    ids.push_back(static_cast<uint64_t>(group->request.id));
  }
  EXPECT_EQ(ids, (Ids{0, 2, 1}));
}

TEST_F(WaitingQueueTest, WhoComesBackFromIdlenessHasNotSavedUp) {
  WaitingQueue queue({}, true);
  SequenceGroup& idle = Add(queue, "idle");
  queue.Remove(idle);
  Add(queue, "busy");
  Drain(queue, 100);
  queue.RemoveActive(idle);
  for (const char* client : {"idle", "idle", "busy"}) Add(queue, client);
  EXPECT_EQ(Drain(queue, 100), (Ids{4, 2, 3})) << "level with who was given 100, and later active";
}

}  // namespace
}  // namespace quire
