// Finds the leftmost-longest occurrence of any of a set of words. Immutable after the last Add: any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace quire::text {

class TokenTrie {
 public:
  struct Match {
    size_t begin = 0;
    size_t end = 0;  // 0: none
    int32_t value = 0;
    explicit operator bool() const { return end != 0; }
  };

  // REQUIRES: `word` is not empty. A word that is given again gets the later value.
  void Add(std::string_view word, int32_t value);
  // The first match that begins at or after `from`.
  Match Find(std::string_view text, size_t from) const;
  bool empty() const { return nodes_.size() == 1; }

 private:
  struct Node {
    int32_t value = -1;  // -1: no word ends here
    std::vector<std::pair<unsigned char, uint32_t>> children;
  };

  const Node* Child(const Node& node, unsigned char byte) const;
  Match LongestAt(std::string_view text, size_t at) const;

  std::vector<Node> nodes_{1};
  std::array<bool, 256> starts_word_{};  // most places of a text are passed with this alone
};

}  // namespace quire::text
