// Characters and their bytes.
#pragma once

#include <stdint.h>

#include <string>

namespace embedded {

// The same bytes, with U+FFFD in the place of every run of bytes that is no character, nor begins one to its end.
std::string good_utf8(const std::string& bytes);

// The character that ends before a place in good UTF-8, and where it begins.
struct Character {
  uint32_t value;
  size_t begin;
};
Character character_before(const std::string& text, size_t end);

}  // namespace embedded
