#include "cli/nearest_name.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace quire {
namespace {

// How many characters must be put in, taken out or changed (Levenshtein).
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, changed}));
    }
  }
  return row.back();
}

}  // namespace

std::string NearestName(std::string_view name, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t least = name.size() / 3 + 1;  // a third of the name may be wrong
  for (const std::string& candidate : candidates) {
    if (candidate.empty()) continue;
    const bool is_begun = name.size() > 3 && candidate.starts_with(name);
    const size_t distance = is_begun ? 1 : EditDistance(name, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace quire
