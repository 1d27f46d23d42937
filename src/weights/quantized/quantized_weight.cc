// Decodes codes with scales, piece by piece.
#include "weights/quantized/quantized_weight.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <span>
#include <utility>

namespace quire {
namespace {

class QuantizedDecoder : public WeightDecoder {
 public:
  explicit QuantizedDecoder(const QuantizedWeight& weight) : weight_(weight) {}

  Status Read(int64_t first, int64_t count, float* to) const override {
    std::call_once(opened_, [this] { status_ = Open(); });
    QUIRE_RETURN_IF_ERROR(status_);
    std::array<uint8_t, CodeReader::kMaxCodes> piece;
    for (const int64_t end = first + count; first < end;) {
      const int64_t row = first / weight_.columns, column = first % weight_.columns;
      const int64_t run = std::min({weight_.columns - column, end - first, CodeReader::kMaxCodes});
      QUIRE_RETURN_IF_ERROR(parts_.codes->Read(row, column, run, piece.data()));
      const auto codes = std::span<const uint8_t>(piece).first(static_cast<size_t>(run));
      parts_.scales.Apply(row, column, weight_.columns, codes, parts_.values, to);
      to += run;
      first += run;
    }
    return {};
  }

 private:
  Status Open() const {
    QUIRE_ASSIGN_OR_RETURN(parts_, weight_.open());
    return {};
  }

  const QuantizedWeight& weight_;
  mutable std::once_flag opened_;
  mutable Status status_;
  mutable OpenedWeight parts_;
};

}  // namespace

WeightFormat QuantizedWeight::Format() const {
  return {.kind = kind,
          .name = format_name,
          .block_size = static_cast<int32_t>(columns),
          .block_bytes = static_cast<int32_t>(stored_bytes / static_cast<uint64_t>(rows)),
          .group = static_cast<int32_t>(group),
          .has_zero_points = has_zero_points,
          .activation = activation};
}

std::shared_ptr<const WeightDecoder> OpenQuantizedWeight(const QuantizedWeight& weight) {
  return std::make_shared<QuantizedDecoder>(weight);
}

}  // namespace quire
