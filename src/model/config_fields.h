// ConfigFields: typed, range-checked reading of a JSON object from a file. The first problem sticks and names the file,
// the field and the value; readers go on with defaults and ask status() once at the end. A field that is null counts as
// absent. What a model can do without is read through Lenient(): a problem there is a warning. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "quire/result.h"

namespace quire {

class ConfigFields {
 public:
  // kNotFound if there is no such file; kInvalidArgument if it is not a JSON object.
  static Result<ConfigFields> Read(const std::string& path);

  bool Has(const char* name) const;     // present and not null
  bool IsNull(const char* name) const;  // present and null

  // Values must lie in [min, max].
  std::optional<int32_t> OptionalInt(const char* name, int64_t min, int64_t max);
  int32_t Int(const char* name, int32_t fallback, int64_t min, int64_t max);
  std::optional<float> OptionalFloat(const char* name, double min, double max);
  float Float(const char* name, float fallback, double min, double max);
  bool Bool(const char* name, bool fallback);
  std::string String(const char* name, const std::string& fallback);
  // A single integer, or a list of them; empty if absent.
  std::vector<int32_t> IntOrList(const char* name, int64_t min, int64_t max);
  std::vector<std::string> Strings(const char* name);
  // The object under `name`, empty if absent. It shares this one's status.
  ConfigFields Object(const char* name);
  // The same object, whose wrong values count as absent and are told by warnings().
  ConfigFields Lenient() const;

  // Records "<path>: <field> <problem>" unless an earlier problem is there.
  void Fail(const char* name, const std::string& problem);
  // For a field whose absence is an error.
  void Require(const char* name);

  const std::string& path() const;
  Status status() const;
  const std::vector<std::string>& warnings() const;

 private:
  struct Shared;
  ConfigFields(std::shared_ptr<Shared> shared, const nlohmann::json* object, std::string prefix);

  const nlohmann::json* Find(const char* name) const;
  std::optional<int32_t> CheckedInt(const char* name, const nlohmann::json& value, int64_t min, int64_t max);

  std::shared_ptr<Shared> shared_;
  const nlohmann::json* object_ = nullptr;  // nullptr: empty
  std::string prefix_;                      // "rope_scaling."
  bool lenient_ = false;
};

}  // namespace quire
