#include "model/gguf_fields.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "weights/tensor_text.h"

namespace quire {

std::string GgufFields::KeyOf(std::string_view name) {
  std::string key = prefix_ + std::string(name);
  read_.insert(key);
  return key;
}

void GgufFields::Fail(std::string_view name, const std::string& problem) {
  if (!status_.ok()) return;
  status_ = InvalidArgument("{}: key {} {}", metadata_.path(), PrintableName(prefix_ + std::string(name)), problem);
}

bool GgufFields::Has(std::string_view name) { return metadata_.Has(KeyOf(name)); }

std::optional<int64_t> GgufFields::IntOrSameOfAll(const std::string& key) {
  if (metadata_.ArrayLength(key) == 0) {
    Result<int64_t> value = metadata_.Int(key);
    if (value.ok()) return *value;
    if (status_.ok()) status_ = std::move(value).error();
    return std::nullopt;
  }
  Result<std::vector<int64_t>> values = metadata_.Ints(key);
  if (!values.ok()) {
    if (status_.ok()) status_ = std::move(values).error();
    return std::nullopt;
  }
  if (std::adjacent_find(values->begin(), values->end(), std::not_equal_to<>()) == values->end()) {
    return values->front();
  }
  Fail(std::string_view(key).substr(prefix_.size()),
       "differs between layers: only layers that are alike are supported");
  return std::nullopt;
}

int32_t GgufFields::Int(std::string_view name, std::optional<int32_t> fallback, int64_t min, int64_t max) {
  const std::string key = KeyOf(name);
  if (!metadata_.Has(key)) {
    if (!fallback) Fail(name, "is missing");
    return fallback.value_or(static_cast<int32_t>(min));
  }
  const std::optional<int64_t> value = IntOrSameOfAll(key);
  if (value && (*value < min || *value > max)) Fail(name, fmt::format("is {}: must be in [{}, {}]", *value, min, max));
  return value && *value >= min && *value <= max ? static_cast<int32_t>(*value) : static_cast<int32_t>(min);
}

float GgufFields::Float(std::string_view name, std::optional<float> fallback, double min, double max) {
  const std::string key = KeyOf(name);
  if (!metadata_.Has(key)) {
    if (!fallback) Fail(name, "is missing");
    return fallback.value_or(static_cast<float>(min));
  }
  Result<double> value = metadata_.Float(key);
  if (!value.ok()) {
    if (status_.ok()) status_ = std::move(value).error();
    return static_cast<float>(min);
  }
  if (*value < min || *value > max) Fail(name, fmt::format("is {}: must be in [{}, {}]", *value, min, max));
  return static_cast<float>(*value);
}

std::string GgufFields::String(std::string_view name, std::string_view fallback) {
  Result<std::string_view> value = metadata_.StringOr(KeyOf(name), fallback);
  if (value.ok()) return std::string(*value);
  if (status_.ok()) status_ = std::move(value).error();
  return std::string(fallback);
}

std::vector<bool> GgufFields::Bools(std::string_view name) {
  const std::string key = KeyOf(name);
  if (!metadata_.Has(key)) return {};
  Result<std::vector<bool>> values = metadata_.Bools(key);
  if (values.ok()) return *std::move(values);
  if (status_.ok()) status_ = std::move(values).error();
  return {};
}

void GgufFields::MustBe(std::string_view name, double neutral) {
  const std::string key = KeyOf(name);
  if (!metadata_.Has(key)) return;
  const Result<bool> flag = metadata_.Bool(key);
  const Result<double> number = metadata_.Float(key);
  const double value = flag.ok() ? static_cast<double>(*flag) : number.ok() ? *number : neutral + 1;
  if (value == neutral) return;
  Fail(name, number.ok() ? fmt::format("is {}: only {} is supported", value, neutral) : "is not supported");
}

std::vector<std::string> GgufFields::unread() const {
  std::vector<std::string> unread;
  for (const std::string_view key : metadata_.keys()) {
    if (key.starts_with(prefix_) && read_.find(key) == read_.end()) unread.emplace_back(key);
  }
  return unread;
}

}  // namespace quire
