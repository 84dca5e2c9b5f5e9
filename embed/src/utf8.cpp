#include "utf8.h"

namespace embedded {

namespace {

// First bytes, how many follow, and between which two the next must be: not what fewer bytes say, no halves of pairs of
// UTF-16, nothing beyond U+10FFFF (Unicode 15, table 3-7).
struct Lead {
  uint8_t least, most;
  int following;
  uint8_t least_next, most_next;
};
constexpr Lead kLeads[] = {{0x00, 0x7F, 0, 0x80, 0xBF}, {0xC2, 0xDF, 1, 0x80, 0xBF}, {0xE0, 0xE0, 2, 0xA0, 0xBF},
                           {0xE1, 0xEC, 2, 0x80, 0xBF}, {0xED, 0xED, 2, 0x80, 0x9F}, {0xEE, 0xEF, 2, 0x80, 0xBF},
                           {0xF0, 0xF0, 3, 0x90, 0xBF}, {0xF1, 0xF3, 3, 0x80, 0xBF}, {0xF4, 0xF4, 3, 0x80, 0x8F}};

// How long what begins at a place is, at least 1; *good: whether it is a character to its end.
size_t length(const std::string& bytes, size_t begin, bool* good) {
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(bytes[at]); };
  size_t at = begin + 1;
  *good = false;
  for (const Lead& lead : kLeads) {
    if (byte(begin) < lead.least || byte(begin) > lead.most) continue;
    int left = lead.following;
    for (uint8_t least = lead.least_next, most = lead.most_next; left > 0 && at < bytes.size(); ++at, --left, least = 0x80, most = 0xBF)
      if (byte(at) < least || byte(at) > most) break;
    *good = left == 0;
  }
  return at - begin;
}

}  // namespace

std::string good_utf8(const std::string& bytes) {
  std::string text;
  bool good = true;
  for (size_t at = 0, size = 0; at < bytes.size(); at += size) {
    size = length(bytes, at, &good);
    text += good ? bytes.substr(at, size) : "\xEF\xBF\xBD";
  }
  return text;
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
