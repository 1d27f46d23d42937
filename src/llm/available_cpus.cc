#include "llm/available_cpus.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>
#include <thread>

#include "base/env.h"

namespace quire {
namespace {

constexpr CgroupHierarchy kUnified = {"", ""};
constexpr CgroupHierarchy kOfCpus[] = {{"cpu", "cpu"}, {"cpu", "cpu,cpuacct"}};

// The first numbers of a file; fewer if it has fewer, or says "max".
std::optional<double> ReadNumber(std::istream& text) {
  double value = 0;
  if (!(text >> value)) return std::nullopt;
  return value;
}

double Quotient(std::optional<double> quota, std::optional<double> period) {
  const bool is_limit = quota && period && *quota > 0 && *period > 0;
  return is_limit ? *quota / *period : std::numeric_limits<double>::infinity();
}

std::istringstream Open(const std::string& directory, const char* name) {
  const Result<std::string> text = Env::Posix().ReadFile(JoinPath(directory, name));
  return std::istringstream(text.ok() ? *text : std::string());
}

int NumInAffinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));  // more CPUs than a set holds
}

}  // namespace

int AvailableCpus(const KernelFiles& files) {
  double cpus = NumInAffinity();
  ForEachGroup(files, kUnified, [&](const std::string& group) {
    std::istringstream text = Open(group, "cpu.max");  // "200000 100000", or "max 100000"
    const std::optional<double> quota = ReadNumber(text);
    cpus = std::min(cpus, Quotient(quota, ReadNumber(text)));
  });
  for (const CgroupHierarchy& hierarchy : kOfCpus) {
    ForEachGroup(files, hierarchy, [&](const std::string& group) {
      std::istringstream quota = Open(group, "cpu.cfs_quota_us"),
                         period = Open(group, "cpu.cfs_period_us");  // -1: none
      cpus = std::min(cpus, Quotient(ReadNumber(quota), ReadNumber(period)));
    });
  }
  return std::max(1, static_cast<int>(std::ceil(cpus)));
}

}  // namespace quire
