// Rotary embedding, the paged cache and attention: every instruction set, block size and chunking against the
// reference.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "backend/backend_testing.h"

namespace quire {
namespace {

struct Case {
  int32_t heads, kv_heads, head_dim, block_size, window;
  DType dtype;
  int32_t rotary_dim;
  bool norms;
  int32_t length;

  std::string Describe() const {
    return (::testing::Message() << heads << "/" << kv_heads << " heads of " << head_dim << ", blocks of " << block_size
                                 << ", window " << window << ", " << DTypeName(dtype) << ", rotary " << rotary_dim
                                 << (norms ? ", norms" : "") << ", " << length << " tokens")
        .GetString();
  }
  int64_t width() const { return int64_t{heads + 2 * kv_heads} * head_dim; }
};

// Everything one sequence needs, but a backend.
struct Sequence {
  Sequence(Random& random, const Case& c) : c(c), qkv(c.length, c.width()) {
    for (float& value : qkv.values) value = random.Normal();
    const int64_t angles = int64_t{c.length} * (c.rotary_dim / 2);
    for (int64_t i = 0; i < angles; ++i) {
      const auto angle = static_cast<float>(random.Between(0, 6000)) * 1e-3F;
      cos.push_back(std::cos(angle));
      sin.push_back(std::sin(angle));
    }
    q_norm = random.Normals(c.head_dim);
    k_norm = random.Normals(c.head_dim);
    const int32_t blocks = (c.length + c.block_size - 1) / c.block_size;
    table.resize(static_cast<size_t>(blocks) + 3);
    std::iota(table.begin(), table.end(), 0U);
    for (size_t i = table.size() - 1; i > 0; --i) {
      std::swap(table[i], table[static_cast<size_t>(random.Between(0, static_cast<int64_t>(i)))]);
    }
  }

  Case c;
  Matrix qkv;
  std::vector<float> cos, sin, q_norm, k_norm;
  std::vector<uint32_t> table;
};

// One sequence on one backend; its cache is full of NaN where nothing was written.
class Runner {
 public:
  Runner(const std::string& isa, int threads, const Sequence& sequence)
      : test_(MakeTestBackend(isa, threads)), s_(sequence), qkv_(sequence.qkv), table_(sequence.table) {
    const Case& c = s_.c;
    auto made = test_->AllocateKvCache({.num_layers = 2,
                                        .num_blocks = static_cast<int32_t>(table_.size()),
                                        .block_size = c.block_size,
                                        .num_kv_heads = c.kv_heads,
                                        .head_dim = c.head_dim,
                                        .dtype = c.dtype});
    EXPECT_TRUE(made.ok());
    cache_ = std::move(made).value();
    const int64_t positions = static_cast<int64_t>(table_.size()) * c.block_size;
    Matrix poison(positions, c.width());
    std::fill(poison.values.begin(), poison.values.end(), std::nanf(""));
    const BatchSpan all[] = {{0, static_cast<int32_t>(positions), 0, table_.data()}};
    const auto batch = test_.Prepared(all, c.heads, c.kv_heads);
    test_->RopeAndCache(
        {.qkv = poison.tensor(), .num_heads = c.heads, .batch = batch.get(), .cache = cache_.get(), .layer = 1});
  }

  void Write(int32_t begin, int32_t end) {
    const BatchSpan spans[] = {{begin, end - begin, begin, table_.data()}};
    const auto batch = test_.Prepared(spans, s_.c.heads, s_.c.kv_heads);
    test_->RopeAndCache({.qkv = qkv_.tensor(),
                         .num_heads = s_.c.heads,
                         .q_norm = s_.c.norms ? s_.q_norm.data() : nullptr,
                         .k_norm = s_.c.norms ? s_.k_norm.data() : nullptr,
                         .norm_epsilon = 1e-5F,
                         .rope = {s_.cos.data(), s_.sin.data(), s_.c.rotary_dim},
                         .batch = batch.get(),
                         .cache = cache_.get(),
                         .layer = 1});
  }

  // Blocks that no position from `position` on can see are gone.
  void ForgetBlocksBefore(int32_t position) {
    if (s_.c.window == 0) return;
    const int32_t seen = std::max(0, position + 1 - s_.c.window) / s_.c.block_size;
    std::fill_n(table_.begin(), seen, ~0U);
  }

  void Attend(int32_t begin, int32_t end, Matrix& y) {
    const BatchSpan spans[] = {{begin, end - begin, begin, table_.data()}};
    AttendSpans(spans, y);
  }
  void AttendSpans(std::span<const BatchSpan> spans, Matrix& y) {
    const float scale = 1.0F / std::sqrt(static_cast<float>(s_.c.head_dim));
    const auto batch = test_.Prepared(spans, s_.c.heads, s_.c.kv_heads);
    test_->Attention({.qkv = qkv_.tensor(),
                      .num_heads = s_.c.heads,
                      .scale = scale,
                      .window = s_.c.window,
                      .batch = batch.get(),
                      .cache = cache_.get(),
                      .layer = 1,
                      .y = y.tensor()});
  }

