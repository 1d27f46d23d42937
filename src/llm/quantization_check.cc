// The names of vLLM for methods of quantisation, and which of them mean the same files.
#include "llm/quantization_check.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "llm/loader.h"

namespace quire {
namespace {

// What files say they are, and another name for it: that of a kernel, mostly.
struct MethodAlias {
  std::string_view asked;
  std::string_view method;
};
constexpr MethodAlias kAliases[] = {
    {"gptq_marlin", "gptq"}, {"gptq_bitblas", "gptq"}, {"marlin", "gptq"},           {"awq_marlin", "awq"},
    {"fp8", "fbgemm_fp8"},   {"fp8", "modelopt"},      {"modelopt_fp8", "modelopt"}, {"gpt_oss_mxfp4", "mxfp4"},
};

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// 8-bit floats need nobody to say so.
std::string MethodOf(const ModelFootprint& footprint) {
  if (!footprint.quantization.empty()) return footprint.quantization;
  const bool has_fp8 =
      std::any_of(footprint.stored_formats.begin(), footprint.stored_formats.end(),
                  [](const StoredFormat& format) { return std::string_view(format.name).starts_with("fp8-"); });
  return has_fp8 ? "fp8" : "";
}

}  // namespace

Status CheckQuantization(const std::string& asked, const std::string& path, const ModelFootprint& footprint) {
  const std::string name = Lower(asked), method = MethodOf(footprint);
  if (name == "auto" || name == "none" || name == method) return {};
  const bool is_alias = std::any_of(std::begin(kAliases), std::end(kAliases), [&](const MethodAlias& alias) {
    return alias.asked == name && alias.method == method;
  });
  const bool is_format = std::any_of(footprint.stored_formats.begin(), footprint.stored_formats.end(),
                                     [&](const StoredFormat& format) { return Lower(format.name) == name; });
  if (is_alias || is_format) return {};
  return InvalidArgument("--quantization {}: the weights of {} are {}, stored as {}: leave it out, or use auto", asked,
                         path, method.empty() ? "not quantised" : method, StoredFormatsText(footprint.stored_formats));
}

}  // namespace quire
