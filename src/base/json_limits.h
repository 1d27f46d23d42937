// What JSON from outside may ask of the parser.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

// Counts over all the texts of one request. Values are copied and destroyed by recursion, and each key is compared with
// all keys before it.
class JsonLimits {
 public:
  // Says what `what` ("the body's JSON") has too much of to be parsed; empty if it may be. Members are counted by their
  // colons: of what is not JSON, as many as the parser meets before it gives up.
  std::string FindExcess(std::string_view what, std::string_view text);

 private:
  uint64_t num_comparisons_ = 0;
};

}  // namespace quire
