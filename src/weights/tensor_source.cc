#include "weights/tensor_source.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "weights/tensor_text.h"

namespace quire {

std::vector<std::string> TensorSource::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

bool TensorSource::IsFloat(std::string_view name) const {
  const auto it = entries_.find(name);
  return it != entries_.end() && it->second.format != nullptr;
}

std::vector<int64_t> TensorSource::ShapeOf(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? std::vector<int64_t>() : it->second.shape;
}

Result<StoredTensor> TensorSource::Find(std::string_view name, std::span<const int64_t> shape) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    return NotFound("{}: tensor {} is missing: expected shape {}{}", where_, PrintableName(name), ShapeText(shape),
                    HintOfMissing(name));
  }
  const Entry& entry = it->second;
  if (entry.quantized != nullptr && !entry.quantized->problem.ok()) return entry.quantized->problem.error();
  if (!std::equal(shape.begin(), shape.end(), entry.shape.begin(), entry.shape.end())) {
    return InvalidArgument("{}: tensor {} has shape {}: {} asks for {}", entry.file->path(), PrintableName(name),
                           ShapeText(entry.shape), config_, ShapeText(shape));
  }
  const int64_t size = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  if (entry.quantized != nullptr) {
    return StoredTensor(OpenQuantizedWeight(entry.quantized->weight), entry.quantized->format, size);
  }
  if (entry.format == nullptr) {
    return Unimplemented("{}: tensor {} is stored as {}: supported are {}", entry.file->path(), PrintableName(name),
                         entry.type_name, SupportedTypes());
  }
  return StoredTensor(*entry.file, entry.offset, *entry.format, size, entry.paired);
}

Status TensorSource::CheckUnchanged() const {
  std::set<const ReadableFile*> files;
  for (const auto& [name, entry] : entries_) files.insert(entry.file);
  for (const ReadableFile* file : files) QUIRE_RETURN_IF_ERROR(file->CheckUnchanged());
  return {};
}

void TensorSource::AddMissingPrefix(std::string_view prefix, std::string_view witness) {
  if (Has(witness) || !Has(witness.substr(prefix.size()))) return;
  std::map<std::string, Entry, std::less<>> prefixed;
  for (auto& [name, entry] : entries_) {
    const bool has_prefix = name.starts_with(prefix) || name.starts_with("lm_head.");
    prefixed.emplace(has_prefix ? name : std::string(prefix) + name, std::move(entry));
  }
  entries_ = std::move(prefixed);
}

void TensorSource::AddAlias(const std::string& alias, std::string_view name) {
  const auto it = entries_.find(name);
  QUIRE_CHECK(it != entries_.end());
  entries_.emplace(alias, it->second);
}

Status TensorSource::OrderPairedRows(std::string_view name, int64_t num_heads) {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return {};
  Entry& entry = it->second;
  const int64_t rows = entry.shape.empty() ? 0 : entry.shape.front();
  if (rows == 0 || rows % (2 * num_heads) != 0) {
    return InvalidArgument("{}: tensor {} has shape {}: its rows are not those of {} heads of an even size",
                           entry.file->path(), PrintableName(name), ShapeText(entry.shape), num_heads);
  }
  const int64_t row_size = std::accumulate(entry.shape.begin() + 1, entry.shape.end(), int64_t{1}, std::multiplies<>());
  if (entry.format != nullptr && row_size % entry.format->block_size != 0) {
    return InvalidArgument("{}: tensor {}: its rows of {} are not whole blocks of {}", entry.file->path(),
                           PrintableName(name), row_size, entry.type_name);
  }
  entry.paired = {.head_rows = rows / num_heads, .row_size = row_size};
  return {};
}

}  // namespace quire