  // Writes and attends chunk by chunk, as a server would.
  Matrix RunChunks(const std::vector<int32_t>& ends) {
    Matrix y(s_.c.length, int64_t{s_.c.heads} * s_.c.head_dim);
    int32_t begin = 0;
    for (const int32_t end : ends) {
      ForgetBlocksBefore(begin);
      Write(begin, end);
      Attend(begin, end, y);
      begin = end;
    }
    return y;
  }

  const Matrix& qkv() const { return qkv_; }
  const uint32_t* table() const { return table_.data(); }
  Backend& backend() { return *test_.backend; }
  KvCache& cache() { return *cache_; }

 private:
  TestBackend test_;
  const Sequence& s_;
  Matrix qkv_;
  std::vector<uint32_t> table_;
  std::unique_ptr<KvCache> cache_;
};

std::vector<int32_t> RandomChunks(Random& random, int32_t length) {
  std::vector<int32_t> ends;
  for (int32_t end = 0; end < length;) {
    end = static_cast<int32_t>(std::min<int64_t>(length, end + random.Between(1, random.Between(1, length))));
    ends.push_back(end);
  }
  return ends;
}

Case RandomCase(Random& random, int32_t block_size, int32_t length) {
  const int32_t kv_heads = static_cast<int32_t>(random.Between(1, 3));
  const int32_t group = static_cast<int32_t>(random.Between(0, 8) == 0 ? 37 : random.Between(1, 5));
  const int32_t head_dim = static_cast<int32_t>(random.Between(1, 20)) * 2;
  return {.heads = kv_heads * group,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .block_size = block_size,
          .window = random.Between(0, 1) == 0 ? 0 : static_cast<int32_t>(random.Between(1, length)),
          .dtype = random.Between(0, 1) == 0 ? DType::kBf16 : DType::kF32,
          .rotary_dim = static_cast<int32_t>(random.Between(0, head_dim / 2)) * 2,
          .norms = random.Between(0, 1) == 0,
          .length = length};
}

TEST(Attention, RandomShapesEqualTheReferenceToTheBit) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  for (int32_t block_size = 1; block_size <= 256; block_size *= 2) {
    for (int trial = 0; trial < 3; ++trial) {
      const Case c = RandomCase(random, block_size, static_cast<int32_t>(random.Between(1, 90)));
      SCOPED_TRACE(c.Describe());
      const Sequence sequence(random, c);
      Runner ref("ref", 1, sequence);
      const Matrix expected = ref.RunChunks({c.length});
      for (const std::string& isa : FastIsas()) {
        Runner whole(isa, 2, sequence), chunked(isa, 1, sequence);
        EXPECT_TRUE(SameBits(whole.RunChunks({c.length}), expected)) << isa;
        EXPECT_TRUE(SameBits(whole.qkv(), ref.qkv())) << isa << ": rotated queries";
        EXPECT_TRUE(SameBits(chunked.RunChunks(RandomChunks(random, c.length)), expected)) << isa << " in chunks";
      }
    }
  }
}

// Contexts of more than three partitions: the reference judges some positions, chunked runs must agree on all.
void ExpectLongContextsAgree(const Case& c, Random& random) {
  SCOPED_TRACE(c.Describe());
  const Sequence sequence(random, c);
  std::vector<BatchSpan> judged;
  Runner ref("ref", 2, sequence);
  ref.Write(0, c.length);
  for (const int32_t p : {0, 1, 511, 512, 1023, 1024, 1535, 1536, 1537, c.length - 1}) {
    judged.push_back({p, 1, p, ref.table()});
  }
  Matrix expected(c.length, int64_t{c.heads} * c.head_dim);
  ref.AttendSpans(judged, expected);
  Matrix first(0, 0);
  for (const std::string& isa : FastIsas()) {
    for (const int threads : {1, 3}) {
      Runner runner(isa, threads, sequence);
      const auto chunks = threads == 1 ? std::vector<int32_t>{c.length} : RandomChunks(random, c.length);
      const Matrix y = runner.RunChunks(chunks);
      for (const BatchSpan& span : judged) {
        EXPECT_TRUE(SameBits(y.row(span.first_row), expected.row(span.first_row), y.columns)) << isa << span.first_row;
      }
      if (first.rows == 0) first = y;
      EXPECT_TRUE(SameBits(y, first)) << isa << " on " << threads;
    }
  }
}

TEST(Attention, ContextsOverThreePartitionsEqualTheReferenceInAnyChunks) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  const Case base = {.heads = 4,
                     .kv_heads = 2,
                     .head_dim = 16,
                     .block_size = 16,
                     .window = 0,
                     .dtype = DType::kBf16,
                     .rotary_dim = 16,
                     .norms = false,
                     .length = 1620};
  ExpectLongContextsAgree(base, random);
  Case small_blocks = base;
  small_blocks.block_size = 4;
  small_blocks.window = 700;
  ExpectLongContextsAgree(small_blocks, random);
  Case large_blocks = base;
  large_blocks.block_size = 256;
  large_blocks.dtype = DType::kF32;
  large_blocks.heads = 2;
  ExpectLongContextsAgree(large_blocks, random);
}

