// The alphabet of byte-level vocabularies: each byte is written as one printable character ("Ġ" is the space), as in
// GPT-2. Stateless; any thread.
#pragma once

#include <string>
#include <string_view>

namespace quire::text {

void AppendByteLevel(std::string_view bytes, std::string& out);

// Appends the bytes that `token` spells; false, appending nothing, if a character of it is not of the alphabet.
// REQUIRES: `token` is valid UTF-8.
bool AppendBytesOfByteLevel(std::string_view token, std::string& out);

}  // namespace quire::text
