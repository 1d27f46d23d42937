#include "text/json_file.h"

#include <span>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/foreign_file.h"
#include "base/readable_file.h"

namespace quire::text {
namespace {

Error InFile(const std::string& path, Error error) {
  error.message = fmt::format("{}: {}", path, error.message);
  return error;
}

}  // namespace

Result<JsonFile> JsonFile::Open(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const ReadableFile file, ReadableFile::Open(path));
  std::string bytes(file.size(), '\0');
  QUIRE_RETURN_IF_ERROR(file.Read(0, std::as_writable_bytes(std::span(bytes))));
  const std::string_view text = bytes;
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
