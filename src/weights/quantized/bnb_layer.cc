// bitsandbytes' weights. 4-bit (nf4, fp4): codes of the elements row by row, two in a byte, the high one first, a table
// of their values, and the largest magnitude of each block of elements, which may be quantised itself. 8-bit: int8 with
// 127 times the scale of each row.
//
// value * scale in float32, in the order of operations of bitsandbytes for float32; to other types it rounds the
// result.
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "base/error.h"
#include "weights/quantized/quantized_layer.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr uint64_t kMaxStateBytes = 65536;
constexpr int64_t kMaxBlockSize = 1 << 20;

// What quant_state says, a JSON text in a tensor.
struct BnbState {
  bool is_fp4 = false;
  int64_t rows = 0, columns = 0;
  int64_t block_size = 0;
  int64_t nested_block_size = 0;
  float nested_offset = 0;
};

struct BnbParts {
  StoredPart codes, table, scales;
  std::optional<StoredPart> nested_scales, nested_table;
};

Result<BnbState> ReadBnbState(const StoredPart& part) {
  if (part.dtype != "U8" || part.bytes() > kMaxStateBytes) {
    return DataLoss("{} is stored as {} of shape {}: must be a JSON text in U8", part.Where(), part.dtype,
                    ShapeText(part.shape));
  }
  QUIRE_ASSIGN_OR_RETURN(const std::string text, ReadText(part));
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::array shape;
  BnbState state;
  const bool is_complete = parser.parse(text).get(root) == simdjson::SUCCESS &&
                           root["shape"].get_array().get(shape) == simdjson::SUCCESS && shape.size() == 2 &&
                           shape.at(0).get_int64().get(state.rows) == simdjson::SUCCESS &&
                           shape.at(1).get_int64().get(state.columns) == simdjson::SUCCESS &&
                           root["blocksize"].get_int64().get(state.block_size) == simdjson::SUCCESS;
  if (!is_complete) {
    return DataLoss("{} is no JSON object with blocksize and shape, of two integers: the file is damaged, or no matrix",
                    part.Where());
  }
  double offset = 0;
  if (root["nested_offset"].get_double().get(offset) == simdjson::SUCCESS) {
    state.nested_offset = static_cast<float>(offset);
  }
  if (root["nested_blocksize"].get_int64().get(state.nested_block_size) != simdjson::SUCCESS)
    state.nested_block_size = 0;
  const bool is_sane = state.rows > 0 && state.columns > 0 && state.rows <= INT32_MAX && state.columns <= INT32_MAX &&
                       state.block_size > 0 && state.block_size <= kMaxBlockSize && state.nested_block_size >= 0 &&
                       state.nested_block_size <= kMaxBlockSize;
  if (is_sane) return state;
  return DataLoss("{}: shape [{}, {}], blocksize {}, nested_blocksize {}: must be positive", part.Where(), state.rows,
                  state.columns, state.block_size, state.nested_block_size);
}

Status CheckTable(const StoredPart& part, int64_t size) {
  QUIRE_RETURN_IF_ERROR(ExpectType(part, "F32"));
  return ExpectShape(part, {size}, "a value for each code");
}

Status CheckScales(const StoredPart& part, int64_t needed) {
  if (part.size() == needed) return {};
  return InvalidArgument("{} has shape {}: there are {} blocks", part.Where(), ShapeText(part.shape), needed);
}

Result<BnbParts> FindBnbParts(const QuantizedLayer& layer, const BnbState& state) {
  BnbParts parts;
  parts.codes = *layer.Find(".weight");
  const int64_t size = state.rows * state.columns;
  if (parts.codes.size() != CeilDiv(size, 2)) {
    return InvalidArgument("{} has {} bytes: two codes each make no weight of {} x {}", parts.codes.Where(),
                           parts.codes.size(), state.rows, state.columns);
  }
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* table, layer.Need(".weight.quant_map", parts.codes));
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* scales, layer.Need(".weight.absmax", parts.codes));
  QUIRE_RETURN_IF_ERROR(CheckTable(*table, 16));
  const int64_t num_blocks = CeilDiv(size, state.block_size);
  QUIRE_RETURN_IF_ERROR(CheckScales(*scales, num_blocks));
  parts.table = *table;
  parts.scales = *scales;
  if (state.nested_block_size == 0) {
    QUIRE_RETURN_IF_ERROR(ExpectType(*scales, "F32"));
    return parts;
  }
  QUIRE_RETURN_IF_ERROR(ExpectType(*scales, "U8"));
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* nested_table, layer.Need(".weight.nested_quant_map", parts.codes));
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* nested_scales, layer.Need(".weight.nested_absmax", parts.codes));
  QUIRE_RETURN_IF_ERROR(CheckTable(*nested_table, 256));
  QUIRE_RETURN_IF_ERROR(ExpectType(*nested_scales, "F32"));
  QUIRE_RETURN_IF_ERROR(CheckScales(*nested_scales, CeilDiv(num_blocks, state.nested_block_size)));
  parts.nested_table = *nested_table;
  parts.nested_scales = *nested_scales;
  return parts;
}

