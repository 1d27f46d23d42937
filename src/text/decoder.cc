#include "text/decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

using Stage = std::unique_ptr<DecoderStage>;

// The end of every chain: what arrives is the text.
class Sink final : public DecoderStage {
 public:
  Sink() : DecoderStage(nullptr) {}
  void Fragment(std::string_view text, std::string& out) override { out.append(text); }
  void EndToken(std::string&) override {}
  void EndStream(std::string&) override {}
};

// A stage that must see a token whole.
class WholeTokenStage : public DecoderStage {
 public:
  using DecoderStage::DecoderStage;
  void Fragment(std::string_view text, std::string&) final { token_.append(text); }
  void EndToken(std::string& out) final {
    Token(token_, out);
    token_.clear();
  }

 protected:
  virtual void Token(std::string_view token, std::string& out) = 0;
  void Pass(std::string_view token, std::string& out) {
    next().Fragment(token, out);
    next().EndToken(out);
  }

 private:
  std::string token_;
};

// Makes a Stage(next, const Step&) from a step's parameters.
template <typename StageType, typename Parameters>
class Step final : public DecoderStep {
 public:
  explicit Step(Parameters parameters) : parameters_(std::move(parameters)) {}
  Stage Start(Stage next) const override { return std::make_unique<StageType>(std::move(next), parameters_); }

 private:
  Parameters parameters_;
};

struct NoParameters {};

class JoinWithSpaces final : public DecoderStage {
 public:
  JoinWithSpaces(Stage next, const NoParameters&) : DecoderStage(std::move(next)) {}
  void Fragment(std::string_view text, std::string& out) override {
    if (at_start_ && !is_first_) next().Fragment(" ", out);
    at_start_ = is_first_ = false;
    next().Fragment(text, out);
  }
  void EndToken(std::string& out) override {
    at_start_ = true;
    next().EndToken(out);
  }

 private:
  bool is_first_ = true;
  bool at_start_ = true;
};

class Fuse final : public DecoderStage {
 public:
  Fuse(Stage next, const NoParameters&) : DecoderStage(std::move(next)) {}
  void EndToken(std::string&) override {}
  void EndStream(std::string& out) override {
    next().EndToken(out);
    next().EndStream(out);
  }
};

// Joins all tokens: their bytes, as UTF-8.
class FromByteLevel final : public WholeTokenStage {
 public:
  FromByteLevel(Stage next, const NoParameters&) : WholeTokenStage(std::move(next)) {}
  void EndStream(std::string& out) override {
    text_.clear();
    utf8_.Flush(text_);
    next().Fragment(text_, out);
    next().EndToken(out);
    next().EndStream(out);
  }

 private:
  void Token(std::string_view token, std::string& out) override {
    bytes_.clear();
    text_.clear();
    if (!AppendBytesOfByteLevel(token, bytes_)) bytes_.assign(token);
    utf8_.Append(bytes_, text_);
    if (!text_.empty()) next().Fragment(text_, out);
  }

  LossyUtf8 utf8_;
  std::string bytes_, text_;
};

// A run of tokens "<0x..>" becomes the text of their bytes if that is UTF-8, else one U+FFFD for each. Only the end of
// a run tells which, so a run is held back.
class ByteFallback final : public WholeTokenStage {
 public:
  ByteFallback(Stage next, const NoParameters&) : WholeTokenStage(std::move(next)) {}
  void EndStream(std::string& out) override {
    EndRun(out);
    next().EndStream(out);
  }

 private:
  void Token(std::string_view token, std::string& out) override {
    if (const std::optional<char> byte = ByteOf(token)) {
      run_.push_back(*byte);
    } else {
      EndRun(out);
      Pass(token, out);
    }
  }

  static std::optional<char> ByteOf(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
    const int high = HexValue(token[3]), low = HexValue(token[4]);
    // The reference's number parser takes a sign: "<0x+A>".
    if (token[3] == '+' && low >= 0) return static_cast<char>(low);
    if (high < 0 || low < 0) return std::nullopt;
    return static_cast<char>(static_cast<unsigned char>(high << 4 | low));
  }

  static int HexValue(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  void EndRun(std::string& out) {
    if (run_.empty()) return;
    if (!FindInvalidUtf8(run_)) {
      Pass(run_, out);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) Pass("\xEF\xBF\xBD", out);
    }
    run_.clear();
  }

  std::string run_;
};

struct ReplaceParameters {
  std::shared_ptr<const Pattern> pattern;
  std::string content;
};

class ReplaceInToken final : public WholeTokenStage {
 public:
  ReplaceInToken(Stage next, const ReplaceParameters& parameters)
      : WholeTokenStage(std::move(next)), parameters_(parameters) {}

