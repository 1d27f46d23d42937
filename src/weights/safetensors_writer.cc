#include "weights/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"

namespace quire {

NewTensor NewFloatTensor(std::string name, DType dtype, std::vector<int64_t> shape) {
  QUIRE_CHECK(dtype == DType::kF32 || dtype == DType::kBf16 || dtype == DType::kF16, "{}", DTypeName(dtype));
  uint64_t bytes = DTypeSize(dtype);
  for (const int64_t dim : shape) bytes *= static_cast<uint64_t>(dim);
  return {.name = std::move(name),
          .dtype = dtype == DType::kF32    ? "F32"
                   : dtype == DType::kBf16 ? "BF16"
                                           : "F16",
          .shape = std::move(shape),
          .bytes = bytes};
}

Result<SafetensorsWriter> SafetensorsWriter::Create(const std::string& path, std::vector<NewTensor> tensors,
                                                    bool replaces) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t end = 0;
  for (const NewTensor& tensor : tensors) {
    const uint64_t begin = std::exchange(end, end + tensor.bytes);
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data is aligned
  const uint64_t length = text.size();
  QUIRE_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(path, replaces));
  QUIRE_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(&length, 1))));
  QUIRE_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(text))));
  return SafetensorsWriter(std::move(file), end);
}

Status SafetensorsWriter::Append(std::span<const std::byte> bytes) {
  QUIRE_CHECK_LE(bytes.size(), bytes_left_);
  bytes_left_ -= bytes.size();
  return file_.Append(bytes);
}

Status SafetensorsWriter::AppendTensor(const StoredTensor& tensor, DType dtype) {
  const int64_t piece = (int64_t{1} << 20) / tensor.unit() * tensor.unit();
  const size_t element = DTypeSize(dtype);
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(piece, tensor.size())) * element);
  for (int64_t first = 0; first < tensor.size(); first += piece) {
    const int64_t count = std::min(piece, tensor.size() - first);
    QUIRE_RETURN_IF_ERROR(ReadAs(tensor, first, count, dtype, bytes.data()));
    QUIRE_RETURN_IF_ERROR(Append(std::span(bytes).first(static_cast<size_t>(count) * element)));
  }
  return {};
}

Status SafetensorsWriter::Finish() {
  QUIRE_CHECK_EQ(bytes_left_, 0U);
  return file_.Finish();
}

}  // namespace quire
