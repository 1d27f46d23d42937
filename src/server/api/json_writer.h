// Writes JSON into a string as it goes, commas included: answers are made in the buffer that is sent.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quire::server {

// Appends a quoted JSON string. Bytes that are not UTF-8 become U+FFFD.
void AppendJsonString(std::string_view text, std::string& out);

// REQUIRES: calls that nest as the value does; a Key before every value in an object.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  JsonWriter& Key(std::string_view key);
  JsonWriter& String(std::string_view value);
  JsonWriter& Int(int64_t value);
  JsonWriter& Float(float value);  // the shortest digits that read back as the same float
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

 private:
  JsonWriter& Begin(char bracket);
  JsonWriter& End(char bracket);
  void Separate();

  std::string& out_;
  bool needs_comma_ = false;
};

}  // namespace quire::server
