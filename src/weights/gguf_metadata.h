// GgufMetadata: the key-value pairs at the head of a GGUF file, checked as a whole when the file is opened and decoded
// when they are asked for. Arrays of strings are views of the head's bytes, which copies share.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
//
// Lookups are by key and type. Errors name the file, the key and what it holds; a key that is absent is kNotFound.
// Const; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "weights/gguf_reader.h"

namespace quire {

// Types of values, by their numbers in a file.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

// "uint32"
std::string_view GgufTypeName(GgufType type);

class GgufMetadata {
 public:
  GgufMetadata() = default;

  // Reads `num_pairs` pairs at the cursor; `path` is for messages.
  static Result<GgufMetadata> Read(const std::string& path, uint64_t num_pairs, GgufReader& reader);
  // Gives it the bytes that the reader has read since the file's beginning, which its values lie in. Once, after Read.
  void Keep(std::string head) { head_ = std::make_shared<const std::string>(std::move(head)); }

  bool Has(std::string_view key) const { return values_.find(key) != values_.end(); }
  // Sorted.
  std::vector<std::string_view> keys() const;
  // "uint32", "string[49152]"; empty if there is no such key.
  std::string TypeText(std::string_view key) const;
  // As they stand in the file; of an array with its type and length. REQUIRES: there is such a key.
  GgufType TypeOf(std::string_view key) const { return values_.find(key)->second.type; }
  std::string_view StoredBytes(std::string_view key) const;
  // Of an array; 0 for anything else, or no such key.
  uint64_t ArrayLength(std::string_view key) const;

  // Views live as long as this object or a copy of it. Strings are bytes: nobody checked that they are UTF-8.
  Result<std::string_view> String(std::string_view key) const;
  // An integer of any type that lies in [min, max].
  Result<int64_t> Int(std::string_view key, int64_t min = INT64_MIN, int64_t max = INT64_MAX) const;
  // A number of any type. Never NaN or infinite.
  Result<double> Float(std::string_view key) const;
  Result<bool> Bool(std::string_view key) const;

  Result<std::vector<std::string_view>> Strings(std::string_view key) const;
  // Integers of any type.
  Result<std::vector<int64_t>> Ints(std::string_view key) const;
  // Numbers of any type, as they are.
  Result<std::vector<double>> Floats(std::string_view key) const;
  Result<std::vector<bool>> Bools(std::string_view key) const;

  // With what an absent key means.
  Result<std::string_view> StringOr(std::string_view key, std::string_view fallback) const;
  Result<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min = INT64_MIN, int64_t max = INT64_MAX) const;
  Result<double> FloatOr(std::string_view key, double fallback) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;

  const std::string& path() const { return path_; }

 private:
  struct Value {
    GgufType type = GgufType::kUint8;
    GgufType element = GgufType::kUint8;  // of an array
    uint64_t count = 1;                   // of an array
    uint64_t offset = 0;                  // of the value, or of an array's first element
    uint64_t end = 0;                     // of all of it
  };

  Result<Value> ReadValue(GgufReader& reader, std::string_view what) const;
  Result<Value> Find(std::string_view key) const;
  Result<Value> FindArray(std::string_view key) const;
  Error Mismatch(std::string_view key, std::string_view wanted) const;
  const char* At(const Value& value) const { return head_->data() + value.offset; }

  std::string path_;
  std::map<std::string, Value, std::less<>> values_;
  std::shared_ptr<const std::string> head_;
};

}  // namespace quire
