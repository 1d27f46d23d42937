#include "engine/published.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace quire {
namespace {

TEST(PublishedTest, ReadersSeeWhatWasPublishedLast) {
  Published<int> published(7);
  const auto read = [&] { return published.Read([](int value) { return value; }); };
  EXPECT_EQ(read(), 7);
  published.Publish(8);
  published.Publish(9);
  EXPECT_EQ(read(), 9);
  EXPECT_EQ(read(), 9);
  published.Publish(10);
  EXPECT_EQ(read(), 10);
}

TEST(PublishedTest, AReaderThatIsStuckDelaysNoWriter) {
  Published<std::vector<int>> published(std::vector<int>(1000, 0));
  std::latch reads(1), may_end(1);
  std::vector<int> seen;
  std::thread reader([&] {
    published.Read([&](const std::vector<int>& value) {
      reads.count_down();
      may_end.wait();
      seen = value;
    });
  });
  reads.wait();
  for (int i = 1; i <= 10'000; ++i) published.Publish(std::vector<int>(1000, i));
  may_end.count_down();
  reader.join();
  EXPECT_EQ(seen, std::vector<int>(1000, 0)) << "what it reads does not change under it";
  published.Read([](const std::vector<int>& value) { EXPECT_EQ(value, std::vector<int>(1000, 10'000)); });
}

TEST(PublishedTest, WhatIsReadIsWholeAndNeverOlderThanBefore) {
  Published<std::vector<int>> published(std::vector<int>(100, 0));
  std::atomic<bool> ends{false};
  std::latch have_read(2);
  std::vector<std::thread> readers;
  readers.reserve(2);
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      int last = 0;
      const auto read = [&] {
        published.Read([&](const std::vector<int>& value) {
          EXPECT_EQ(value, std::vector<int>(100, value[0]));
          EXPECT_GE(value[0], last);
          last = value[0];
        });
      };
      read();
      have_read.count_down();
      while (!ends) read();
      read();
      EXPECT_EQ(last, 20'000);
    });
  }
  have_read.wait();
  for (int i = 1; i <= 20'000; ++i) published.Publish(std::vector<int>(100, i));
  ends = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace quire
