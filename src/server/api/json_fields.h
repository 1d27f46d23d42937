// Reads the fields of a request's JSON object: null means absent; a wrong type or value is an error that names the
// field; the first error is kept; fields that nobody asked for are counted. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/api/api_error.h"

namespace quire::server {

// Parses a request's body, which must be an object. Limits its depth and the members of its objects.
std::optional<ApiError> ParseJsonObject(std::string_view body, nlohmann::ordered_json& object);

class FieldReader {
 public:
  // `object` outlives the reader.
  explicit FieldReader(const nlohmann::ordered_json& object) : object_(object) {}

  // The field's value; null if it is absent or null.
  const nlohmann::ordered_json* Find(std::string_view name);
  bool Has(std::string_view name) { return Find(name) != nullptr; }

  // Each leaves `value` as it is when the field is absent or wrong.
  void Read(std::string_view name, bool& value);
  void Read(std::string_view name, int32_t& value);
  void Read(std::string_view name, float& value);
  void Read(std::string_view name, std::string& value);
  void Read(std::string_view name, std::vector<std::string>& value);  // a string or a list of them
  void Read(std::string_view name, std::vector<int32_t>& value);
  void Read(std::string_view name, std::optional<uint64_t>& value);  // negative numbers wrap
  template <typename T>
  void Read(std::string_view name, std::optional<T>& value) {
    T read{};
    const bool failed_before = failed();
    if (!Has(name)) return;
    Read(name, read);
    if (failed_before || !failed()) value = std::move(read);
  }
  // An object from token ids, as strings without leading zeros, to numbers.
  void ReadBias(std::string_view name, std::vector<std::pair<int32_t, float>>& value);

  void CheckRange(std::string_view name, int64_t value, int64_t low, int64_t high);
  // Fields that mean nothing here but are part of the API.
  void Ignore(std::initializer_list<std::string_view> names);
  // A feature that is not offered: null, false and empty values ask for nothing.
  void Unsupported(std::string_view name, std::string_view what);

  void Fail(std::string_view name, std::string message);
  void Fail(ApiError error);
  bool failed() const { return error_.has_value(); }
  const std::optional<ApiError>& error() const { return error_; }
  // Fields that nobody asked for. Those of an object inside, as "name.field", are added by whoever reads that one.
  std::vector<std::string> Unknown() const;
  void AddUnknown(std::string_view name, const FieldReader& inner);

 private:
  void FailType(std::string_view name, const nlohmann::ordered_json& value, std::string_view expected);

  const nlohmann::ordered_json& object_;
  std::vector<std::string_view> known_;
  std::vector<std::string> unknown_inside_;
  std::optional<ApiError> error_;
};

// For a message: cut to a length that a line holds.
std::string Shorten(std::string_view text);
// The same of a value, as it came.
std::string Quote(const nlohmann::ordered_json& value);
// Whether a value is this string. (Comparing a value with a literal makes a JSON value of the literal.)
bool IsText(const nlohmann::ordered_json& value, std::string_view text);
// An integer that fits, also when it is written as 3.0.
std::optional<int64_t> ToInteger(const nlohmann::ordered_json& value);

}  // namespace quire::server
