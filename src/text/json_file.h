// A file of JSON that stays open while its nodes are read. Errors of its contents name the file. Any thread.
#pragma once

#include <optional>
#include <string>

#include "text/json_node.h"

namespace quire::text {

class JsonFile {
 public:
  static Result<JsonFile> Open(const std::string& path);
  // Nothing if there is no such file.
  static Result<std::optional<JsonFile>> OpenIfThere(const std::string& directory, const std::string& name);

  JsonNode root() const { return document_.root(); }
  // An error out of this file, with its name.
  Error Named(Error error) const;
  Status Named(Status status) const;

 private:
  JsonFile(std::string path, JsonDocument document) : path_(std::move(path)), document_(std::move(document)) {}

  std::string path_;
  JsonDocument document_;
};

}  // namespace quire::text