 private:
  void Token(std::string_view token, std::string& out) override {
    const Result<std::string> replaced = parameters_.pattern->ReplaceAll(token, parameters_.content);
    // Steps behind each other could multiply a token without end.
    constexpr size_t kMaxGrownToken = size_t{1} << 20;
    const bool taken = replaced.ok() && replaced->size() <= std::max(token.size(), kMaxGrownToken);
    Pass(taken ? std::string_view(*replaced) : token, out);
  }

  ReplaceParameters parameters_;
};

struct StripParameters {
  std::string content;  // one character
  size_t start = 0;
  size_t stop = 0;
};

// Takes up to `start` characters off the front and up to `stop` off the end of each token.
class StripToken final : public DecoderStage {
 public:
  StripToken(Stage next, const StripParameters& parameters)
      : DecoderStage(std::move(next)), parameters_(parameters), left_(parameters.start) {}

  void Fragment(std::string_view text, std::string& out) override {
    for (; left_ > 0 && text.starts_with(parameters_.content); --left_) text.remove_prefix(parameters_.content.size());
    if (text.empty()) return;
    left_ = 0;
    if (parameters_.stop == 0) return next().Fragment(text, out);
    held_.append(text);
    HoldOnlyEnd(out);
  }

  void EndToken(std::string& out) override {
    std::string_view rest = held_;
    for (size_t i = 0; i < parameters_.stop && rest.ends_with(parameters_.content); ++i) {
      rest.remove_suffix(parameters_.content.size());
    }
    next().Fragment(rest, out);
    held_.clear();
    left_ = parameters_.start;
    next().EndToken(out);
  }

 private:
  // What precedes the strippable end is settled.
  void HoldOnlyEnd(std::string& out) {
    size_t end = held_.size();
    for (size_t i = 0; i < parameters_.stop && std::string_view(held_).substr(0, end).ends_with(parameters_.content);
         ++i) {
      end -= parameters_.content.size();
    }
    next().Fragment(std::string_view(held_).substr(0, end), out);
    held_.erase(0, end);
  }

  const StripParameters parameters_;
  size_t left_;
  std::string held_;
};

struct MetaspaceParameters {
  std::string mark;
  bool drops_first = true;  // the first token's marks stand for nothing
};

class FromMetaspace final : public DecoderStage {
 public:
  FromMetaspace(Stage next, const MetaspaceParameters& parameters)
      : DecoderStage(std::move(next)), parameters_(parameters), is_first_(true) {}

  void Fragment(std::string_view text, std::string& out) override {
    const bool drops = is_first_ && parameters_.drops_first;
    text_.clear();
    for (size_t at = 0; at < text.size();) {
      if (text.substr(at).starts_with(parameters_.mark)) {
        if (!drops) text_.push_back(' ');
        at += parameters_.mark.size();
      } else {
        text_.push_back(text[at++]);
      }
    }
    next().Fragment(text_, out);
  }

  void EndToken(std::string& out) override {
    is_first_ = false;
    next().EndToken(out);
  }

 private:
  const MetaspaceParameters parameters_;
  bool is_first_;
  std::string text_;
};

struct SuffixParameters {
  std::string suffix;
};

// The suffix of a word becomes a space, but nothing at the very end: so the latest token is held back.
class FromSuffix final : public WholeTokenStage {
 public:
  FromSuffix(Stage next, const SuffixParameters& parameters)
      : WholeTokenStage(std::move(next)), parameters_(parameters) {}
  void EndStream(std::string& out) override {
    PassHeld("", out);
    next().EndStream(out);
  }

 private:
  void Token(std::string_view token, std::string& out) override {
    PassHeld(" ", out);
    held_ = std::string(token);
  }

  void PassHeld(std::string_view replacement, std::string& out) {
    if (!held_) return;
    std::string text;
    size_t at = 0;
    for (size_t found; (found = held_->find(parameters_.suffix, at)) != std::string::npos;) {
      text.append(*held_, at, found - at).append(replacement);
      at = found + parameters_.suffix.size();
    }
    Pass(text.append(*held_, at), out);
    held_.reset();
  }

  const SuffixParameters parameters_;
  std::optional<std::string> held_;
};

using Steps = std::vector<std::unique_ptr<const DecoderStep>>;

Status AppendReplace(const JsonNode& node, Steps& steps) {
  QUIRE_ASSIGN_OR_RETURN(const JsonNode pattern_node, node.Get("pattern"));
  QUIRE_ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(pattern_node));
  QUIRE_ASSIGN_OR_RETURN(const JsonNode content_node, node.Get("content"));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view content, content_node.AsString());
  steps.push_back(std::make_unique<Step<ReplaceInToken, ReplaceParameters>>(
      ReplaceParameters{std::make_shared<const Pattern>(std::move(pattern)), std::string(content)}));
  return {};
}

