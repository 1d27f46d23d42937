#include "base/foreign_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

namespace quire {
namespace {

bool BeginsWithIgnoringCase(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() && std::equal(lower.begin(), lower.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

bool IsWebPage(std::string_view head) {
  head.remove_prefix(std::min(head.size(), head.find_first_not_of(" \t\r\n\xEF\xBB\xBF")));
  for (const char* begin : {"<!doctype html", "<html", "<head", "<?xml"}) {
    if (BeginsWithIgnoringCase(head, begin)) return true;
  }
  return false;
}

}  // namespace

std::string WhatElseItIs(std::string_view head) {
  if (head.starts_with("version https://git-lfs.github.com/spec/")) {
    return "it is a Git LFS pointer, not the file itself: run `git lfs pull` in its directory, or download it again";
  }
  if (IsWebPage(head)) {
    return "it is a web page (HTML): the download failed, perhaps for want of a login; download it again";
  }
  if (head.starts_with("GGUF")) return "it is a GGUF file under another name";
  if (head.starts_with("PK\x03\x04") || head.starts_with("\x80\x02")) {
    return "it is a PyTorch file under another name: convert it to safetensors";
  }
  if (head.starts_with("\x1F\x8B")) return "it is compressed with gzip: unpack it first";
  return "";
}

std::string DanglingLink(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error) || std::filesystem::exists(path, error)) return "";
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  return fmt::format("it is a symbolic link to {}, which does not exist: download it again", target.string());
}

}  // namespace quire
