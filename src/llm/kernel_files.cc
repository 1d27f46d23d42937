#include "llm/kernel_files.h"

#include <algorithm>
#include <sstream>
#include <string_view>

#include "base/env.h"

namespace quire {
namespace {

// "cpu,cpuacct" names both.
bool Names(std::string_view controllers, std::string_view controller) {
  if (controller.empty()) return controllers.empty();
  for (size_t begin = 0; begin <= controllers.size();) {
    const size_t end = std::min(controllers.find(',', begin), controllers.size());
    if (controllers.substr(begin, end - begin) == controller) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

// Lines are "hierarchy:controllers:group", the group as "/a/b". In a container it may be the name outside, of which
// nothing but the root is to be seen here.
void ForEachGroup(const KernelFiles& files, const CgroupHierarchy& hierarchy,
                  const std::function<void(const std::string&)>& visit) {
  const Result<std::string> text = Env::Posix().ReadFile(JoinPath(files.proc, "self/cgroup"));
  std::istringstream lines(text.ok() ? *text : std::string());
  for (std::string id, controllers, group;
       std::getline(lines, id, ':') && std::getline(lines, controllers, ':') && std::getline(lines, group);) {
    if (!Names(controllers, hierarchy.controller)) continue;
    const std::string root = JoinPath(files.cgroup, hierarchy.folder);
    while (!group.empty()) {
      visit(root + group);
      const size_t parent_end = group.rfind('/');
      group.erase(parent_end == std::string::npos ? 0 : parent_end);
    }
    visit(root);
  }
}

}  // namespace quire
