// Recognises what stands in the place of a model's file after a download that went wrong. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace quire {

// "it is a Git LFS pointer, not the file itself: run `git lfs pull` in its directory", a web page, a pickle, ...; empty
// if nothing is recognised. `head`: the first bytes of the file, some hundreds.
std::string WhatElseItIs(std::string_view head);

// Why a path cannot be opened although its directory lists it: a symbolic link to nothing. Empty if it is none.
std::string DanglingLink(const std::string& path);

}  // namespace quire
