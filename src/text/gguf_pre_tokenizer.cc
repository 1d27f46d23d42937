#include "text/gguf_pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"

namespace quire::text {
namespace {

using Patterns = std::string_view;

// Words with the space before them, numbers, signs, white space.
constexpr Patterns kGpt2[] = {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"};
constexpr Patterns kDigitsThenGpt2[] = {R"(\p{N})", kGpt2[0]};

// The punctuation of Unicode, and what ASCII has besides.
constexpr Patterns kFalcon[] = {R"([\p{P}$+<=>^~|`]+)", kGpt2[0]};
constexpr Patterns kFalconSpelled[] = {R"(\p{N}+)", "[0-9][0-9][0-9]"};
constexpr Patterns kDefault[] = {R"([\p{P}$+<=>^~|]+)", kGpt2[0], R"(\p{N}+)", "[0-9][0-9][0-9]"};

// Those of tiktoken: contractions, words with one sign before them, numbers, signs, line ends, white space.
#define QUIRE_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define QUIRE_WORD R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define QUIRE_SIGNS R"( ?[^\s\p{L}\p{N}]+[\r\n]*)"
#define QUIRE_SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
constexpr Patterns kLlama3[] = {QUIRE_CONTRACTIONS "|" QUIRE_WORD R"(|\p{N}{1,3}|)" QUIRE_SIGNS "|" QUIRE_SPACES};
constexpr Patterns kQwen2[] = {QUIRE_CONTRACTIONS "|" QUIRE_WORD R"(|\p{N}|)" QUIRE_SIGNS "|" QUIRE_SPACES};
constexpr Patterns kQwen35[] = {
    QUIRE_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" QUIRE_SPACES};
constexpr Patterns kMiniCpm5[] = {R"(\p{N}{1,3})",
                                  QUIRE_CONTRACTIONS "|" QUIRE_WORD R"(|\p{N}+|)" QUIRE_SIGNS "|" QUIRE_SPACES};
constexpr Patterns kLaguna[] = {R"([^\n]+|[\n]+)", kQwen2[0]};
constexpr Patterns kSeedCoder[] = {QUIRE_CONTRACTIONS "|" QUIRE_WORD
                                                      R"(|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|)" QUIRE_SPACES};
constexpr Patterns kBailingMoe[] = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Patterns kExaoneMoe[] = {
    QUIRE_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Patterns kUfakzeka[] = {QUIRE_WORD R"(|\p{N}|)" QUIRE_SIGNS "|" QUIRE_SPACES};
constexpr Patterns kJais2[] = {
    QUIRE_CONTRACTIONS
    "|" QUIRE_WORD R"(|\p{N}{1,3}|)" QUIRE_SIGNS
    R"(|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S))"
    R"(|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"};

// Words are cut where a small letter is followed by a capital one.
#define QUIRE_CAPITAL R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define QUIRE_SMALL R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define QUIRE_CASED_WORDS(suffix)                                                                         \
  R"([^\r\n\p{L}\p{N}]?)" QUIRE_CAPITAL "*" QUIRE_SMALL "+" suffix R"(|[^\r\n\p{L}\p{N}]?)" QUIRE_CAPITAL \
  "+" QUIRE_SMALL "*" suffix
#define QUIRE_SIGNS_AND_SLASHES R"( ?[^\s\p{L}\p{N}]+[\r\n/]*)"
constexpr Patterns kTekken[] = {QUIRE_CASED_WORDS("") R"(|\p{N}|)" QUIRE_SIGNS_AND_SLASHES "|" QUIRE_SPACES};
constexpr Patterns kGpt4o[] = {QUIRE_CASED_WORDS(QUIRE_CONTRACTIONS "?") R"(|\p{N}{1,3}|)" QUIRE_SIGNS_AND_SLASHES
                                                                         "|" QUIRE_SPACES};
constexpr Patterns kTinyAya[] = {R"(\d{1,3}(?=(?:\d{3})*\b))", kGpt4o[0]};
constexpr Patterns kYoutu[] = {
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
    QUIRE_CASED_WORDS(QUIRE_CONTRACTIONS "?") R"(|\p{N}|)" QUIRE_SIGNS_AND_SLASHES "|" QUIRE_SPACES};
// The same for words that are not Chinese, which are pieces of their own.
#define QUIRE_NOT_HAN(set) R"((?:(?!\p{Han}))" set ")"
constexpr Patterns kKimiK2[] = {R"(\p{Han}+|[^\r\n\p{L}\p{N}]?)" QUIRE_NOT_HAN(QUIRE_CAPITAL) "*" QUIRE_NOT_HAN(
    QUIRE_SMALL) "+" QUIRE_CONTRACTIONS
                 R"(?|[^\r\n\p{L}\p{N}]?)" QUIRE_NOT_HAN(QUIRE_CAPITAL) "+" QUIRE_NOT_HAN(
                     QUIRE_SMALL) "*" QUIRE_CONTRACTIONS R"(?|\p{N}{1,3}|)" QUIRE_SIGNS "|" QUIRE_SPACES};

#define QUIRE_CJK "[一-龥぀-ゟ゠-ヿ]+"
#define QUIRE_ASCII_SIGN R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])"
#define QUIRE_MARKED_WORD R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
constexpr Patterns kDeepSeekV3[] = {R"(\p{N}{1,3})", QUIRE_CJK,
                                    QUIRE_ASCII_SIGN "[A-Za-z]+|" QUIRE_MARKED_WORD
                                                     R"(| ?[\p{P}\p{S}]+[\r\n]*|)" QUIRE_SPACES};
constexpr Patterns kSpark25[] = {
    R"(\p{N}{1,3})", QUIRE_CJK,
    QUIRE_ASCII_SIGN "[A-Za-z]+|" QUIRE_MARKED_WORD R"(| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)", R"(\p{N})"};
constexpr Patterns kAfmoe[] = {
    R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))",
    "[一-鿿㐀-䶿\\x{F900}-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-"
    "ᇿ]+",
    kDeepSeekV3[2]};
constexpr Patterns kDeepSeekCoder[] = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[一-龥ࠀ-一가-퟿]+",
                                       R"(\p{N})"};
// Letters that have a case, as far as the model's authors list them.
#define QUIRE_CASED_LETTERS                                                                                   \
  R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"      \
  R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"        \
  R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"         \
  R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A})" \
  R"(\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B})"  \
  R"(\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"  \
  R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"  \
  R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134})"   \
  R"(\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"   \
  R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787})"  \
  R"(\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A})" \
  R"(\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2})"        \
  R"(\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
constexpr Patterns kDeepSeekLlm[] = {R"([\r\n])", R"(\s?[)" QUIRE_CASED_LETTERS "]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
                                     R"(\s+$)",   "[一-龥ࠀ-一가-퟿]+",         R"(\p{N}+)"};

// Words with the space before them, up to a sign.
constexpr Patterns kBloom[] = {R"( ?[^(\s|.,!?…。，、।۔،)]+)"};
constexpr Patterns kViking[] = {kBloom[0], R"(\p{N})"};
constexpr Patterns kChameleon[] = {"<sentinel:[0-9]+>",       "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                                   R"(([\t\n]|    |  ))",     R"(\p{N})",
                                   R"([\p{P}!-/:-@\[-`{-~])", kGpt2[0]};
// Numbers are cut into threes from their end; words are not cut at all.
constexpr Patterns kSuperBpe[] = {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"};

constexpr std::string_view kDefaultNames[] = {"default"};
constexpr std::string_view kLlama3Names[] = {"llama-bpe", "llama3",   "llama-v3", "falcon3",     "falcon-h1",
                                             "pixtral",   "midm-2.0", "lfm2",     "jina-v5-nano"};
constexpr std::string_view kLlama3PlainNames[] = {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"};
constexpr std::string_view kGpt2Names[] = {
    "gpt-2",  "phi-2",      "jais",    "trillion", "granite-docling", "exaone4",    "gigachat",     "a.x-4.0",
    "mellum", "jina-v1-en", "jina-es", "jina-de",  "jina-v2-es",      "jina-v2-de", "jina-v2-code", "roberta-bpe"};
constexpr std::string_view kGpt2ComposedNames[] = {"mpt", "olmo", "modern-bert"};
constexpr std::string_view kDigitsNames[] = {"smollm", "starcoder",  "refact", "codeshell",
                                             "exaone", "minerva-7b", "mellum2"};
constexpr std::string_view kDigitsComposedNames[] = {"command-r"};
constexpr std::string_view kQwen2Names[] = {"qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2"};
constexpr std::string_view kQwen2PlainNames[] = {"stablelm2", "hunyuan", "solar-open", "grok-2"};
constexpr std::string_view kQwen35Names[] = {"qwen35"};
constexpr std::string_view kDeepSeekV3Names[] = {"deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"};
constexpr std::string_view kDeepSeekCoderNames[] = {"deepseek-coder"};
constexpr std::string_view kDeepSeekLlmNames[] = {"deepseek-llm"};
constexpr std::string_view kFalconNames[] = {"falcon"};
constexpr std::string_view kTekkenNames[] = {"tekken"};
constexpr std::string_view kGpt4oNames[] = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"};
constexpr std::string_view kGraniteNames[] = {"granite-embed-multi-97m"};
constexpr std::string_view kTinyAyaNames[] = {"tiny_aya", "cohere2moe"};
constexpr std::string_view kYoutuNames[] = {"youtu"};
constexpr std::string_view kKimiK2Names[] = {"kimi-k2"};
constexpr std::string_view kBloomNames[] = {"bloom", "poro-chat", "gpt3-finnish"};
constexpr std::string_view kVikingNames[] = {"viking"};
constexpr std::string_view kChameleonNames[] = {"chameleon"};
constexpr std::string_view kSuperBpeNames[] = {"superbpe"};
constexpr std::string_view kSeedCoderNames[] = {"seed-coder"};
constexpr std::string_view kBailingMoeNames[] = {"bailingmoe", "bailingmoe2", "llada-moe"};
constexpr std::string_view kExaoneMoeNames[] = {"exaone-moe"};
constexpr std::string_view kUfakzekaNames[] = {"ufakzeka"};
constexpr std::string_view kJais2Names[] = {"jais-2"};
constexpr std::string_view kMiniCpm5Names[] = {"minicpm5"};
constexpr std::string_view kLagunaNames[] = {"laguna"};
constexpr std::string_view kSpark25Names[] = {"spark2_5"};
constexpr std::string_view kAfmoeNames[] = {"afmoe"};

constexpr auto kKnown = std::to_array<GgufPreTokenizer>({
    {.names = kDefaultNames, .patterns = kDefault},
    {.names = kLlama3Names, .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.names = kLlama3PlainNames, .patterns = kLlama3},
    {.names = kGpt2Names, .patterns = kGpt2},
    {.names = kGpt2ComposedNames, .patterns = kGpt2, .composes = true},
    {.names = kDigitsNames, .patterns = kDigitsThenGpt2},
    {.names = kDigitsComposedNames, .patterns = kDigitsThenGpt2, .composes = true},
    {.names = kQwen2Names, .patterns = kQwen2, .composes = true},
    {.names = kQwen2PlainNames, .patterns = kQwen2},
    {.names = kQwen35Names, .patterns = kQwen35, .composes = true},
    {.names = kDeepSeekV3Names, .patterns = kDeepSeekV3},
    {.names = kDeepSeekCoderNames, .patterns = kDeepSeekCoder},
    {.names = kDeepSeekLlmNames, .patterns = kDeepSeekLlm},
    {.names = kFalconNames, .patterns = kFalcon, .spelled_patterns = kFalconSpelled},
    {.names = kTekkenNames, .patterns = kTekken, .ignore_merges = true, .add_bos = true},
    {.names = kGpt4oNames, .patterns = kGpt4o},
    {.names = kGraniteNames, .patterns = kGpt4o, .ignore_merges = true},
    {.names = kTinyAyaNames, .patterns = kTinyAya},
    {.names = kYoutuNames, .patterns = kYoutu, .ignore_merges = true},
    {.names = kKimiK2Names, .patterns = kKimiK2},
    {.names = kBloomNames, .patterns = kBloom},
    {.names = kVikingNames, .patterns = kViking},
    {.names = kChameleonNames, .patterns = kChameleon, .add_bos = true},
    {.names = kSuperBpeNames, .patterns = kSuperBpe},
    {.names = kSeedCoderNames, .patterns = kSeedCoder},
    {.names = kBailingMoeNames, .patterns = kBailingMoe},
    {.names = kExaoneMoeNames, .patterns = kExaoneMoe},
    {.names = kUfakzekaNames, .patterns = kUfakzeka},
    {.names = kJais2Names, .patterns = kJais2},
    {.names = kMiniCpm5Names, .patterns = kMiniCpm5, .ignore_merges = true},
    {.names = kLagunaNames, .patterns = kLaguna},
    {.names = kSpark25Names, .patterns = kSpark25},
    {.names = kAfmoeNames, .patterns = kAfmoe},
});

std::string KnownNames() {
  std::string names;
  for (const GgufPreTokenizer& known : kKnown) {
    for (const std::string_view name : known.names) names.append(names.empty() ? "" : ", ").append(name);
  }
  return names;
}

}  // namespace

std::optional<std::string_view> NameOfGgufPreTokenizer(std::span<const std::string> patterns, bool ignore_merges,
                                                       bool composes) {
  for (const GgufPreTokenizer& known : kKnown) {
    const bool same = known.spelled_patterns.empty() && known.ignore_merges == ignore_merges &&
                      known.composes == composes && std::ranges::equal(known.patterns, patterns);
    if (same) return known.names.front();
  }
  return std::nullopt;
}

std::string_view Gpt2Pattern() { return kGpt2[0]; }

Result<GgufPreTokenizer> FindGgufPreTokenizer(std::string_view name) {
  if (name.empty()) name = kDefaultNames[0];
  for (const GgufPreTokenizer& known : kKnown) {
    if (std::ranges::find(known.names, name) != known.names.end()) return known;
  }
  return Unimplemented("tokenizer.ggml.pre: \"{}\" is not supported; known are {}", name, KnownNames());
}

}  // namespace quire::text
