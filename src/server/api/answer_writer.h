// AnswerWriter: how one protocol tells an answer. One object per answer; one thread at a time.
#pragma once

#include <span>
#include <string>

namespace quire::server {

struct ApiError;
struct ChoiceNews;
struct Usage;

class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  // The body of an answer in one piece: of each choice, in their order, all that happened to it.
  virtual std::string Whole(std::span<const ChoiceNews> choices, const Usage& usage) = 0;

  // An answer as a stream of server-sent events: news as they come, then either its end or an error.
  virtual void AppendNews(const ChoiceNews& news, std::string& out) = 0;
  virtual void AppendEnd(const Usage& usage, std::string& out) = 0;
  virtual void AppendError(const ApiError& error, std::string& out) = 0;
};

}  // namespace quire::server
