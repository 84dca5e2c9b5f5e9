#include "words.h"

#include "failure.h"
#include "utf8.h"

namespace embedded {
namespace {

bool is_space(uint32_t character) { return character == ' ' || (character >= '\t' && character <= '\r'); }

// Of scripts that put no spaces between words: Thai and Lao, Burmese, Khmer, kana, and Chinese characters.
bool stands_alone(uint32_t character) {
  static const uint32_t kRanges[][2] = {{0xE00, 0xEFF},   {0x1000, 0x109F}, {0x1780, 0x17FF},
                                        {0x3040, 0x30FF}, {0x3400, 0x9FFF}, {0x20000, 0x3FFFF}};
  for (const auto& range : kRanges)
    if (character >= range[0] && character <= range[1]) return true;
  return false;
}

}  // namespace

Words::Words(const Table& table)
    : first_(table.list("words.first")),
      later_(table.list("words.later")),
      begins_(table.at("words.begins")),
      clean_up_(table.list("words.clean_up")) {
  if (begins_.size() != later_.size() || (!first_.empty() && first_.size() != later_.size()))
    table.damaged("its words are of several lengths");
  for (size_t i = 0; i < clean_up_.size(); i += 2)
    if (i + 1 == clean_up_.size() || clean_up_[i].empty()) table.damaged("it has a words.clean_up that is no pair");
}

std::string Words::text(const int64_t* tokens, size_t count) const {
  std::string bytes;
  bool begun = false;
  for (size_t i = 0; i < count; ++i) {
    const size_t token = static_cast<size_t>(tokens[i]);  // a negative one is none of the table's either
    if (token >= later_.size()) throw Failure("fuseline-embed.bin lacks a token that was said; export the model again");
    bytes += begun || first_.empty() ? later_[token] : first_[token];
    begun = begun || begins_[token] != 0;
  }
  std::string text = good_utf8(bytes);
  for (size_t i = 0, at = 0; i < clean_up_.size(); i += 2, at = 0)
    for (const auto from = clean_up_[i], to = clean_up_[i + 1]; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  return text;
}

std::string Pieces::tentative(const std::string& text) const {
  return text.compare(0, given_.size(), given_) == 0 ? text.substr(given_.size()) : std::string();
}

std::string Pieces::next(const std::string& text) {
  const std::string piece = tentative(text);
  given_ += piece;
  return piece;
}

std::string Pieces::settled(std::string text) {
  size_t end = text.size();
  for (bool space_follows = false; end > 0;) {
    const Character last = character_before(text, end);
    const bool unfinished = last.value == 0xFFFD && end == text.size();  // until the last byte of a character is there
    if (stands_alone(last.value) || (space_follows && !is_space(last.value))) break;
    space_follows = is_space(last.value);
    end = last.begin;
    if (unfinished) text.resize(end);
  }
  text.resize(end);
  return text;
}

}  // namespace embedded
