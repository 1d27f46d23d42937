// Where the kernel says what a process may take, and its control groups.
#pragma once

#include <functional>
#include <string>

namespace quire {

struct KernelFiles {
  std::string proc = "/proc";
  std::string cgroup = "/sys/fs/cgroup";
};

// A version of control groups: how a line of /proc/self/cgroup names its controller, and the folder of its tree.
// https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1
struct CgroupHierarchy {
  const char* controller;  // empty: version 2, which has all of them
  const char* folder;
};

// Calls visit(directory) for the process's group of that hierarchy and all that hold it, as far as they are to be seen.
void ForEachGroup(const KernelFiles& files, const CgroupHierarchy& hierarchy,
                  const std::function<void(const std::string&)>& visit);

}  // namespace quire
