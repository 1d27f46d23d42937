#include "model/quantize_gguf.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <mutex>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/first_error.h"
#include "base/thread_team.h"
#include "model/gguf_config.h"
#include "weights/dequantize.h"
#include "weights/gguf_set.h"
#include "weights/gguf_writer.h"
#include "weights/quantize.h"
#include "weights/stored_tensor.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

// general.file_type, as llama.cpp numbers what most of a file is.
uint32_t FileTypeOf(WeightKind kind) {
  return kind == WeightKind::kQ8_0 ? 7 : kind == WeightKind::kQ4_0 ? 2 : 14;  // Q4_K_S
}

bool HasWholeBlocks(std::span<const int64_t> shape, WeightKind kind) {
  return shape.back() % FormatOf(kind).block_size == 0;
}

// What the tensor becomes; `stored`, if it stays.
WeightKind KindOf(std::string_view name, std::span<const int64_t> shape, WeightKind stored, WeightKind wanted) {
  const bool is_matrix = shape.size() == 2 && name.ends_with(".weight") && name.find("norm") == std::string_view::npos;
  if (!is_matrix || stored == wanted) return stored;
  const WeightNames names = GgufWeightNames();
  const bool is_vocabulary = name == names.embedding || name == names.lm_head;
  if (!is_vocabulary && HasWholeBlocks(shape, wanted)) return wanted;
  return HasWholeBlocks(shape, WeightKind::kQ8_0) ? WeightKind::kQ8_0 : stored;
}

struct Plan {
  std::vector<NewGgufTensor> tensors;  // in the order of the set's
  std::vector<WeightKind> stored;
};

Result<Plan> MakePlan(const GgufSet& set, WeightKind kind) {
  Plan plan;
  for (const auto& [name, place] : set.tensors()) {
    const GgufTensor& tensor = *place.tensor;
    if (!tensor.type->kind || tensor.shape.empty()) {
      return Unimplemented("{}: tensor {} is stored as {}: only weights that can be read as floats are copied",
                           place.file->path(), PrintableName(name), tensor.type->name);
    }
    plan.stored.push_back(*tensor.type->kind);
    plan.tensors.push_back({.name = name, .shape = tensor.shape});
    plan.tensors.back().kind = KindOf(name, tensor.shape, plan.stored.back(), kind);
  }
  return plan;
}

// Keys that speak of what changes.
bool IsReplaced(std::string_view key) {
  return key == "general.file_type" || key == "general.quantization_version" || key == "general.alignment" ||
         key.starts_with("split.");
}

GgufPairs PairsOf(const GgufMetadata& metadata, WeightKind kind) {
  constexpr uint32_t kQuantizationVersion = 2;  // of GGUF's blocks
  GgufPairs pairs;
  for (const std::string_view key : metadata.keys()) {
    if (!IsReplaced(key)) pairs.Copy(metadata, key);
  }
  pairs.AddUint32("general.file_type", FileTypeOf(kind));
  pairs.AddUint32("general.quantization_version", kQuantizationVersion);
  return pairs;
}

Result<std::vector<std::byte>> StoredBytes(const GgufSet::Place& place) {
  std::vector<std::byte> bytes(place.tensor->bytes);
  QUIRE_RETURN_IF_ERROR(place.file->file().Read(place.tensor->offset, bytes));
  return bytes;
}

struct Encoded {
  std::vector<std::byte> blocks;
  LayerError error;
};

// Of one tensor, its rows by the team's threads.
Result<Encoded> Encode(const GgufSet::Place& place, const NewGgufTensor& to, ThreadTeam& team) {
  const GgufTensor& tensor = *place.tensor;
  const int64_t columns = tensor.shape.back(), rows = tensor.shape.front();
  const StoredTensor stored(place.file->file(), tensor.offset, FormatOf(*tensor.type->kind), rows * columns);
  const int64_t blocks_per_row = columns / FormatOf(to.kind).block_size;
  const auto row_bytes = static_cast<size_t>(blocks_per_row * FormatOf(to.kind).block_bytes);
  Encoded encoded = {.error = {.name = to.name}};
  encoded.blocks.resize(static_cast<size_t>(rows) * row_bytes);
  FirstError first_error;
  std::mutex mutex;
  double errors = 0, squares = 0;
  team.ParallelFor(rows, [&](int64_t begin, int64_t end) {
    std::vector<float> values(static_cast<size_t>(columns)), back(values.size());
    double own_errors = 0, own_squares = 0, own_largest = 0;
    for (int64_t row = begin; row < end; ++row) {
      Status status = ReadFloats(stored, row * columns, values);
      if (status.ok() && !std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
        status = InvalidArgument("{}: tensor {} holds a value that is not finite", place.file->path(), to.name);
      }
      if (!status.ok()) return first_error.Take(std::move(status));
      std::byte* blocks = encoded.blocks.data() + static_cast<size_t>(row) * row_bytes;
      QuantizeBlocks(to.kind, values.data(), blocks_per_row, blocks);
      Dequantize(to.kind, blocks, blocks_per_row, back.data());
      for (size_t i = 0; i < values.size(); ++i) {
        const double error = double{back[i]} - values[i];
        own_errors += error * error;
        own_squares += double{values[i]} * values[i];
        own_largest = std::max(own_largest, std::abs(error));
      }
    }
    const std::lock_guard lock(mutex);
    errors += own_errors;
    squares += own_squares;
    encoded.error.largest = std::max(encoded.error.largest, own_largest);
  });
  QUIRE_RETURN_IF_ERROR(first_error.Get());
  encoded.error.relative = squares == 0 ? 0 : std::sqrt(errors / squares);
  return encoded;
}

}  // namespace

Result<QuantizationReport> QuantizeGguf(const std::string& from, const std::string& to, WeightKind kind, int threads,
                                        FunctionRef<void(std::string_view tensor)> show) {
  QUIRE_ASSIGN_OR_RETURN(const GgufSet set, GgufSet::Open(from));
  QUIRE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(set, kind));
  QUIRE_ASSIGN_OR_RETURN(ThreadTeam team, ThreadTeam::Start(threads));
  QUIRE_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(to, PairsOf(set.metadata(), kind), plan.tensors, false));
  QuantizationReport report;
  size_t index = 0;
  for (const auto& [name, place] : set.tensors()) {
    const NewGgufTensor& tensor = plan.tensors[index];
    report.bytes_before += place.tensor->bytes;
    report.bytes_after += tensor.bytes();
    if (tensor.kind == plan.stored[index++]) {
      QUIRE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, StoredBytes(place));
      QUIRE_RETURN_IF_ERROR(writer.AppendTensor(bytes));
    } else {
      QUIRE_ASSIGN_OR_RETURN(const Encoded encoded, Encode(place, tensor, team));
      QUIRE_RETURN_IF_ERROR(writer.AppendTensor(encoded.blocks));
      report.errors.push_back(encoded.error);
    }
    show(name);
  }
  for (const GgufFile& file : set.files()) QUIRE_RETURN_IF_ERROR(file.file().CheckUnchanged());
  QUIRE_RETURN_IF_ERROR(writer.Finish());
  return report;
}

}  // namespace quire
