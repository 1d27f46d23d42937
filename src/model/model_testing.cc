#include "model/model_testing.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <sstream>

#include "base/check.h"
#include "weights/safetensors.h"

namespace quire::testing {

void ScratchDirectory::Write(const std::string& name, const std::string& contents) const {
  std::filesystem::create_directories(std::filesystem::path(File(name)).parent_path());
  std::ofstream file(File(name), std::ios::binary);
  file << contents;
  QUIRE_CHECK(file.good(), "{}", name);
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  QUIRE_CHECK(file.good(), "{}", path);
  std::ostringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + data;
}

std::string SafetensorsBytes(const std::vector<RawTensor>& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const RawTensor& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.data;
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return SafetensorsBytes(header.dump(), data);
}

std::vector<RawTensor> ReadRawTensors(const std::string& path) {
  auto file = SafetensorsFile::Open(path);
  QUIRE_CHECK(file.ok(), "{}", path);
  std::vector<RawTensor> tensors;
  for (const auto& [name, entry] : file->entries()) {
    std::string data(entry.bytes, '\0');
    QUIRE_CHECK(file->file().Read(entry.offset, std::as_writable_bytes(std::span(data))).ok(), "{}", path);
    tensors.push_back({name, entry.dtype_name, entry.shape, data});
  }
  return tensors;
}

std::string GoldenModelDirectory(const std::string& name) {
  return std::string(QUIRE_SOURCE_DIR) + "/tests/goldens/models/" + name;
}

std::string TestDataDirectory() {
  const char* directory = std::getenv("QUIRE_TEST_DATA");
  return directory != nullptr ? directory : std::string(QUIRE_SOURCE_DIR) + "/../shared/data";
}

SequenceRunner::SequenceRunner(Backend& backend, const Model& model, const CacheLayout& layout, int32_t num_sequences,
                               int32_t max_length, int32_t max_rows)
    : backend_(backend), model_(model), sequences_(static_cast<size_t>(num_sequences)) {
  table_stride_ = (max_length + layout.block_size - 1) / layout.block_size;
  const int32_t per_sequence = table_stride_ * static_cast<int32_t>(model.kv_layout().groups.size());
  KvShape shape = model.kv_shape();
  shape.num_blocks = per_sequence * num_sequences;
  shape.block_size = layout.block_size;
  shape.dtype = layout.dtype;
  auto cache = backend.AllocateKvCache(shape);
  QUIRE_CHECK(cache.ok(), "{}", cache.error().message);
  cache_ = *std::move(cache);

  std::vector<uint32_t> order(static_cast<size_t>(shape.num_blocks));
  std::iota(order.begin(), order.end(), 0U);
  if (layout.shuffle_seed != 0) std::shuffle(order.begin(), order.end(), std::mt19937_64(layout.shuffle_seed));
  auto next = order.begin();
  for (Sequence& sequence : sequences_) {
    sequence.blocks.assign(next, next + per_sequence);
    next += per_sequence;
  }

  auto batch = backend.NewBatch(model.batch_limits(max_rows));
  auto arena = backend.Allocate(model.ArenaBytes(max_rows, max_rows));
  QUIRE_CHECK(batch.ok() && arena.ok());
  batch_ = *std::move(batch);
  arena_ = Arena(*std::move(arena), Place::kDevice);
}

std::vector<float> SequenceRunner::Step(const std::vector<std::pair<int32_t, std::span<const int32_t>>>& parts) {
  std::vector<int32_t> tokens;
  std::vector<BatchSpan> spans;
  for (const auto& [index, part] : parts) {
    Sequence& sequence = sequences_[static_cast<size_t>(index)];
    spans.push_back({.first_row = static_cast<int32_t>(tokens.size()),
                     .num_rows = static_cast<int32_t>(part.size()),
                     .first_position = sequence.length,
                     .block_table = sequence.blocks.data(),
                     .table_stride = table_stride_});
    tokens.insert(tokens.end(), part.begin(), part.end());
    sequence.length += static_cast<int32_t>(part.size());
  }
  arena_.Reset();
  backend_.Prepare(*batch_, tokens, spans);
  const Tensor hidden = model_.Forward(*batch_, *cache_, arena_);
  const Tensor logits = model_.Logits(*batch_, hidden, arena_);
  std::vector<float> values(static_cast<size_t>(logits.size()));
  backend_.Download(logits.data(), values.data(), logits.bytes());
  return values;
}

GreedyResult RunGreedy(Backend& backend, const Model& model, const CacheLayout& layout,
                       const std::vector<int32_t>& prompt, int32_t count) {
  const auto length = static_cast<int32_t>(prompt.size());
  SequenceRunner runner(backend, model, layout, 1, length + count, length);
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  GreedyResult result;
  result.prompt_logits = runner.Feed(prompt);
  std::vector<float> last(result.prompt_logits.end() - static_cast<std::ptrdiff_t>(vocab), result.prompt_logits.end());
  while (true) {
    result.ids.push_back(ArgMax(last));
    if (static_cast<int32_t>(result.ids.size()) == count) return result;
    last = runner.Feed(std::span(&result.ids.back(), 1));
    result.step_logits.insert(result.step_logits.end(), last.begin(), last.end());
  }
}

int32_t ArgMax(std::span<const float> values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace quire::testing
