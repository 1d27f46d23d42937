#include "llm/conversion.h"

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend_factory.h"
#include "base/error.h"
#include "base/log.h"
#include "model/decoder_weights.h"
#include "model/opened_model.h"
#include "model/weight_source.h"
#include "text/tokenizer.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr std::array<std::string_view, 30> kTexts = {
    "",
    " ",
    "   ",
    "\n",
    "\n\n \n",
    "\t\tx",
    "\r\n",
    "Hello, world!",
    " leading",
    "trailing ",
    "two  spaces   three",
    "don't I'LL we've HE'S",
    "1234567890 12 345 6,789.01",
    "1½ ²³ ٣٤٥",
    "camelCaseWord HTTPServer",
    "foo_bar-baz/qux",
    "x=1;y+=2 // comment\n  return x;",
    "((a+b)*c)^2 <= #1 @me $5",
    "Straße übergroß naïve",
    "e\xCC\x81 vs \xC3\xA9",
    "Привет, мир",
    "東京タワー と 富士山",
    "한국어 텍스트",
    "ไทย ภาษา",
    "مرحبا بالعالم",
    "हिन्दी पाठ",
    "😀👩‍👩‍👧 emoji",
    "\xC2\xA0nbsp\xE3\x80\x80wide",
    "https://example.com/a?b=c&d=%20",
    "<html><body>&amp;</body></html>",
};

Status CompareOn(const Tokenizer& original, const Tokenizer& converted, const std::string& text) {
  for (const bool adds : {false, true}) {
    const auto expected = original.Encode(text, adds), found = converted.Encode(text, adds);
    const bool same = expected.ok() == found.ok() && (!expected.ok() || *expected == *found);
    if (!same) {
      return Unimplemented("the tokenizer cannot be said in the other format: {} would be cut otherwise",
                           PrintableName(text));
    }
    if (!expected.ok()) continue;
    for (const bool skips : {false, true}) {
      if (original.Decode(*expected, skips) == converted.Decode(*expected, skips)) continue;
      return Unimplemented(
          "the tokenizer cannot be said in the other format: the tokens of {} would be shown otherwise",
          PrintableName(text));
    }
  }
  return {};
}

}  // namespace

Result<std::set<std::string, std::less<>>> FindUsedTensors(const std::string& path, const OpenedModel& model) {
  QUIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, MakeCpuBackend({.num_threads = 1}));
  const auto source = MakeMeasuringSource(*backend, *model.tensors, DType::kF32);
  QUIRE_RETURN_IF_ERROR(BuildDecoder(model.spec, model.config, *source));
  const std::vector<std::string> names = model.tensors->names();
  std::set<std::string, std::less<>> used(names.begin(), names.end());
  std::vector<std::string> unused = source->UnusedTensors();
  for (const std::string& name : unused) used.erase(name);
  std::erase_if(unused, [&](const std::string& name) {
    // A tied head; constants, which the config says as well.
    return name == model.spec.names.lm_head || name.ends_with("rotary_emb.inv_freq") ||
           name.ends_with("rope_freqs.weight") || name.ends_with("attn_rot_embd.weight");
  });
  if (!unused.empty()) {
    LogWarning("tensors_left_out model={} count={} first={}", LogValue(path), unused.size(), LogValue(unused.front()));
  }
  return used;
}

Status CompareTokenizers(const Tokenizer& original, const Tokenizer& converted) {
  std::string all;
  for (const std::string_view text : kTexts) {
    QUIRE_RETURN_IF_ERROR(CompareOn(original, converted, std::string(text)));
    all += text;
  }
  for (const NamedToken& token : original.special_tokens()) all += token.text + " x" + token.text;
  QUIRE_RETURN_IF_ERROR(CompareOn(original, converted, all));
  const int32_t size = original.vocab_size();
  if (size != converted.vocab_size()) {
    return Unimplemented("the tokenizer cannot be said in the other format: {} tokens would be {}", size,
                         converted.vocab_size());
  }
  for (int32_t id = 0; id < size; ++id) {
    if (original.IsSpecial(id) == converted.IsSpecial(id)) continue;
    return Unimplemented("the tokenizer cannot be said in the other format: token {}, {}, would {} special", id,
                         PrintableName(original.TokenText(id)), converted.IsSpecial(id) ? "be" : "not be");
  }
  return {};
}

}  // namespace quire