Result<std::vector<float>> ReadBlockScales(const BnbParts& parts, const BnbState& state) {
  if (!parts.nested_scales) return ReadFloats(parts.scales);
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> codes, ReadIntegers(parts.scales));
  QUIRE_ASSIGN_OR_RETURN(const std::vector<float> table, ReadFloats(*parts.nested_table));
  QUIRE_ASSIGN_OR_RETURN(const std::vector<float> nested, ReadFloats(*parts.nested_scales));
  std::vector<float> scales(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    const float scale = table[static_cast<size_t>(codes[i])] * nested[i / static_cast<size_t>(state.nested_block_size)];
    scales[i] = scale + state.nested_offset;
  }
  return scales;
}

Result<OpenedWeight> OpenBnb(const BnbParts& parts, const BnbState& state) {
  OpenedWeight opened;
  opened.codes = MakeRowCodes({.part = parts.codes, .bits = 4, .row_bits = state.columns * 4, .high_first = true});
  QUIRE_ASSIGN_OR_RETURN(const std::vector<float> table, ReadFloats(parts.table));
  std::copy(table.begin(), table.end(), opened.values.begin());
  // The sign of fp4's code 8 is in no table, but in what the package decodes.
  if (state.is_fp4 && opened.values[8] == 0) opened.values[8] = -0.0F;
  QUIRE_ASSIGN_OR_RETURN(opened.scales.scales, ReadBlockScales(parts, state));
  opened.scales.elements_per_scale = state.block_size;
  return opened;
}

}  // namespace

Result<QuantizedWeight> DescribeBnb4Bit(const QuantizedLayer& layer) {
  const StoredPart* state_part = layer.Find(".weight.quant_state.bitsandbytes__nf4");
  const bool is_nf4 = state_part != nullptr;
  if (!is_nf4) {
    QUIRE_ASSIGN_OR_RETURN(state_part, layer.Need(".weight.quant_state.bitsandbytes__fp4", *layer.Find(".weight")));
  }
  QUIRE_ASSIGN_OR_RETURN(BnbState state, ReadBnbState(*state_part));
  state.is_fp4 = !is_nf4;
  QUIRE_ASSIGN_OR_RETURN(const BnbParts parts, FindBnbParts(layer, state));
  QuantizedWeight weight = {.rows = state.rows,
                            .columns = state.columns,
                            .kind = is_nf4 ? WeightKind::kNf4 : WeightKind::kFp4,
                            .format_name = is_nf4 ? "bnb-nf4" : "bnb-fp4",
                            .group = state.block_size,
                            .open = [parts, state] { return OpenBnb(parts, state); }};
  const StoredPart* nested = parts.nested_scales ? &*parts.nested_scales : nullptr;
  return Finish(std::move(weight), parts.codes, {&parts.scales, nested});
}

Result<QuantizedWeight> DescribeBnb8Bit(const QuantizedLayer& layer) {
  const StoredPart& codes = *layer.Find(".weight");
  QUIRE_RETURN_IF_ERROR(ExpectMatrix(codes));
  const StoredPart& scales = *layer.Find(".SCB");
  QUIRE_RETURN_IF_ERROR(ExpectShape(scales, {codes.shape[0]}, "a scale for each row"));
  QUIRE_RETURN_IF_ERROR(ExpectType(scales, "F32"));
  if (const StoredPart* order = layer.Find(".weight_format"); order != nullptr && order->size() == 1) {
    QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> number, ReadIntegers(*order));
    if (number[0] != 0) {
      return Unimplemented("{} holds {}: weights must lie row by row, which is 0; save the model with a newer package",
                           order->Where(), number[0]);
    }
  }
  QuantizedWeight weight = {.rows = codes.shape[0],
                            .columns = codes.shape[1],
                            .kind = WeightKind::kInt8,
                            .format_name = "bnb-int8",
                            .group = codes.shape[1],
                            .activation = DType::kI8};
  weight.open = [codes, scales]() -> Result<OpenedWeight> {
    OpenedWeight opened;
    opened.codes = MakeRowCodes({.part = codes, .row_bits = codes.shape[1] * 8});
    opened.values = SignedValues();
    opened.scales = {.factor = 1.0F / 127, .columns_per_scale = codes.shape[1], .row_stride = 1};
    QUIRE_ASSIGN_OR_RETURN(opened.scales.scales, ReadFloats(scales));
    return opened;
  };
  return Finish(std::move(weight), codes, {&scales});
}

}  // namespace quire
