#include "llm/available_cpus.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>

#include "base/env_testing.h"

namespace quire {
namespace {

class AvailableCpusTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = std::filesystem::path(directory_.path()) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  int Available() const { return AvailableCpus({.proc = directory_.path() + "/proc", .cgroup = directory_.path()}); }
  static int Affinity() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    return CPU_COUNT(&set);
  }

  TemporaryDirectory directory_;
};

TEST_F(AvailableCpusTest, TheAffinityCountsAndAQuotaThatIsSmaller) {
  EXPECT_EQ(Available(), Affinity());
  Write("proc/self/cgroup", "0::/a/b\n");
  EXPECT_EQ(Available(), Affinity()) << "nothing is said";
  Write("a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(Available(), Affinity());
  Write("a/cpu.max", "50000 100000\n");
  EXPECT_EQ(Available(), 1) << "of a group that holds it; half a CPU is one thread";
  Write("a/cpu.max", "9900000 100000\n");
  EXPECT_EQ(Available(), std::min(Affinity(), 99));
  Write("a/b/cpu.max", "100001 100000\n");
  EXPECT_EQ(Available(), std::min(Affinity(), 2));
}

TEST_F(AvailableCpusTest, Version1SaysItInTwoFiles) {
  Write("proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/1\n");
  Write("cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  Write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Available(), 1);
  Write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Available(), Affinity());
}

TEST_F(AvailableCpusTest, ProcessesThatTaskSetBindsSeeTheirOwn) {
  cpu_set_t before, one;
  CPU_ZERO(&before);
  CPU_ZERO(&one);
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(Available(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

}  // namespace
}  // namespace quire
