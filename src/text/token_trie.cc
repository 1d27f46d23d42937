#include "text/token_trie.h"

namespace quire::text {

void TokenTrie::Add(std::string_view word, int32_t value) {
  starts_word_[static_cast<unsigned char>(word.front())] = true;
  uint32_t at = 0;
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    const Node* child = Child(nodes_[at], byte);
    if (child != nullptr) {
      at = static_cast<uint32_t>(child - nodes_.data());
    } else {
      const auto added = static_cast<uint32_t>(nodes_.size());
      nodes_[at].children.emplace_back(byte, added);
      nodes_.emplace_back();
      at = added;
    }
  }
  nodes_[at].value = value;
}

const TokenTrie::Node* TokenTrie::Child(const Node& node, unsigned char byte) const {
  for (const auto& [label, index] : node.children) {
    if (label == byte) return &nodes_[index];
  }
  return nullptr;
}

TokenTrie::Match TokenTrie::LongestAt(std::string_view text, size_t at) const {
  Match longest;
  const Node* node = &nodes_[0];
  for (size_t end = at; end < text.size();) {
    node = Child(*node, static_cast<unsigned char>(text[end++]));
    if (node == nullptr) break;
    if (node->value >= 0) longest = {.begin = at, .end = end, .value = node->value};
  }
  return longest;
}

TokenTrie::Match TokenTrie::Find(std::string_view text, size_t from) const {
  for (size_t at = from; at < text.size(); ++at) {
    if (!starts_word_[static_cast<unsigned char>(text[at])]) continue;
    if (const Match match = LongestAt(text, at)) return match;
  }
  return {};
}

}  // namespace quire::text
