#include "words.h"

#include "failure.h"
#include "utf8.h"

namespace embedded {
namespace {

// A word that is no text by itself, since it is a part of a character, is a list of bytes.
std::string bytes_of(const Json& word) {
  if (word.is_text()) return word.text();
  std::string bytes;
  for (const Json& byte : word.items()) bytes += static_cast<char>(byte.whole(0, 255));
  return bytes;
}

std::vector<std::string> table(const Json& words) {
  std::vector<std::string> found;
  if (words.is_null()) return found;
  for (const Json& word : words.items()) found.push_back(bytes_of(word));
  return found;
}

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

Words::Words(const Json& record) : first_(table(record.at("first"))), later_(table(record.at("later"))) {
  for (const Json& each : record.at("begins").items()) begins_.push_back(each.whole(0, 1) != 0);
  for (const Json& each : record.at("clean_up").items()) {
    if (each.items().size() != 2 || each.items()[0].text().empty()) throw Failure("it has a clean_up that is no pair");
    clean_up_.emplace_back(each.items()[0].text(), each.items()[1].text());
  }
  if (begins_.size() != later_.size() || (!first_.empty() && first_.size() != later_.size()))
    throw Failure("its tables are of several lengths");
}

std::string Words::text(const int64_t* tokens, size_t count) const {
  std::string bytes;
  bool begun = false;
  for (size_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || static_cast<size_t>(tokens[i]) >= later_.size()) throw Failure("words.json lacks a token that was said; export the model again");
    const size_t token = static_cast<size_t>(tokens[i]);
    bytes += begun || first_.empty() ? later_[token] : first_[token];
    begun = begun || begins_[token];
  }
  std::string text = good_utf8(bytes);
  for (const auto& [from, to] : clean_up_)
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
  return text;
}

std::string Pieces::tentative(const std::string& text) const {
  return text.compare(0, given_.size(), given_) == 0 ? text.substr(given_.size()) : std::string();
}

std::string Pieces::next(const std::string& text) {
  if (text.compare(0, given_.size(), given_) != 0) return {};
  const std::string piece = text.substr(given_.size());
  given_ = text;
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
