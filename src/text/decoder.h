// The "decoder" of tokenizer.json: token texts to text. A Decoder is the immutable description (any thread); a
// DecoderStream is one run of it over one sequence, token by token, in constant time each.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace quire::text {

// One stage of a stream. Tokens come as fragments, each token ended by EndToken, all of them by EndStream; a stage
// passes on what it makes of them. Fragments are whole characters.
class DecoderStage {
 public:
  explicit DecoderStage(std::unique_ptr<DecoderStage> next) : next_(std::move(next)) {}
  virtual ~DecoderStage() = default;
  virtual void Fragment(std::string_view text, std::string& out) { next_->Fragment(text, out); }
  virtual void EndToken(std::string& out) { next_->EndToken(out); }
  virtual void EndStream(std::string& out) { next_->EndStream(out); }

 protected:
  DecoderStage& next() { return *next_; }

 private:
  std::unique_ptr<DecoderStage> next_;
};

// Makes one stage of a new stream in front of `next`.
class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  virtual std::unique_ptr<DecoderStage> Start(std::unique_ptr<DecoderStage> next) const = 0;
};

class DecoderStream {
 public:
  explicit DecoderStream(std::unique_ptr<DecoderStage> first) : first_(std::move(first)) {}
  void Append(std::string_view token, std::string& out) {
    first_->Fragment(token, out);
    first_->EndToken(out);
  }
  void Flush(std::string& out) { first_->EndStream(out); }

 private:
  std::unique_ptr<DecoderStage> first_;
};

class Decoder {
 public:
  // No decoder: tokens joined by spaces.
  Decoder();
  // kUnimplemented names a type that is not offered.
  static Result<Decoder> Parse(const JsonNode& node);
  // The usual ones: of a byte-level vocabulary, and of a SentencePiece-style one with "▁" for spaces and byte tokens,
  // without the space that encoding put in front of all, if it did.
  static Result<Decoder> ByteLevel();
  static Result<Decoder> Metaspace(bool strips_first_space);

  DecoderStream Start() const;

 private:
  std::vector<std::unique_ptr<const DecoderStep>> steps_;
};

}  // namespace quire::text
