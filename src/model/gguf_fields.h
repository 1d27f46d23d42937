// GgufFields: typed, range-checked reading of what a GGUF file says of its architecture: the keys "<architecture>.*".
// The first problem sticks and names the file, the key and the value; readers go on with defaults and ask status() once
// at the end. Keys that nobody asked for are told by unread(). One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "weights/gguf_metadata.h"

namespace quire {

class GgufFields {
 public:
  GgufFields(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  bool Has(std::string_view name);
  // An integer in [min, max], or a list of such that are all the same (one for each layer); without a fallback the key
  // must be there.
  int32_t Int(std::string_view name, std::optional<int32_t> fallback, int64_t min, int64_t max);
  float Float(std::string_view name, std::optional<float> fallback, double min, double max);
  std::string String(std::string_view name, std::string_view fallback);
  // A list of bools; empty if absent or not such a list.
  std::vector<bool> Bools(std::string_view name);
  // What would change the computation in a way that is not offered: must be absent, or `neutral`.
  void MustBe(std::string_view name, double neutral);

  void Fail(std::string_view name, const std::string& problem);
  Status status() const { return status_; }
  std::vector<std::string> unread() const;

 private:
  std::string KeyOf(std::string_view name);
  std::optional<int64_t> IntOrSameOfAll(const std::string& key);

  const GgufMetadata& metadata_;
  std::string prefix_;
  std::set<std::string, std::less<>> read_;
  Status status_;
};

}  // namespace quire
