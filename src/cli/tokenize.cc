// quire tokenize DIR: text to ids and back, for pipelines and for comparing tokenizers.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/generate.h"
#include "llm/model_text.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Result<std::vector<int32_t>> ReadIds(const Json& value) {
  const Json& ids = value.is_object() && value.contains("ids") ? value["ids"] : value;
  if (!ids.is_array()) return InvalidArgument("expected a list of token ids or an object with \"ids\"");
  std::vector<int32_t> result;
  for (const Json& id : ids) {
    if (!id.is_number_integer()) return InvalidArgument("a token id is {}: it must be an integer", id.dump());
    result.push_back(id.get<int32_t>());
  }
  return result;
}

// One line in, one line out; an error ends the run and names the line.
Result<std::string> ConvertLine(const Tokenizer& tokenizer, const TokenizeCommand& command, const std::string& line) {
  const Json value = Json::parse(line, nullptr, false);
  if (value.is_discarded()) return InvalidArgument("not JSON");
  if (command.decode) {
    QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ReadIds(value));
    return Json{{"text", tokenizer.Decode(ids, command.no_special_tokens)}}.dump(-1, ' ', false,
                                                                                 Json::error_handler_t::replace);
  }
  if (!value.is_string()) return InvalidArgument("expected a JSON string");
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                         tokenizer.Encode(value.get<std::string>(), !command.no_special_tokens));
  return Json{{"ids", ids}}.dump();
}

Status ConvertLines(const Tokenizer& tokenizer, const TokenizeCommand& command) {
  size_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    if (line.empty()) continue;
    const Result<std::string> converted = ConvertLine(tokenizer, command, line);
    if (!converted.ok()) return InvalidArgument("line {}: {}", number, converted.error().message);
    std::printf("%s\n", converted->c_str());
  }
  return {};
}

Status ConvertAll(const Tokenizer& tokenizer, const TokenizeCommand& command) {
  const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
  if (command.decode) {
    std::vector<int32_t> ids;
    std::istringstream numbers(input);
    for (int32_t id = 0; numbers >> id;) ids.push_back(id);
    if (!numbers.eof()) return InvalidArgument("expected token ids separated by white space");
    std::printf("%s", tokenizer.Decode(ids, command.no_special_tokens).c_str());
    return {};
  }
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode(input, !command.no_special_tokens));
  for (const int32_t id : ids) {
    std::printf("%d %s\n", id,
                Json(std::string(tokenizer.Decode({{id}}, false)))
                    .dump(-1, ' ', false, Json::error_handler_t::replace)
                    .c_str());
  }
  return {};
}

Status Tokenize(const TokenizeCommand& command) {
  QUIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(command.directory));
  return command.jsonl ? ConvertLines(*tokenizer, command) : ConvertAll(*tokenizer, command);
}

}  // namespace

int RunTokenize(const TokenizeCommand& command) {
  const Status status = Tokenize(command);
  return status.ok() ? 0 : Complain(status.error());
}

}  // namespace quire
