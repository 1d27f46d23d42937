#include "model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace quire {
namespace {

using std::numbers::pi;

std::vector<double> PlainFrequencies(int32_t dim, double base) {
  std::vector<double> radians(static_cast<size_t>(dim) / 2);
  for (size_t i = 0; i < radians.size(); ++i) radians[i] = std::pow(base, -2.0 * static_cast<double>(i) / dim);
  return radians;
}

double DynamicBase(const ModelConfig& config, int32_t length) {
  const RopeScaling& scaling = config.rope_scaling;
  const double original = scaling.original_max_position;
  const double dim = config.head_dim;
  if (length <= original || dim <= 2) return config.rope_theta;
  const double stretch = scaling.factor * (length / original - 1.0) + 1.0;
  return config.rope_theta * std::pow(stretch, dim / (dim - 2));
}

// Long wavelengths are stretched, short ones kept, those between blended.
double Llama3Frequency(double radians, const RopeScaling& scaling) {
  const double turns = scaling.original_max_position * radians / (2 * pi);  // over the original length
  if (turns < scaling.low_freq_factor) return radians / scaling.factor;
  if (turns > scaling.high_freq_factor) return radians;
  const double low = scaling.low_freq_factor;
  const double smooth = (turns - low) / (scaling.high_freq_factor - low);
  return (1 - smooth) * radians / scaling.factor + smooth * radians;
}

// The dimension that makes `turns` rotations over the original length.
double YarnDimension(double turns, const ModelConfig& config) {
  const double length = config.rope_scaling.original_max_position;
  return config.head_dim * std::log(length / (turns * 2 * pi)) / (2 * std::log(static_cast<double>(config.rope_theta)));
}

void ScaleYarn(const ModelConfig& config, std::vector<double>& radians) {
  const RopeScaling& scaling = config.rope_scaling;
  double low = YarnDimension(scaling.beta_fast, config);
  double high = YarnDimension(scaling.beta_slow, config);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, config.head_dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < radians.size(); ++i) {
    const double interpolated = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    radians[i] = radians[i] / scaling.factor * interpolated + radians[i] * (1 - interpolated);
  }
}

double YarnScale(const RopeScaling& scaling) {
  if (scaling.attention_factor) return *scaling.attention_factor;
  return scaling.factor <= 1 ? 1 : 0.1 * std::log(static_cast<double>(scaling.factor)) + 1;
}

}  // namespace

RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config, int32_t length) {
  const RopeScaling& scaling = config.rope_scaling;
  RopeFrequencies frequencies;
  frequencies.radians = PlainFrequencies(config.head_dim, config.rope_theta);
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      break;
    case RopeScaling::Kind::kLinear:
      for (double& radians : frequencies.radians) radians /= scaling.factor;
      break;
    case RopeScaling::Kind::kDynamicNtk:
      frequencies.radians = PlainFrequencies(config.head_dim, DynamicBase(config, length));
      break;
    case RopeScaling::Kind::kLlama3:
      for (double& radians : frequencies.radians) radians = Llama3Frequency(radians, scaling);
      break;
    case RopeScaling::Kind::kFactors:
      QUIRE_CHECK_EQ(scaling.factors.size(), frequencies.radians.size());
      for (size_t i = 0; i < scaling.factors.size(); ++i) frequencies.radians[i] /= scaling.factors[i];
      break;
    case RopeScaling::Kind::kYarn:
      ScaleYarn(config, frequencies.radians);
      frequencies.scale = YarnScale(scaling);
      break;
  }
  return frequencies;
}

size_t RopeTables::Bytes(const ModelConfig& config, int32_t num_positions) {
  return static_cast<size_t>(num_positions) * static_cast<size_t>(config.head_dim) * sizeof(float);
}

Result<RopeTables> RopeTables::Make(const ModelConfig& config, int32_t num_positions, Backend& backend) {
  QUIRE_CHECK(num_positions > 0);
  RopeTables tables;
  const size_t num_bytes = Bytes(config, num_positions);
  QUIRE_ASSIGN_OR_RETURN(tables.buffer_, backend.Allocate(num_bytes));
  const RopeFrequencies frequencies = ComputeRopeFrequencies(config, num_positions);
  const int64_t half = config.head_dim / 2;
  auto* cos_table = static_cast<float*>(tables.buffer_.data());
  float* sin_table = cos_table + num_positions * half;
  backend.ParallelFor(num_positions, [&](int64_t begin, int64_t end) {
    std::vector<float> cos(static_cast<size_t>(half)), sin(static_cast<size_t>(half));
    for (int64_t position = begin; position < end; ++position) {
      for (size_t i = 0; i < cos.size(); ++i) {
        const double angle = static_cast<double>(position) * frequencies.radians[i];
        cos[i] = static_cast<float>(std::cos(angle) * frequencies.scale);
        sin[i] = static_cast<float>(std::sin(angle) * frequencies.scale);
      }
      backend.Upload(cos.data(), cos_table + position * half, cos.size() * sizeof(float));
      backend.Upload(sin.data(), sin_table + position * half, sin.size() * sizeof(float));
    }
  });
  const auto* table = static_cast<const float*>(tables.buffer_.data());
  tables.view_ = {.cos = table, .sin = table + num_positions * half, .rotary_dim = config.head_dim};
  tables.num_positions_ = num_positions;
  return tables;
}

}  // namespace quire