TEST(Attention, BlockSizeDoesNotShow) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  Case c = {.heads = 3,
            .kv_heads = 1,
            .head_dim = 24,
            .block_size = 1,
            .window = 0,
            .dtype = DType::kBf16,
            .rotary_dim = 24,
            .norms = true,
            .length = 600};
  const uint32_t seed = random.seed();
  Random first_random(seed);
  const Sequence first_sequence(first_random, c);
  for (const std::string& isa : FastIsas()) {
    Runner first(isa, 2, first_sequence);
    const Matrix expected = first.RunChunks({c.length});
    for (c.block_size = 2; c.block_size <= 256; c.block_size *= 2) {
      Random again(seed);
      const Sequence sequence(again, c);
      EXPECT_TRUE(SameBits(Runner(isa, 2, sequence).RunChunks({c.length}), expected)) << isa << " " << c.block_size;
    }
  }
}

// Several sequences in one batch, prefilling and decoding, each as alone.
TEST(Attention, SpansOfABatchDoNotMix) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  const Case c = {.heads = 8,
                  .kv_heads = 2,
                  .head_dim = 16,
                  .block_size = 16,
                  .window = 0,
                  .dtype = DType::kF32,
                  .rotary_dim = 16,
                  .norms = false,
                  .length = 100};
  const Sequence sequence(random, c);
  for (const std::string& isa : FastIsas()) {
    Runner runner(isa, 3, sequence);
    Matrix alone = runner.RunChunks({c.length}), batched(c.length, alone.columns);
    const BatchSpan spans[] = {
        {99, 1, 99, runner.table()}, {0, 40, 0, runner.table()}, {40, 0, 40, nullptr}, {40, 59, 40, runner.table()}};
    runner.AttendSpans(spans, batched);
    EXPECT_TRUE(SameBits(batched, alone)) << isa;
  }
}

TEST(CopyBlocks, CopiesAllLayersInOrder) {
  Random random;
  const Case c = {.heads = 2,
                  .kv_heads = 1,
                  .head_dim = 16,
                  .block_size = 16,
                  .window = 0,
                  .dtype = DType::kBf16,
                  .rotary_dim = 0,
                  .norms = false,
                  .length = 16};
  const Sequence sequence(random, c);
  std::vector<std::string> isas = FastIsas();
  isas.insert(isas.begin(), "ref");
  for (const std::string& isa : isas) {
    Runner runner(isa, 2, sequence);
    const Matrix expected = runner.RunChunks({c.length});
    const uint32_t from = runner.table()[0], middle = runner.table()[1], to = runner.table()[2];
    const std::pair<uint32_t, uint32_t> copies[] = {{from, middle}, {middle, to}};
    runner.backend().CopyBlocks(runner.cache(), copies);
    Matrix y(c.length, expected.columns);
    const BatchSpan spans[] = {{0, c.length, 0, &to}};
    runner.AttendSpans(spans, y);
    EXPECT_TRUE(SameBits(y, expected)) << isa;
  }
}

TEST(KvCache, RefusesImpossibleShapes) {
  const KvShape good = {.num_layers = 1, .num_blocks = 1, .block_size = 16, .num_kv_heads = 1, .head_dim = 16};
  for (const std::string isa : {"ref", "auto"}) {
    const TestBackend test = MakeTestBackend(isa, 1);
    EXPECT_TRUE(test->AllocateKvCache(good).ok());
    for (const int32_t block_size : {0, 3, 512}) {
      KvShape shape = good;
      shape.block_size = block_size;
      EXPECT_FALSE(test->AllocateKvCache(shape).ok()) << block_size;
    }
    KvShape shape = good;
    shape.head_dim = 1024;
    EXPECT_FALSE(test->AllocateKvCache(shape).ok());
    shape = good;
    shape.dtype = DType::kI8;
    EXPECT_FALSE(test->AllocateKvCache(shape).ok());
  }
}

}  // namespace
}  // namespace quire
