// What tests of attention kernels share: random sequences in a paged cache, and attention by plain loops in double
// precision to compare with.
//
// Everything that a kernel has no business to read is NaN: blocks of no sequence, slots past the end of a sequence,
// query rows of no span, the gaps between query rows. An output that depends on them shows it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <random>
#include <span>
#include <vector>

#include "kernels/paged_kv.h"
#include "kernels/prefill_plan.h"

namespace quire::cuda {

// Numbers of which random shapes are made; the same for the same seed.
class RandomShapes {
 public:
  explicit RandomShapes(uint32_t seed) : random_(seed) {}
  int Among(std::initializer_list<int> values) { return values.begin()[random_() % values.size()]; }
  int UpTo(int most) { return static_cast<int>(random_() % static_cast<uint32_t>(most)) + 1; }

 private:
  std::mt19937 random_;
};

// `num_rows` query rows of a sequence that has `first_position` positions before them.
struct SpanShape {
  int first_position = 0;
  int num_rows = 1;
};

struct PagedShape {
  int num_heads = 4;
  int kv_heads = 2;
  int head_dim = 128;
  int block_size = 16;
  std::vector<SpanShape> spans = {};
  int num_spare_blocks = 3;  // of no sequence
  int q_row_padding = 0;     // elements between query rows, a multiple of 8
  bool gaps_of_rows = true;  // rows of no span before, between and after the spans
  uint32_t seed = 1;
};

// Sequences as kernels get them, one per span. Physical blocks are shuffled over the pool.
struct PagedCase {
  PagedShape shape;
  int num_rows = 0;  // of q and of an output, those of no span included
  int num_blocks = 0;
  std::vector<uint16_t> pool = {};    // the PagedKv layout
  std::vector<uint32_t> tables = {};  // those of all spans, one after the other; PrefillSpan::table_begin says where
  std::vector<PrefillSpan> spans = {};
  std::vector<uint16_t> q = {};  // [num_rows, num_heads * head_dim + q_row_padding]

  PagedKv Kv() const;
  int64_t QRowStride() const { return int64_t{shape.num_heads} * shape.head_dim + shape.q_row_padding; }
  // Elements of an output [num_rows, num_heads, head_dim].
  size_t OutputElements() const;
  // One past the last position of a span.
  int ContextLength(int span) const;
};
PagedCase MakePagedCase(const PagedShape& shape);
// The same without pool and q: for values that are made elsewhere.
PagedCase LayOutPagedCase(const PagedShape& shape);

// What becomes of q k before the softmax; as in PrefillArgs, where 0 and null mean none.
struct LogitRules {
  float scale = 1;
  int window = 0;
  float soft_cap = 0;
  const float* slopes = nullptr;  // [num_heads]
  const float* sinks = nullptr;   // [num_heads]
};

// The output [head_dim] of one head of one row (token `token` of span `span`), which sees the positions up to its own.
std::vector<double> NaiveAttention(const PagedCase& paged, const LogitRules& rules, int span, int token, int head);

// ||actual - expected|| / ||expected||; NaN if an actual value is.
double RelativeError(std::span<const uint16_t> actual_bf16, std::span<const double> expected);

}  // namespace quire::cuda
