// Messages as clients of OpenAI's API send them, made what chat templates are written for. Pure but for a warning in
// the log; any thread.
#pragma once

#include <nlohmann/json.hpp>

#include "quire/result.h"
#include "text/chat_template.h"

namespace quire {

// `messages`: a list. Of each message
//  - the content is a list of text parts, or a string, as the template wants it, whichever was sent; null: empty;
//  - fields that are null or empty are as if they were not there;
//  - arguments of tool calls are objects, also where they were sent as JSON in a string; {} where that is no object;
//  - the reasoning has the three names that templates read; a refusal is the content where there is no other.
// A developer is the system to a template that does not know the role; all of the system's messages are the first then.
// Calls that the template does not show are left to it, with a warning in the log.
// InvalidArgument names the message and what is wrong with it, like anything but text.
Result<nlohmann::ordered_json> NormalizeMessages(const nlohmann::ordered_json& messages,
                                                 const ChatTemplateTraits& traits);

}  // namespace quire
