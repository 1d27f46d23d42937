#include "runner/kv_populator.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "backend/backend_factory.h"

namespace quire {
namespace {

TEST(KvPopulator, KeepsWhatIsWrittenMeanwhileAndEndsWithItsObject) {
  const auto backend = *MakeCpuBackend({.num_threads = 1, .isa = "auto"});
  const auto cache = *backend->AllocateKvCache({.num_layers = 4, .num_blocks = 512, .num_kv_heads = 2, .head_dim = 64});
  const auto bytes_of = [&](uint32_t block) {
    return std::vector<std::byte>(cache->shape().BytesPerBlock(), static_cast<std::byte>(block % 251 + 1));
  };
  Result<KvPopulator> populator = KvPopulator::Start(*backend, *cache);
  ASSERT_TRUE(populator.ok());
  for (uint32_t block = 0; block < 512; ++block) backend->WriteBlock(*cache, block, bytes_of(block).data());
  populator->Join();
  for (uint32_t block = 0; block < 512; ++block) {
    std::vector<std::byte> read(cache->shape().BytesPerBlock());
    backend->ReadBlock(*cache, block, read.data());
    ASSERT_EQ(read, bytes_of(block)) << block;
  }
  ASSERT_TRUE(KvPopulator::Start(*backend, *cache).ok());  // and is gone at once
}

}  // namespace
}  // namespace quire