Status AppendStrip(const JsonNode& node, Steps& steps) {
  StripParameters parameters;
  QUIRE_ASSIGN_OR_RETURN(parameters.content, node.StringOr("content", " "));
  QUIRE_ASSIGN_OR_RETURN(const int64_t start, node.IntOr("start", 0));
  QUIRE_ASSIGN_OR_RETURN(const int64_t stop, node.IntOr("stop", 0));
  if (parameters.content.empty() || start < 0 || stop < 0) {
    return node.Complain("content must be a character, start and stop at least 0");
  }
  parameters.start = static_cast<size_t>(start);
  parameters.stop = static_cast<size_t>(stop);
  steps.push_back(std::make_unique<Step<StripToken, StripParameters>>(std::move(parameters)));
  return {};
}

Status AppendMetaspace(const JsonNode& node, Steps& steps) {
  MetaspaceParameters parameters;
  QUIRE_ASSIGN_OR_RETURN(parameters.mark, node.StringOr("replacement", "\xE2\x96\x81"));
  if (parameters.mark.empty()) return node.Complain("replacement must be a character");
  QUIRE_ASSIGN_OR_RETURN(const bool add_prefix_space, node.BoolOr("add_prefix_space", true));
  QUIRE_ASSIGN_OR_RETURN(const std::string scheme,
                         node.StringOr("prepend_scheme", add_prefix_space ? "always" : "never"));
  parameters.drops_first = scheme != "never";
  steps.push_back(std::make_unique<Step<FromMetaspace, MetaspaceParameters>>(std::move(parameters)));
  return {};
}

Status AppendSuffix(const JsonNode& node, Steps& steps) {
  SuffixParameters parameters;
  QUIRE_ASSIGN_OR_RETURN(parameters.suffix, node.StringOr("suffix", "</w>"));
  if (parameters.suffix.empty()) return node.Complain("suffix must not be empty");
  steps.push_back(std::make_unique<Step<FromSuffix, SuffixParameters>>(std::move(parameters)));
  return {};
}

Status AppendSteps(const JsonNode& node, Steps& steps) {
  QUIRE_ASSIGN_OR_RETURN(const JsonNode type_node, node.Get("type"));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view type, type_node.AsString());
  if (type == "Sequence") {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode members, node.Get("decoders"));
    return members.ForEachElement([&](const JsonNode& member) { return AppendSteps(member, steps); });
  }
  if (type == "Replace") return AppendReplace(node, steps);
  if (type == "Strip") return AppendStrip(node, steps);
  if (type == "Metaspace") return AppendMetaspace(node, steps);
  if (type == "BPEDecoder") return AppendSuffix(node, steps);
  if (type == "ByteLevel") {
    steps.push_back(std::make_unique<Step<FromByteLevel, NoParameters>>(NoParameters{}));
  } else if (type == "ByteFallback") {
    steps.push_back(std::make_unique<Step<ByteFallback, NoParameters>>(NoParameters{}));
  } else if (type == "Fuse") {
    steps.push_back(std::make_unique<Step<Fuse, NoParameters>>(NoParameters{}));
  } else {
    return Unimplemented("{}: decoder \"{}\" is not supported", node.Path(), type);
  }
  return {};
}

Result<Decoder> ParseDecoderText(std::string_view text) {
  QUIRE_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(text));
  return Decoder::Parse(document.root());
}

}  // namespace

Decoder::Decoder() { steps_.push_back(std::make_unique<Step<JoinWithSpaces, NoParameters>>(NoParameters{})); }

Result<Decoder> Decoder::Parse(const JsonNode& node) {
  Decoder decoder;
  decoder.steps_.clear();
  QUIRE_RETURN_IF_ERROR(AppendSteps(node, decoder.steps_));
  constexpr size_t kMaxSteps = 64;  // a stream calls through all of them
  if (decoder.steps_.size() > kMaxSteps) return node.Complain("has more than 64 steps");
  return decoder;
}

Result<Decoder> Decoder::ByteLevel() { return ParseDecoderText(R"({"type": "ByteLevel"})"); }

Result<Decoder> Decoder::Metaspace(bool strips_first_space) {
  constexpr std::string_view kStrips = R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
  constexpr std::string_view kKeeps = R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]})";
  return ParseDecoderText(strips_first_space ? kStrips : kKeeps);
}

DecoderStream Decoder::Start() const {
  Stage stage = std::make_unique<Sink>();
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) stage = (*step)->Start(std::move(stage));
  return DecoderStream(std::move(stage));
}

}  // namespace quire::text
