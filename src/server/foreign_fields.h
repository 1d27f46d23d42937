// Request fields of other servers (llama.cpp, SGLang, text-generation-inference, vLLM's rarer ones): those that would
// change the answer and are not offered are refused by name, unless they ask for nothing.
#pragma once

#include <string_view>

namespace quire::server {

class FieldReader;

// Fails on the first that asks for something; knows all of them, and those that mean nothing here.
void RefuseForeignFields(FieldReader& fields);

// The field among several names of one thing that the request has; the first name if it has none.
std::string_view NameInUse(FieldReader& fields, std::string_view name, std::string_view other, std::string_view third);

}  // namespace quire::server
