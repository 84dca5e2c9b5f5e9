#include "utf8.h"

namespace embedded {

void append_utf8(std::string* text, uint32_t character) {
  const auto byte = [text](uint32_t value) { *text += static_cast<char>(value); };
  if (character < 0x80) return byte(character);
  if (character < 0x800) {
    byte(0xC0 | character >> 6);
  } else if (character < 0x10000) {
    byte(0xE0 | character >> 12);
    byte(0x80 | (character >> 6 & 0x3F));
  } else {
    byte(0xF0 | character >> 18);
    byte(0x80 | (character >> 12 & 0x3F));
    byte(0x80 | (character >> 6 & 0x3F));
  }
  byte(0x80 | (character & 0x3F));
}

namespace {

// How many bytes follow a first one, and between which two the next must be; -1 where none may begin with it.
struct Following {
  int count;
  uint8_t least, most;
};

Following following(uint8_t first) {
  if (first < 0x80) return {0, 0x80, 0xBF};
  if (first >= 0xC2 && first <= 0xDF) return {1, 0x80, 0xBF};
  // Not what fewer bytes say, no halves of pairs of UTF-16, nothing beyond U+10FFFF.
  if (first >= 0xE0 && first <= 0xEF) return {2, uint8_t(first == 0xE0 ? 0xA0 : 0x80), uint8_t(first == 0xED ? 0x9F : 0xBF)};
  if (first >= 0xF0 && first <= 0xF4) return {3, uint8_t(first == 0xF0 ? 0x90 : 0x80), uint8_t(first == 0xF4 ? 0x8F : 0xBF)};
  return {-1, 0, 0};
}

}  // namespace

std::string good_utf8(const std::string& bytes) {
  std::string good;
  for (size_t at = 0; at < bytes.size();) {
    Following next = following(static_cast<uint8_t>(bytes[at]));
    const size_t begin = at++;
    for (; next.count > 0 && at < bytes.size(); ++at, --next.count) {
      const uint8_t byte = static_cast<uint8_t>(bytes[at]);
      if (byte < next.least || byte > next.most) break;
      next.least = 0x80, next.most = 0xBF;
    }
    if (next.count == 0)
      good.append(bytes, begin, at - begin);
    else
      append_utf8(&good, 0xFFFD);
  }
  return good;
}

Character character_before(const std::string& text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  const uint32_t first = static_cast<uint8_t>(text[begin]);
  uint32_t value = end - begin == 1 ? first : first & (0x7FU >> (end - begin));
  for (size_t at = begin + 1; at < end; ++at) value = value << 6 | (static_cast<uint8_t>(text[at]) & 0x3F);
  return {value, begin};
}

}  // namespace embedded
