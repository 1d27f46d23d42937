#include "weights/safetensors_writer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"

namespace quire {

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

Status SafetensorsWriter::Finish() {
  QUIRE_CHECK_EQ(bytes_left_, 0U);
  return file_.Finish();
}

}  // namespace quire
