#include "text/json_node.h"

#include <simdjson.h>

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/strict_json.h"

namespace quire::text {
namespace {

using simdjson::dom::element;
using Handle = std::array<uint64_t, 2>;

static_assert(sizeof(element) == sizeof(Handle) && std::is_trivially_copyable_v<element>);

element ToElement(const Handle& handle) {
  element result;
  std::memcpy(static_cast<void*>(&result), handle.data(), sizeof(result));
  return result;
}

Handle ToHandle(const element& value) {
  Handle handle;
  std::memcpy(handle.data(), static_cast<const void*>(&value), sizeof(value));
  return handle;
}

}  // namespace

bool JsonNode::IsString() const { return ToElement(handle_).is_string(); }
bool JsonNode::IsArray() const { return ToElement(handle_).is_array(); }
bool JsonNode::IsObject() const { return ToElement(handle_).is_object(); }
bool JsonNode::IsNumber() const { return ToElement(handle_).is_number(); }
bool JsonNode::IsNull() const { return ToElement(handle_).is_null(); }

std::string JsonNode::Path() const {
  if (parent_ == nullptr) return path_;
  std::string path = parent_->Path();
  if (index_ != kNoIndex) return fmt::format("{}[{}]", path, index_);
  if (!path.empty()) path += '.';
  return path.append(key_);
}

Error JsonNode::Complain(std::string_view message) const {
  const std::string path = Path();
  return InvalidArgument("{}: {}", path.empty() ? "the document" : path, message);
}

Result<JsonNode> JsonNode::Get(std::string_view key) const {
  simdjson::dom::object object;
  if (ToElement(handle_).get(object) != simdjson::SUCCESS) return Complain("must be an object");
  std::string path = Path();
  if (!path.empty()) path += '.';
  path += key;
  element value;
  if (object.at_key(key).get(value) != simdjson::SUCCESS) return InvalidArgument("{}: is missing", path);
  return JsonNode(ToHandle(value), std::move(path));
}

std::optional<JsonNode> JsonNode::Find(std::string_view key) const {
  Result<JsonNode> found = Get(key);
  if (!found.ok() || ToElement(found->handle_).is_null()) return std::nullopt;
  return *std::move(found);
}

Result<std::string_view> JsonNode::AsString() const {
  std::string_view value;
  if (ToElement(handle_).get(value) != simdjson::SUCCESS) return Complain("must be a string");
  return value;
}

Result<int64_t> JsonNode::AsInt() const {
  int64_t value = 0;
  if (ToElement(handle_).get(value) != simdjson::SUCCESS) return Complain("must be a whole number");
  return value;
}

Result<double> JsonNode::AsNumber() const {
  double value = 0;
  if (ToElement(handle_).get(value) != simdjson::SUCCESS) return Complain("must be a number");
  return value;
}

Result<bool> JsonNode::AsBool() const {
  bool value = false;
  if (ToElement(handle_).get(value) != simdjson::SUCCESS) return Complain("must be true or false");
  return value;
}

Result<bool> JsonNode::BoolOr(std::string_view key, bool fallback) const {
  const std::optional<JsonNode> member = Find(key);
  return member ? member->AsBool() : Result<bool>(fallback);
}

Result<int64_t> JsonNode::IntOr(std::string_view key, int64_t fallback) const {
  const std::optional<JsonNode> member = Find(key);
  return member ? member->AsInt() : Result<int64_t>(fallback);
}

Result<std::string> JsonNode::StringOr(std::string_view key, std::string_view fallback) const {
  const std::optional<JsonNode> member = Find(key);
  if (!member) return std::string(fallback);
  QUIRE_ASSIGN_OR_RETURN(const std::string_view value, member->AsString());
  return std::string(value);
}

Status JsonNode::ForEachElement(FunctionRef<Status(const JsonNode&)> visit) const {
  simdjson::dom::array array;
  if (ToElement(handle_).get(array) != simdjson::SUCCESS) return Complain("must be an array");
  size_t index = 0;
  for (const element value : array) QUIRE_RETURN_IF_ERROR(visit(JsonNode(ToHandle(value), this, index++)));
  return {};
}

Status JsonNode::ForEachMember(FunctionRef<Status(std::string_view, const JsonNode&)> visit) const {
  simdjson::dom::object object;
  if (ToElement(handle_).get(object) != simdjson::SUCCESS) return Complain("must be an object");
  for (const auto [key, value] : object) QUIRE_RETURN_IF_ERROR(visit(key, JsonNode(ToHandle(value), this, key)));
  return {};
}

struct JsonDocument::Impl {
  simdjson::dom::parser parser;
  element root;
};

JsonDocument::JsonDocument(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

Result<JsonDocument> JsonDocument::Parse(std::string_view text) {
  auto impl = std::make_unique<Impl>();
  const simdjson::padded_string padded(text);
  simdjson::error_code error = impl->parser.parse(padded).get(impl->root);
  if (error != simdjson::SUCCESS) {
    error = impl->parser.parse(simdjson::padded_string(StrictJson(text))).get(impl->root);
  }
  if (error != simdjson::SUCCESS) return InvalidArgument("is not valid JSON: {}", simdjson::error_message(error));
  return JsonDocument(std::move(impl));
}

JsonNode JsonDocument::root() const { return JsonNode(ToHandle(impl_->root), std::string()); }

}  // namespace quire::text
