#include "weights/gguf_writer.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "weights/gguf_types.h"

namespace quire {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kVersion = 3;

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

template <typename T>
void Append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void AppendText(std::string& bytes, std::string_view text) {
  Append<uint64_t>(bytes, text.size());
  bytes += text;
}

}  // namespace

void GgufPairs::Begin(std::string_view key, GgufType type) {
  AppendText(bytes_, key);
  Append(bytes_, type);
  ++count_;
}

void GgufPairs::AddUint32(std::string_view key, uint32_t value) {
  Begin(key, GgufType::kUint32);
  Append(bytes_, value);
}

void GgufPairs::AddString(std::string_view key, std::string_view text) {
  Begin(key, GgufType::kString);
  AppendText(bytes_, text);
}

void GgufPairs::BeginArray(std::string_view key, GgufType element, size_t count) {
  Begin(key, GgufType::kArray);
  Append(bytes_, element);
  Append<uint64_t>(bytes_, count);
}

void GgufPairs::AddFloat32(std::string_view key, float value) {
  Begin(key, GgufType::kFloat32);
  Append(bytes_, value);
}

void GgufPairs::AddBool(std::string_view key, bool value) {
  Begin(key, GgufType::kBool);
  Append<uint8_t>(bytes_, value ? 1 : 0);
}

void GgufPairs::AddStrings(std::string_view key, std::span<const std::string> texts) {
  BeginArray(key, GgufType::kString, texts.size());
  for (const std::string& text : texts) AppendText(bytes_, text);
}

void GgufPairs::AddInt32s(std::string_view key, std::span<const int32_t> values) {
  BeginArray(key, GgufType::kInt32, values.size());
  for (const int32_t value : values) Append(bytes_, value);
}

void GgufPairs::AddFloat32s(std::string_view key, std::span<const float> values) {
  BeginArray(key, GgufType::kFloat32, values.size());
  for (const float value : values) Append(bytes_, value);
}

void GgufPairs::Copy(const GgufMetadata& from, std::string_view key) {
  Begin(key, from.TypeOf(key));
  bytes_ += from.StoredBytes(key);
}

uint64_t NewGgufTensor::bytes() const {
  const WeightFormat& format = FormatOf(kind);
  uint64_t size = static_cast<uint64_t>(format.block_bytes);
  for (const int64_t dim : shape) size *= static_cast<uint64_t>(dim);
  return size / static_cast<uint64_t>(format.block_size);
}

std::string GgufHead(const GgufPairs& pairs, std::span<const NewGgufTensor> tensors) {
  std::string head = "GGUF";
  Append(head, kVersion);
  Append<uint64_t>(head, tensors.size());
  Append(head, pairs.count());
  head += pairs.bytes();
  uint64_t offset = 0;
  for (const NewGgufTensor& tensor : tensors) {
    AppendText(head, tensor.name);
    Append(head, static_cast<uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) Append(head, *dim);
    Append(head, GgufNumberOf(tensor.kind));
    Append(head, offset);
    offset += Aligned(tensor.bytes());
  }
  head.resize(Aligned(head.size()));
  return head;
}

Result<GgufWriter> GgufWriter::Create(const std::string& path, const GgufPairs& pairs,
                                      std::span<const NewGgufTensor> tensors, bool replaces) {
  QUIRE_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(path, replaces));
  const std::string head = GgufHead(pairs, tensors);
  QUIRE_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(head))));
  uint64_t data_bytes = 0;
  for (const NewGgufTensor& tensor : tensors) data_bytes += Aligned(tensor.bytes());
  return GgufWriter(std::move(file), data_bytes);
}

Status GgufWriter::AppendTensor(std::span<const std::byte> bytes) {
  static constexpr std::array<std::byte, kAlignment> kZeros = {};
  const uint64_t padding = Aligned(bytes.size()) - bytes.size();
  QUIRE_CHECK_LE(bytes.size() + padding, bytes_left_);
  bytes_left_ -= bytes.size() + padding;
  QUIRE_RETURN_IF_ERROR(file_.Append(bytes));
  return file_.Append(std::span(kZeros).first(padding));
}

Status GgufWriter::Finish() {
  QUIRE_CHECK_EQ(bytes_left_, 0U);
  return file_.Finish();
}

}  // namespace quire
