// How much of the weights' files is in one format. A value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

struct StoredFormat {
  StoredFormat(std::string_view format_name, uint64_t num_bytes) : name(format_name), bytes(num_bytes) {}

  std::string name;  // "Q4_K"
  uint64_t bytes = 0;
};

}  // namespace quire
