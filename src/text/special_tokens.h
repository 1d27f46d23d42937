// The special tokens of a checkpoint by name, as Transformers' tokenizer.special_tokens_map has them: what a chat
// template knows as bos_token and so on. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "quire/result.h"
#include "text/tokenizer.h"

namespace quire::text {

// From the checkpoint's directory. tokenizer_config.json says them (a token is a string, or an object with its text as
// "content"; null: there is none), further ones as NAME_token or within extra_special_tokens; special_tokens_map.json
// goes before it where it lists no added_tokens_decoder. What neither says comes from the class of the tokenizer, and
// the pad token then is `padding_token`: what tokenizer.json pads with, empty if it does not pad.
Result<std::vector<NamedToken>> LoadSpecialTokens(const std::string& directory, const std::string& padding_token);

// The class that Transformers makes of the tokenizer, without "Fast"; empty: the plain one. Some model types have one
// of their own, whatever the tokenizer's file says.
Result<std::string> LoadTokenizerClass(const std::string& directory);

}  // namespace quire::text
