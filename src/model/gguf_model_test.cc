// A model in a GGUF file gives the very bits of the same weights in a Hugging Face directory: of every family, with its
// weights as they are and in blocks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "backend/backend_factory.h"
#include "model/gguf_model_testing.h"
#include "model/model.h"
#include "model/model_testing.h"
#include "weights/gguf_testing.h"

namespace quire {
namespace {

using ::testing::AllOf;
using testing::GgufBuilder;
using testing::GoldenModelDirectory;
using ::testing::HasSubstr;
using testing::MemoryFile;
using testing::ModelAsGguf;
using testing::ScratchDirectory;

std::unique_ptr<Backend> MakeBackendOf(const std::string& isa) {
  auto backend = MakeCpuBackend({.isa = isa});
  QUIRE_CHECK(backend.ok());
  return *std::move(backend);
}

// Logits of forty tokens: past the windows of the golden models.
std::vector<float> LogitsOf(const std::string& path, ComputeDType dtype, DType* compute_dtype = nullptr,
                            const std::string& isa = "ref") {
  const auto backend = MakeBackendOf(isa);
  const auto model = Model::Load(path, *backend, {.dtype = dtype});
  const auto measured = MeasureModel(path, *backend, {.dtype = dtype});
  EXPECT_TRUE(model.ok()) << model.error().message;
  if (!model.ok()) return {};
  EXPECT_TRUE(measured.ok());
  EXPECT_EQ((*model)->num_parameters(), measured->num_parameters);
  if (compute_dtype != nullptr) *compute_dtype = (*model)->compute_dtype();
  std::vector<int32_t> ids;
  ids.reserve(40);
  for (int32_t i = 0; i < 40; ++i) ids.push_back((i * 37 + 5) % 256);
  testing::SequenceRunner runner(*backend, **model, {}, 1, 40, 40);
  return runner.Feed(ids);
}

class GgufModelTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufModelTest, HasTheBitsOfTheDirectory) {
  ModelAsGguf golden(GoldenModelDirectory(GetParam()));
  golden.WriteTensorsAsTheyAre();
  const MemoryFile file;
  file.Write(golden.builder().Build());
  const std::vector<float> expected = LogitsOf(GoldenModelDirectory(GetParam()), ComputeDType::kAuto);
  const std::vector<float> found = LogitsOf(file.path(), ComputeDType::kAuto);
  ASSERT_EQ(found.size(), expected.size());
  if (golden.config().rope_scaling.kind == RopeScaling::Kind::kLlama3) {  // its factors are rounded to float32
    for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-3) << i;
  } else {
    EXPECT_TRUE(found == expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GgufModelTest,
                         ::testing::Values("llama2", "llama2-bf16", "llama3", "llama-linear-rope", "llama-yarn",
                                           "mistral-window", "qwen2", "qwen3", "qwen3-untied", "qwen3-windows"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(GgufModelTest, BlocksAreTheFloatsThatTheyMean) {
  for (const char* name : {"llama2", "qwen3"}) {
    ModelAsGguf golden(GoldenModelDirectory(name));
    golden.WriteTensorsInBlocks();
    const MemoryFile file;
    file.Write(golden.builder().Build());
    // The directory of the same floats; rows of blocks were drawn in the directory's order.
    const ScratchDirectory directory;
    directory.Write("config.json", testing::ReadWholeFile(GoldenModelDirectory(name) + "/config.json"));
    directory.Write("model.safetensors", testing::SafetensorsBytes(golden.tensors()));
    for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBf16}) {
      const std::vector<float> expected = LogitsOf(directory.path(), dtype), found = LogitsOf(file.path(), dtype);
      ASSERT_EQ(found.size(), expected.size());
      for (const float logit : found) ASSERT_TRUE(std::isfinite(logit));
      EXPECT_TRUE(found == expected) << name;
    }
    DType compute_dtype{};
    LogitsOf(file.path(), ComputeDType::kAuto, &compute_dtype);
    EXPECT_EQ(compute_dtype, DType::kBf16) << "blocks are computed in bfloat16 unless somebody asks";
  }
}

TEST(GgufModelTest, FilesSayWhatTheyLackOrHaveTooMuch) {
  const MemoryFile file;
  const auto backend = MakeBackendOf("ref");
  const auto error = [&](const std::function<void(ModelAsGguf&)>& change) {
    ModelAsGguf golden(GoldenModelDirectory("llama2"));
    golden.WriteTensorsAsTheyAre();
    change(golden);
    file.Write(golden.builder().Build());
    const auto measured = MeasureModel(file.path(), *backend, {});
    EXPECT_FALSE(measured.ok());
    return measured.ok() ? "" : measured.error().message;
  };
  EXPECT_THAT(error([](ModelAsGguf& g) { g.builder().AddUint("llama.expert_count", 8); }),
              AllOf(HasSubstr("\"llama.expert_count\""), HasSubstr("is 8")));
  EXPECT_THAT(error([](ModelAsGguf& g) { g.builder().AddUint("llama.rope.dimension_count", 8); }),
              HasSubstr("\"llama.rope.dimension_count\""));
  EXPECT_THAT(error([](ModelAsGguf& g) { g.builder().AddString("llama.rope.scaling.type", "longrope"); }),
              AllOf(HasSubstr("longrope"), HasSubstr("yarn")));
  EXPECT_THAT(error([](ModelAsGguf& g) { g.builder() = GgufBuilder(); }), HasSubstr("\"general.architecture\""));
  EXPECT_THAT(error([](ModelAsGguf& g) {
                g.builder() = GgufBuilder();
                g.builder().AddString("general.architecture", "mamba");
              }),
              AllOf(HasSubstr("mamba"), HasSubstr("llama, qwen2, qwen3")));
  EXPECT_THAT(error([](ModelAsGguf& g) {
                g.builder() = GgufBuilder();
                g.builder().AddString("general.architecture", "qwen2").AddString("qwen2.block_count", "two");
              }),
              HasSubstr("\"qwen2."));
}

// Bytes of the head and of scales alike.
TEST(GgufModelTest, AnyDamageIsAnErrorOrAModel) {
  ModelAsGguf golden(GoldenModelDirectory("llama2"));
  golden.WriteTensorsInBlocks();
  const std::string whole = golden.builder().Build();
  const size_t head_bytes = whole.find(std::string(32, '\0'), whole.rfind("blk."));
  const auto backend = MakeBackendOf("ref");
  std::mt19937 random(3);
  const MemoryFile file;
  int num_loaded = 0;
  constexpr int kDamages = 300;
  for (int i = 0; i < kDamages; ++i) {
    std::string bytes = whole;
    const size_t reach = i % 4 == 0 ? bytes.size() : std::min(bytes.size(), head_bytes);
    for (size_t j = random() % 3 + 1; j > 0; --j) bytes[random() % reach] = static_cast<char>(random());
    if (i % 7 == 0) bytes.resize(random() % bytes.size());
    file.Write(bytes);
    const auto measured = MeasureModel(file.path(), *backend, {});
    if (measured.ok() && measured->weight_bytes > (size_t{1} << 24)) continue;
    num_loaded += Model::Load(file.path(), *backend, {}).ok() ? 1 : 0;
  }
  EXPECT_GT(num_loaded, 0);
  EXPECT_LT(num_loaded, kDamages);
}

}  // namespace
}  // namespace quire
