// --quantization against what files are.
#include "llm/quantization_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ModelFootprint FilesOf(std::string quantization, std::string_view format) {
  ModelFootprint footprint;
  footprint.quantization = std::move(quantization);
  footprint.stored_formats = {{format, 4096}, {"F16", 1024}};
  return footprint;
}

TEST(QuantizationCheckTest, TakesEveryNameOfWhatTheFilesAre) {
  struct Case {
    const char* method;
    const char* format;
    std::vector<std::string> names;
  };
  const std::vector<Case> cases = {
      {"", "BF16", {"bf16", "f16"}},
      {"gptq", "gptq-int4-g128", {"gptq", "GPTQ", "gptq_marlin", "gptq-int4-g128"}},
      {"awq", "awq-int4-g128", {"awq", "awq_marlin"}},
      {"", "fp8-e4m3", {"fp8"}},
      {"fp8", "fp8-e4m3-block128", {"fp8"}},
      {"fbgemm_fp8", "fp8-e4m3-channel", {"fp8", "fbgemm_fp8"}},
      {"compressed-tensors", "ct-int8-channel", {"compressed-tensors"}},
      {"bitsandbytes", "bnb-nf4", {"bitsandbytes", "bnb-nf4"}},
      {"gguf", "Q4_K", {"gguf", "q4_k"}},
  };
  for (const Case& files : cases) {
    for (const char* any : {"auto", "None"}) {
      EXPECT_TRUE(CheckQuantization(any, "m", FilesOf(files.method, files.format)).ok()) << any;
    }
    for (const std::string& name : files.names) {
      EXPECT_TRUE(CheckQuantization(name, "m", FilesOf(files.method, files.format)).ok()) << name;
    }
  }
}

TEST(QuantizationCheckTest, NamesBothWhereTheyDiffer) {
  const auto refusal = [](const std::string& asked, std::string method, std::string_view format) {
    const Status status = CheckQuantization(asked, "DIR", FilesOf(std::move(method), format));
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_THAT(refusal("awq", "gptq", "gptq-int4-g128"),
              AllOf(HasSubstr("--quantization awq"), HasSubstr("DIR are gptq"), HasSubstr("gptq-int4-g128")));
  EXPECT_THAT(refusal("fp8", "", "BF16"), AllOf(HasSubstr("not quantised"), HasSubstr("BF16")));
  EXPECT_THAT(refusal("gptq_marlin", "awq", "awq-int4-g128"), HasSubstr("are awq"));
  EXPECT_THAT(refusal("fp8", "compressed-tensors", "fp8-e4m3-channel"), HasSubstr("are compressed-tensors"));
}

}  // namespace
}  // namespace quire
