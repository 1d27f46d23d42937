// The published chat templates that lie beside the project, for tests.
#pragma once

#include <zlib.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace quire {

inline std::filesystem::path DataDirectory() {
  const char* given = std::getenv("QUIRE_TEST_DATA");
  const std::filesystem::path root = given != nullptr
                                         ? std::filesystem::path(given)
                                         : std::filesystem::path(QUIRE_SOURCE_DIR) / ".." / "shared" / "data";
  return root / "chat-templates";
}

inline std::string ReadText(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

inline std::string ReadGzip(const std::filesystem::path& path) {
  std::string text;
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return text;
  std::vector<char> buffer(1 << 16);
  for (int size = 0; (size = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(size));
  }
  gzclose(file);
  return text;
}

inline std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// "file.jinja", "file.json" with a chat_template, or "file.jsonl#line:name".
inline std::string TemplateSource(const std::string& name) {
  const size_t hash = name.find('#');
  if (hash != std::string::npos) {
    const auto lines = Lines(ReadText(DataDirectory() / name.substr(0, hash)));
    return nlohmann::ordered_json::parse(lines.at(std::stoul(name.substr(hash + 1)) - 1)).begin()->get<std::string>();
  }
  const std::string text = ReadText(DataDirectory() / name);
  return name.ends_with(".json") ? nlohmann::ordered_json::parse(text)["chat_template"].get<std::string>() : text;
}

inline std::time_t FixedTime() {
  std::tm local{};
  local.tm_year = 2024 - 1900;
  local.tm_mon = 6;
  local.tm_mday = 26;
  local.tm_hour = 12;
  local.tm_min = 34;
  local.tm_sec = 56;
  local.tm_isdst = -1;
  return std::mktime(&local);
}

}  // namespace quire
