#include "kernels/attention_oracle_testing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tensor/dtype.h"

namespace quire::cuda {
namespace {

constexpr uint16_t kNan = 0xFFFF;

float Value(uint16_t bits) { return ToFloat(static_cast<Bf16>(bits)); }

void FillNormal(std::span<uint16_t> values, std::mt19937& random) {
  std::normal_distribution<float> normal;
  for (uint16_t& value : values) value = static_cast<uint16_t>(ToBf16(normal(random)));
}

std::vector<PrefillSpan> LayOutSpans(const PagedShape& shape, std::mt19937& random) {
  std::vector<PrefillSpan> spans;
  int row = 0, table = 0;
  for (const SpanShape& span : shape.spans) {
    if (shape.gaps_of_rows) row += static_cast<int>(random() % 3);
    spans.push_back(
        {.first_row = row, .num_rows = span.num_rows, .first_position = span.first_position, .table_begin = table});
    row += span.num_rows;
    table += simt::CeilDiv(span.first_position + span.num_rows, shape.block_size);
  }
  return spans;
}

std::vector<uint32_t> ShuffledBlocks(int num_used, int num_blocks, std::mt19937& random) {
  std::vector<uint32_t> blocks(static_cast<size_t>(num_blocks));
  std::iota(blocks.begin(), blocks.end(), 0U);
  std::shuffle(blocks.begin(), blocks.end(), random);
  blocks.resize(static_cast<size_t>(num_used));
  return blocks;
}

// Where the pool holds a head's key or value at a position.
int64_t SlotOf(const PagedCase& paged, int span, int value, int kv_head, int position) {
  const int block_size = paged.shape.block_size;
  const int entry = paged.spans[static_cast<size_t>(span)].table_begin + position / block_size;
  const uint32_t block = paged.tables[static_cast<size_t>(entry)];
  return paged.Kv().Offset(block, value, kv_head, position % block_size);
}

void FillSequence(PagedCase& paged, int span, std::mt19937& random) {
  const auto head_dim = static_cast<size_t>(paged.shape.head_dim);
  for (int position = 0; position < paged.ContextLength(span); ++position)
    for (int head = 0; head < paged.shape.kv_heads; ++head)
      for (int value = 0; value < 2; ++value) {
        const int64_t slot = SlotOf(paged, span, value, head, position);
        FillNormal({paged.pool.data() + slot, head_dim}, random);
      }
}

void FillQueries(PagedCase& paged, std::mt19937& random) {
  const auto width = static_cast<size_t>(paged.shape.num_heads) * static_cast<size_t>(paged.shape.head_dim);
  for (const PrefillSpan& span : paged.spans)
    for (int row = span.first_row; row < span.first_row + span.num_rows; ++row)
      FillNormal({paged.q.data() + row * paged.QRowStride(), width}, random);
}

double Dot(const uint16_t* a, const uint16_t* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<double>(Value(a[i])) * static_cast<double>(Value(b[i]));
  return sum;
}

double ApplyRules(double product, const LogitRules& rules, int head, int distance) {
  double logit = product * static_cast<double>(rules.scale);
  if (rules.soft_cap > 0) {
    const auto cap = static_cast<double>(rules.soft_cap);
    logit = cap * std::tanh(logit / cap);
  }
  if (rules.slopes != nullptr) logit -= static_cast<double>(rules.slopes[head]) * distance;
  return logit;
}

// Logits to weights, in place.
void Softmax(std::span<double> logits, const float* sink) {
  double greatest = *std::ranges::max_element(logits);
  if (sink != nullptr) greatest = std::max(greatest, static_cast<double>(*sink));
  double sum = sink != nullptr ? std::exp(static_cast<double>(*sink) - greatest) : 0;
  for (double& logit : logits) sum += logit = std::exp(logit - greatest);
  for (double& logit : logits) logit /= sum;
}

}  // namespace

PagedKv PagedCase::Kv() const {
  return {.data = pool.data(),
          .num_blocks = num_blocks,
          .kv_heads = shape.kv_heads,
          .block_size = shape.block_size,
          .head_dim = shape.head_dim};
}

size_t PagedCase::OutputElements() const {
  return static_cast<size_t>(num_rows) * static_cast<size_t>(shape.num_heads * shape.head_dim);
}

int PagedCase::ContextLength(int span) const {
  const PrefillSpan& at = spans[static_cast<size_t>(span)];
  return at.first_position + at.num_rows;
}

PagedCase LayOutPagedCase(const PagedShape& shape) {
  std::mt19937 random(shape.seed);
  PagedCase paged = {.shape = shape};
  paged.spans = LayOutSpans(shape, random);
  int num_used = 0;
  for (int i = 0; i < static_cast<int>(paged.spans.size()); ++i)
    num_used += simt::CeilDiv(paged.ContextLength(i), shape.block_size);
  if (!paged.spans.empty()) paged.num_rows = paged.spans.back().first_row + paged.spans.back().num_rows;
  if (shape.gaps_of_rows) paged.num_rows += 2;
  paged.num_blocks = num_used + shape.num_spare_blocks;
  paged.tables = ShuffledBlocks(num_used, paged.num_blocks, random);
  return paged;
}

PagedCase MakePagedCase(const PagedShape& shape) {
  PagedCase paged = LayOutPagedCase(shape);
  std::mt19937 random(shape.seed + 1);
  paged.pool.assign(static_cast<size_t>(paged.num_blocks * paged.Kv().BlockElements()), kNan);
  paged.q.assign(static_cast<size_t>(paged.num_rows * paged.QRowStride()), kNan);
  for (int i = 0; i < static_cast<int>(paged.spans.size()); ++i) FillSequence(paged, i, random);
  FillQueries(paged, random);
  return paged;
}

std::vector<double> NaiveAttention(const PagedCase& paged, const LogitRules& rules, int span, int token, int head) {
  const int head_dim = paged.shape.head_dim;
  const int kv_head = head / (paged.shape.num_heads / paged.shape.kv_heads);
  const PrefillSpan& at = paged.spans[static_cast<size_t>(span)];
  const int own = at.first_position + token;
  const int first = rules.window > 0 ? std::max(0, own - rules.window + 1) : 0;
  const uint16_t* pool = paged.pool.data();
  const uint16_t* q = paged.q.data() + (at.first_row + token) * paged.QRowStride() + int64_t{head} * head_dim;
  std::vector<double> weights;
  for (int p = first; p <= own; ++p)
    weights.push_back(ApplyRules(Dot(q, pool + SlotOf(paged, span, 0, kv_head, p), head_dim), rules, head, own - p));
  Softmax(weights, rules.sinks != nullptr ? rules.sinks + head : nullptr);
  std::vector<double> out(static_cast<size_t>(head_dim));
  for (int p = first; p <= own; ++p) {
    const uint16_t* value = pool + SlotOf(paged, span, 1, kv_head, p);
    for (size_t i = 0; i < out.size(); ++i)
      out[i] += weights[static_cast<size_t>(p - first)] * static_cast<double>(Value(value[i]));
  }
  return out;
}

double RelativeError(std::span<const uint16_t> actual_bf16, std::span<const double> expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(Value(actual_bf16[i])) - expected[i], 2);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace quire::cuda
