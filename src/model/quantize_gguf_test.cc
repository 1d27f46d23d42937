#include "model/quantize_gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/backend_factory.h"
#include "base/env.h"
#include "model/gguf_model_testing.h"
#include "model/model_testing.h"
#include "weights/gguf_set.h"
#include "weights/gguf_testing.h"

namespace quire {
namespace {

using testing::GoldenModelDirectory;
using ::testing::HasSubstr;
using testing::MemoryFile;
using testing::ModelAsGguf;

constexpr auto kSilent = [](std::string_view /*tensor*/) {};

TEST(QuantizeGgufTest, CopiesEverythingButTheKindOfMatrices) {
  ModelAsGguf golden(GoldenModelDirectory("llama2"));
  golden.WriteTensorsAsTheyAre();
  const MemoryFile file;
  file.Write(golden.builder().Build());
  const testing::ScratchDirectory directory;
  const auto before = GgufSet::Open(file.path());
  ASSERT_TRUE(before.ok());
  for (const WeightKind kind : {WeightKind::kQ8_0, WeightKind::kQ4_0, WeightKind::kQ4_K}) {
    const std::string to = directory.File(std::string(FormatOf(kind).name) + ".gguf");
    const auto report = QuantizeGguf(file.path(), to, kind, 2, kSilent);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const double bound = kind == WeightKind::kQ8_0 ? 0.01 : 0.12;
    for (const LayerError& error : report->errors) {
      EXPECT_GT(error.relative, 0) << error.name;
      EXPECT_LT(error.relative, bound) << error.name;
    }
    const auto after = GgufSet::Open(to);
    ASSERT_TRUE(after.ok()) << after.error().message;
    ASSERT_EQ(after->tensors().size(), before->tensors().size());
    size_t num_kind = 0;
    for (const auto& [name, place] : after->tensors()) {
      const GgufTensor& old = *before->tensors().find(name)->second.tensor;
      EXPECT_EQ(place.tensor->shape, old.shape) << name;
      num_kind += place.tensor->type->kind == kind ? 1 : 0;
      EXPECT_TRUE(old.shape.size() > 1 || place.tensor->type == old.type) << name;
    }
    // The golden's rows are too short for blocks of 256.
    EXPECT_EQ(num_kind > 7, kind != WeightKind::kQ4_K);
    for (const std::string_view key : before->metadata().keys()) {
      if (key == "general.file_type") continue;
      ASSERT_TRUE(after->metadata().Has(key)) << key;
      EXPECT_EQ(after->metadata().StoredBytes(key), before->metadata().StoredBytes(key)) << key;
    }
    const auto backend = MakeCpuBackend({.isa = "ref"});
    ASSERT_TRUE(backend.ok());
    EXPECT_TRUE(Model::Load(to, **backend, {}).ok());
    const auto again = QuantizeGguf(file.path(), to, kind, 1, kSilent);
    ASSERT_FALSE(again.ok());
    EXPECT_THAT(again.error().message, HasSubstr("is there already"));
  }
}

TEST(QuantizeGgufTest, ErrorsNameTheFile) {
  const testing::ScratchDirectory directory;
  const auto report =
      QuantizeGguf(directory.File("none.gguf"), directory.File("out.gguf"), WeightKind::kQ8_0, 1, kSilent);
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.error().message, HasSubstr("none.gguf"));
  EXPECT_FALSE(Env::Posix().Exists(directory.File("out.gguf")));
}

}  // namespace
}  // namespace quire
