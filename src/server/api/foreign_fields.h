// Request fields of other servers (llama.cpp, SGLang, text-generation-inference, vLLM's rarer ones): those that would
// change the answer and are not offered are refused by name, unless they ask for nothing.
#pragma once

#include <initializer_list>
#include <string_view>

namespace quire::server {

class FieldReader;

// Fails on the first that asks for something; knows all of them, and those that mean nothing here.
void RefuseForeignFields(FieldReader& fields);

// Of several names of one thing the first that the request has; the first of all if it has none.
std::string_view NameInUse(FieldReader& fields, std::initializer_list<std::string_view> names);

}  // namespace quire::server
