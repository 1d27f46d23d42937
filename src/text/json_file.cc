#include "text/json_file.h"

#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/foreign_file.h"
#include "base/mapped_file.h"

namespace quire::text {
namespace {

Error InFile(const std::string& path, Error error) {
  error.message = fmt::format("{}: {}", path, error.message);
  return error;
}

}  // namespace

Result<JsonFile> JsonFile::Open(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::span<const std::byte> bytes = file.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Result<JsonDocument> document = JsonDocument::Parse(text);
  if (!document.ok()) {
    const std::string other = WhatElseItIs(text.substr(0, 512));
    return other.empty() ? InFile(path, document.error()) : DataLoss("{}: {}", path, other);
  }
  return JsonFile(path, *std::move(document));
}

Result<std::optional<JsonFile>> JsonFile::OpenIfThere(const std::string& directory, const std::string& name) {
  const std::string path = JoinPath(directory, name);
  if (!Env::Posix().Exists(path)) return std::optional<JsonFile>();
  QUIRE_ASSIGN_OR_RETURN(JsonFile file, Open(path));
  return std::optional<JsonFile>(std::move(file));
}

Error JsonFile::Named(Error error) const { return InFile(path_, std::move(error)); }

Status JsonFile::Named(Status status) const {
  if (status.ok()) return status;
  return Named(status.error());
}

}  // namespace quire::text
