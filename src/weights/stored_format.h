// How much of the weights' files is in one format. A value.
#pragma once

#include <cstdint>
#include <string_view>

namespace quire {

struct StoredFormat {
  std::string_view name;  // "Q4_K"
  uint64_t bytes = 0;
};

}  // namespace quire
