#include "json.h"

#include <string.h>

#include <algorithm>

#include "failure.h"
#include "utf8.h"

namespace embedded {

constexpr int kDeepest = 64;
constexpr double kMostExact = 9007199254740992.0;  // beyond it not every whole number is a double

class JsonReader {
 public:
  JsonReader(const std::string& content, const std::string& of) : at_(content.c_str()), end_(at_ + content.size()), of_(of) {}

  Json whole() {
    Json found = value(0);
    if (space() != end_) fail();
    return found;
  }

 private:
  using Kind = Json::Kind;

  [[noreturn]] void fail() const { throw Failure(of_ + " is not good JSON"); }
  const char* space() {
    while (at_ != end_ && strchr(" \t\r\n", *at_) != nullptr && *at_ != '\0') ++at_;
    return at_;
  }
  bool take(char sign) {
    if (space() == end_ || *at_ != sign) return false;
    ++at_;
    return true;
  }
  void need(char sign) {
    if (!take(sign)) fail();
  }
  bool word(const char* text) {
    const size_t size = strlen(text);
    if (static_cast<size_t>(end_ - at_) < size || memcmp(at_, text, size) != 0) return false;
    at_ += size;
    return true;
  }

  Json value(int depth) {
    if (depth > kDeepest) fail();
    Json found;
    if (take('"')) {
      found.kind_ = Kind::kText;
      found.text_ = string();
    } else if (take('[')) {
      found.kind_ = Kind::kArray;
      if (take(']')) return found;
      do found.items_.push_back(value(depth + 1));
      while (take(','));
      need(']');
    } else if (take('{')) {
      found.kind_ = Kind::kObject;
      if (take('}')) return found;
      do {
        need('"');
        found.names_.push_back(string());
        need(':');
        found.items_.push_back(value(depth + 1));
      } while (take(','));
      need('}');
    } else if (word("true") || word("false")) {
      found.kind_ = Kind::kBool;
    } else if (!word("null")) {
      found.kind_ = Kind::kNumber;
      found.number_ = number();
    }
    return found;
  }

  double number() {  // not by strtod, which would ask the locale how a fraction is written
    const bool negative = take('-');
    const char* const begin = at_;
    double found = digits(0), unit = 1;
    if (at_ == begin) fail();
    if (word(".")) {
      const char* const fraction = at_;
      found = digits(found);
      for (const char* each = fraction; each != at_; ++each) unit *= 10;
    }
    if (word("e") || word("E")) {
      double& scaled = word("-") ? unit : found;
      word("+");
      for (double power = std::min(digits(0), 400.0); power > 0; --power) scaled *= 10;
    }
    return (negative ? -found : found) / unit;
  }
  double digits(double found) {
    for (; at_ != end_ && *at_ >= '0' && *at_ <= '9'; ++at_) found = found * 10 + (*at_ - '0');
    return found;
  }

  std::string string() {
    std::string found;
    while (at_ != end_ && *at_ != '"') {
      if (*at_ != '\\') {
        found += *at_++;
        continue;
      }
      if (++at_ == end_) fail();
      const char sign = *at_++;
      static const char kSigns[] = "\"\\/bfnrt", kMeant[] = "\"\\/\b\f\n\r\t";
      const char* const known = sign == '\0' ? nullptr : strchr(kSigns, sign);
      if (sign == 'u')
        append_utf8(&found, escaped());
      else if (known != nullptr)
        found += kMeant[known - kSigns];
      else
        fail();
    }
    if (at_ == end_) fail();
    ++at_;
    return found;
  }

  uint32_t escaped() {
    const uint32_t high = four_digits();
    if (high < 0xD800 || high > 0xDBFF || !word("\\u")) return high;
    const uint32_t low = four_digits();
    if (low < 0xDC00 || low > 0xDFFF) fail();
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }
  uint32_t four_digits() {
    uint32_t found = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      static const char kDigits[] = "0123456789abcdefABCDEF";
      const char* const known = at_ == end_ || *at_ == '\0' ? nullptr : strchr(kDigits, *at_);
      if (known == nullptr) fail();
      const uint32_t value = static_cast<uint32_t>(known - kDigits);
      found = found * 16 + (value < 16 ? value : value - 6);
    }
    return found;
  }

  const char* at_;
  const char* end_;
  const std::string& of_;
};

Json Json::read(const std::string& content, const std::string& of) { return JsonReader(content, of).whole(); }

const Json* Json::find(const char* name) const {
  for (size_t i = 0; i < names_.size(); ++i)
    if (names_[i] == name) return &items_[i];
  return nullptr;
}

const Json& Json::at(const char* name) const {
  const Json* const found = find(name);
  if (found == nullptr) throw Failure(std::string("the JSON of this model lacks \"") + name + "\"; export it again");
  return *found;
}

void Json::expect(Kind kind) const {
  const bool good = kind == kind_ && (kind != Kind::kNumber || (number_ <= kMostExact && number_ >= -kMostExact));
  if (!good) throw Failure("the JSON of this model has a value of another kind than expected; export it again");
}

}  // namespace embedded
