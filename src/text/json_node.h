// A read-only view of parsed JSON that knows its own path, so that every complaint names the field:
// "model.merges[12]: ...". Keeps the JSON library out of the headers. Any thread, while the document lives.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/function_ref.h"
#include "quire/result.h"

namespace quire::text {

class JsonNode {
 public:
  bool IsString() const;
  bool IsArray() const;
  bool IsObject() const;
  bool IsNumber() const;
  bool IsNull() const;

  // The member `key`: an error if this is not an object or has no such member (null counts as a value).
  Result<JsonNode> Get(std::string_view key) const;
  // The member `key`; nothing if it is absent or null or this is not an object.
  std::optional<JsonNode> Find(std::string_view key) const;

  Result<std::string_view> AsString() const;
  Result<int64_t> AsInt() const;
  Result<double> AsNumber() const;
  Result<bool> AsBool() const;

  // A member that may be absent or null, then `fallback`; of another type: an error.
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<int64_t> IntOr(std::string_view key, int64_t fallback) const;
  Result<std::string> StringOr(std::string_view key, std::string_view fallback) const;

  // The node of the callback lives only during the call. Stops at the first error.
  Status ForEachElement(FunctionRef<Status(const JsonNode&)> visit) const;
  Status ForEachMember(FunctionRef<Status(std::string_view key, const JsonNode&)> visit) const;

  std::string Path() const;
  // "path: message", kInvalidArgument.
  Error Complain(std::string_view message) const;

 private:
  friend class JsonDocument;
  using Handle = std::array<uint64_t, 2>;  // the library's element, which is two words
  static constexpr size_t kNoIndex = static_cast<size_t>(-1);

  JsonNode(Handle handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  JsonNode(Handle handle, const JsonNode* parent, size_t index) : handle_(handle), parent_(parent), index_(index) {}
  JsonNode(Handle handle, const JsonNode* parent, std::string_view key) : handle_(handle), parent_(parent), key_(key) {}

  Handle handle_;
  std::string path_;                  // set unless parent_ is
  const JsonNode* parent_ = nullptr;  // inside of ForEach only
  size_t index_ = kNoIndex;           // position in the parent, if that is an array
  std::string_view key_;              // else its key there
};

class JsonDocument {
 public:
  static Result<JsonDocument> Parse(std::string_view text);
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonNode root() const;

 private:
  struct Impl;
  explicit JsonDocument(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire::text
