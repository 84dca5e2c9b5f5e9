#include "json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <locale>
#include <sstream>

#include "failure.h"
#include "utf8.h"

namespace embedded {

constexpr int kDeepest = 64;

class JsonReader {
 public:
  explicit JsonReader(const std::string& content) : at_(content.c_str()), end_(at_ + content.size()) {}

  Json whole() {
    Json found = value(0);
    if (next() != '\0' || at_ != end_) fail();
    return found;
  }

 private:
  [[noreturn]] void fail() const { throw Failure("it is not good JSON"); }
  // What follows spaces; '\0' at the end, where a string has it too.
  char next() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r' || *at_ == '\n')) ++at_;
    return *at_;
  }
  bool take(char sign) {
    if (next() != sign) return false;
    ++at_;
    return true;
  }
  void need(char sign) {
    if (!take(sign)) fail();
  }

  Json value(int depth) {
    if (depth > kDeepest) fail();
    Json found;
    found.kind_ = next();
    if (take('"')) {
      found.text_ = string();
    } else if (take('[')) {
      members(&found, ']', depth);
    } else if (take('{')) {
      members(&found, '}', depth);
    } else if (strchr("tfn", found.kind_) == nullptr || *at_ == '\0') {
      found.kind_ = '0';
      found.number_ = number();
    } else {
      const char* const word = *at_ == 't' ? "true" : *at_ == 'f' ? "false" : "null";
      if (strncmp(at_, word, strlen(word)) != 0) fail();
      at_ += strlen(word);
    }
    return found;
  }

  void members(Json* found, char close, int depth) {
    found->kind_ = close;
    if (take(close)) return;
    do {
      if (close == '}') {
        need('"');
        found->names_.push_back(string());
        need(':');
      }
      found->items_.push_back(value(depth + 1));
    } while (take(','));
    need(close);
  }

  double number() {
    const char* const begin = at_;
    at_ += strspn(at_, "+-.0123456789eE");
    if (at_ == begin + 1 && *begin >= '0' && *begin <= '9') return *begin - '0';  // tables have many of them
    std::istringstream text(std::string(begin, at_));
    text.imbue(std::locale::classic());
    double found = 0;
    if (!(text >> found) || text.peek() != EOF) fail();
    return found;
  }

  std::string string() {
    static const char kSigns[] = "\"\\/bfnrt", kMeant[] = "\"\\/\b\f\n\r\t";
    std::string found;
    for (; at_ != end_ && *at_ != '"'; ++at_) {
      if (*at_ != '\\') {
        found += *at_;
        continue;
      }
      ++at_;
      const char* const known = *at_ == '\0' ? nullptr : strchr(kSigns, *at_);
      if (known != nullptr)
        found += kMeant[known - kSigns];
      else
        append_utf8(&found, escaped());
    }
    if (at_ == end_) fail();
    ++at_;
    return found;
  }

  // A character that is written as u and four digits, or as a pair of such; its last digit is next then.
  uint32_t escaped() {
    const uint32_t high = four_digits();
    if (high < 0xD800 || high > 0xDBFF || strncmp(at_ + 1, "\\u", 2) != 0) return high;
    at_ += 2;
    const uint32_t low = four_digits();
    if (low < 0xDC00 || low > 0xDFFF) fail();
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }
  uint32_t four_digits() {
    if (*at_ != 'u' || strspn(at_ + 1, "0123456789abcdefABCDEF") < 4) fail();
    const std::string digits(at_ + 1, 4);
    at_ += 4;
    return static_cast<uint32_t>(std::stoul(digits, nullptr, 16));
  }

  const char* at_;  // of a string, which ends with '\0'
  const char* end_;
};

Json Json::read(const std::string& content) { return JsonReader(content).whole(); }

const Json* Json::find(const char* name) const {
  for (size_t i = 0; i < names_.size(); ++i)
    if (names_[i] == name) return &items_[i];
  return nullptr;
}

const Json& Json::at(const char* name) const {
  const Json* const found = find(name);
  if (found == nullptr) throw Failure(std::string("it lacks \"") + name + "\"");
  return *found;
}

int64_t Json::whole(int64_t least, int64_t most) const {
  const double found = number();
  if (floor(found) != found || !(found >= static_cast<double>(least)) || !(found <= static_cast<double>(most)))
    throw Failure("it has a number that is not whole or out of bounds");
  return static_cast<int64_t>(found);
}

void Json::expect(char kind, const char* what) const {
  if (kind_ != kind) throw Failure(std::string("it has something else where ") + what + " is expected");
}

}  // namespace embedded
