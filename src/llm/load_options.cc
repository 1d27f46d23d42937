#include "llm/load_options.h"

#include "base/error.h"
#include "llm/option_table.h"
#include "llm/scheduling_options.h"

namespace quire {
namespace {

// By reading again what the member would be written as.
Status CheckOption(const LoadOption& option, const LoadOptions& options) {
  const std::optional<std::string> text = ValueText(option.value, options);
  if (!text) return {};
  LoadOptions unused;
  const Status read = ReadValue(option.value, *text, unused);
  return read.ok() ? Status() : InvalidArgument("{}: {}", option.name, read.error().message);
}

Status CheckTogether(const LoadOptions& options) {
  const bool shares = options.kv_policy == KvPolicyKind::kPaged && options.enable_prefix_caching;
  if (!shares && !options.shared_prefixes.empty()) {
    return InvalidArgument("--shared-prefix needs prefix caching and --kv-policy paged");
  }
  if (!shares && !options.prefix_cache_dir.empty()) {
    return InvalidArgument("--prefix-cache-dir needs prefix caching and --kv-policy paged");
  }
  if (options.preemption_mode == PreemptionMode::kSwap && SwapBytes(options) == 0) {
    return InvalidArgument("--preemption-mode swap needs --swap-space and --kv-policy paged");
  }
  return {};
}

}  // namespace

Status CheckLoadOptions(const LoadOptions& options) {
  for (const LoadOption& option : LoadOptionTable()) QUIRE_RETURN_IF_ERROR(CheckOption(option, options));
  return CheckTogether(options);
}

}  // namespace quire
