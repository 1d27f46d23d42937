#include "llm/available_memory.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "base/env_testing.h"

namespace quire {
namespace {

// A kernel with 8,000 KiB of available memory, and no control groups yet.
class AvailableMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Write("proc/meminfo", "MemTotal:       16000 kB\nMemFree:         2000 kB\nMemAvailable:    8000 kB\n");
  }
  void Write(const std::string& name, const std::string& contents) const {
    const std::filesystem::path path = std::filesystem::path(directory_.path()) / name;
    std::filesystem::create_directories(path.parent_path());
    ASSERT_TRUE(Env::Posix().WriteFile(path.string(), contents).ok());
  }
  // A group of version 2, at "" or "/a/b".
  void WriteGroup(const std::string& path, const std::string& limit, size_t usage, size_t inactive_file) const {
    const std::string group = "cgroup" + path + "/";
    Write(group + "memory.max", limit + "\n");
    Write(group + "memory.current", std::to_string(usage) + "\n");
    Write(group + "memory.stat",
          "anon 5\nfile 7\ninactive_anon 3\ninactive_file " + std::to_string(inactive_file) + "\nactive_file 1\n");
  }
  size_t Available() const {
    return AvailableMemoryBytes({.proc = directory_.path() + "/proc", .cgroup = directory_.path() + "/cgroup"});
  }

  const TemporaryDirectory directory_;
};

TEST_F(AvailableMemoryTest, WithoutGroupsTheKernelsNumberCounts) {
  EXPECT_EQ(Available(), 8000U * 1024);
  Write("proc/self/cgroup", "0::/absent\n");
  EXPECT_EQ(Available(), 8000U * 1024);
  Write("proc/meminfo", "MemTotal: 16000 kB\n");
  EXPECT_EQ(Available(), size_t{1} << 30);
}

TEST_F(AvailableMemoryTest, PageCacheOfTheGroupCountsAsFree) {
  Write("proc/self/cgroup", "0::/\n");
  WriteGroup("", "1000000", 900'000, 700'000);
  EXPECT_EQ(Available(), 800'000U);
  WriteGroup("", "1000000", 900'000, 2'000'000);
  EXPECT_EQ(Available(), 1'000'000U) << "numbers that were read at different times";
  WriteGroup("", "1000000", 1'500'000, 0);
  EXPECT_EQ(Available(), 0U);
  WriteGroup("", "max", 900'000, 0);
  EXPECT_EQ(Available(), 8000U * 1024);
}

TEST_F(AvailableMemoryTest, TheTightestGroupOnThePathCounts) {
  Write("proc/self/cgroup", "0::/slice/service/leaf\n");
  WriteGroup("", "5000000", 0, 0);
  WriteGroup("/slice", "2000000", 500'000, 100'000);
  WriteGroup("/slice/service", "max", 400'000, 0);
  WriteGroup("/slice/service/leaf", "3000000", 400'000, 0);
  WriteGroup("/other", "1000", 0, 0);
  EXPECT_EQ(Available(), 1'600'000U);
}

TEST_F(AvailableMemoryTest, AGroupThatIsNamedFromOutsideTheContainerLeavesTheRoot) {
  Write("proc/self/cgroup", "0::/docker/0123\n");
  WriteGroup("", "2000000", 500'000, 0);
  EXPECT_EQ(Available(), 1'500'000U);
  Write("proc/self/cgroup", "0::/../beside\n");
  EXPECT_EQ(Available(), 1'500'000U);
}

TEST_F(AvailableMemoryTest, GroupsOfVersion1HaveOtherNames) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n");
  Write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("cgroup/memory/memory.usage_in_bytes", "900000\n");
  EXPECT_EQ(Available(), 8000U * 1024);
  Write("cgroup/memory/job/memory.limit_in_bytes", "1000000\n");
  Write("cgroup/memory/job/memory.usage_in_bytes", "900000\n");
  Write("cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 300000\n");
  EXPECT_EQ(Available(), 400'000U);
}

}  // namespace
}  // namespace quire
