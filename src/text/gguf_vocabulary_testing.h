// For tests: vocabularies as GGUF files have them, out of such files or of a tokenizer.json.
#pragma once

#include <cstring>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/gguf_vocabulary.h"
#include "text/tokenizer_testing.h"

namespace quire::test {

// The vocabulary, and the text that its views are of.
struct OwnedVocabulary {
  GgufVocabulary value;
  std::deque<std::string> texts;

  std::string_view Keep(std::string text) { return texts.emplace_back(std::move(text)); }
};

// Reads the metadata of a well-formed file of version 3, little-endian.
class GgufMetadataScanner {
 public:
  explicit GgufMetadataScanner(OwnedVocabulary& out, std::string_view bytes) : out_(out.value), bytes_(bytes) {}

  void Scan() {
    at_ = 16;  // magic, version, number of tensors
    for (auto pairs = Take<uint64_t>(); pairs > 0; --pairs) {
      const std::string_view key = TakeString();
      TakeValue(key, Take<uint32_t>());
    }
  }

 private:
  enum Type : uint32_t { kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9 };

  template <typename T>
  T Take() {
    T value{};
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string_view TakeString() {
    const auto size = Take<uint64_t>();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }

  void TakeValue(std::string_view key, uint32_t type) {
    if (type == kArray) {
      const auto element = Take<uint32_t>();
      for (auto count = Take<uint64_t>(); count > 0; --count) TakeValue(key, element);
    } else if (type == kString) {
      SetText(key, TakeString());
    } else if (type == kBool) {
      SetFlag(key, Take<uint8_t>() != 0);
    } else if (type == kFloat32) {
      const auto value = Take<float>();
      if (key == "tokenizer.ggml.scores") out_.scores.push_back(value);
    } else {
      ASSERT_TRUE(type == kUint32 || type == kInt32) << key;
      SetNumber(key, Take<uint32_t>());
    }
  }

  void SetText(std::string_view key, std::string_view text) {
    if (key == "general.name") out_.name = text;
    if (key == "tokenizer.ggml.model") out_.model = text;
    if (key == "tokenizer.ggml.pre") out_.pre = text;
    if (key == "tokenizer.ggml.tokens") out_.tokens.push_back(text);
    if (key == "tokenizer.ggml.merges") out_.merges.push_back(text);
  }
  void SetFlag(std::string_view key, bool flag) {
    if (key == "tokenizer.ggml.add_bos_token") out_.add_bos = flag;
    if (key == "tokenizer.ggml.add_eos_token") out_.add_eos = flag;
    if (key == "tokenizer.ggml.add_space_prefix") out_.add_space_prefix = flag;
  }
  void SetNumber(std::string_view key, uint32_t number) {
    if (key == "tokenizer.ggml.token_type") out_.token_types.push_back(number);
    if (key == "tokenizer.ggml.bos_token_id") out_.bos_id = number;
    if (key == "tokenizer.ggml.eos_token_id") out_.eos_id = number;
    if (key == "tokenizer.ggml.unknown_token_id") out_.unknown_id = number;
    if (key == "tokenizer.ggml.padding_token_id") out_.padding_id = number;
  }

  GgufVocabulary& out_;
  std::string_view bytes_;
  size_t at_ = 0;
};

inline OwnedVocabulary ReadGgufVocabulary(const std::filesystem::path& path) {
  OwnedVocabulary vocabulary;
  GgufMetadataScanner(vocabulary, vocabulary.Keep(ReadMaybeGzip(path))).Scan();
  return vocabulary;
}

// What a converter writes for this byte-level tokenizer.json.
inline OwnedVocabulary ConvertTokenizerJson(const nlohmann::json& json, const char* pre) {
  OwnedVocabulary out;
  GgufVocabulary& value = out.value;
  value.model = "gpt2";
  value.pre = pre;
  const auto set = [&](const std::string& token, size_t id, GgufTokenType type) {
    if (value.tokens.size() <= id) {
      value.tokens.resize(id + 1);
      value.token_types.resize(id + 1, static_cast<int64_t>(GgufTokenType::kUnused));
    }
    value.tokens[id] = out.Keep(token);
    value.token_types[id] = static_cast<int64_t>(type);
  };
  for (const auto& [token, id] : json["model"]["vocab"].items()) set(token, id, GgufTokenType::kNormal);
  for (const nlohmann::json& token : json["added_tokens"]) {
    set(token["content"], token["id"], token["special"] ? GgufTokenType::kControl : GgufTokenType::kUserDefined);
  }
  for (const nlohmann::json& merge : json["model"]["merges"]) {
    value.merges.push_back(out.Keep(merge.is_string()
                                        ? merge.get<std::string>()
                                        : merge[0].get<std::string>() + " " + merge[1].get<std::string>()));
  }
  return out;
}

// What a converter writes for SentencePiece's tokenizer.model: a protocol buffer whose field 1, repeated, is a piece of
// text (1), score (2) and type (3), which has GGUF's numbers.
inline OwnedVocabulary ConvertSentencePieceModel(const std::filesystem::path& path) {
  OwnedVocabulary out;
  out.value.model = "llama";
  out.value.pre = "default";
  const std::string_view bytes = out.Keep(ReadMaybeGzip(path));
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.size() && bytes[at] == (1 << 3 | 2)) {
    ++at;
    const uint64_t size = varint(), end = at + size;
    out.value.token_types.push_back(static_cast<int64_t>(GgufTokenType::kNormal));
    while (at < end) {
      const uint64_t tag = varint();
      if (tag == (1 << 3 | 2)) {
        const uint64_t length = varint();
        out.value.tokens.push_back(bytes.substr(at, length));
        at += length;
      } else if (tag == (2 << 3 | 5)) {
        float score = 0;
        std::memcpy(&score, bytes.data() + at, sizeof(score));
        at += sizeof(score);
        out.value.scores.push_back(score);
      } else {
        out.value.token_types.back() = static_cast<int64_t>(varint());
      }
    }
  }
  return out;
}

}  // namespace quire::test
