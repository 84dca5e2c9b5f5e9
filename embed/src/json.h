// JSON (RFC 8259) as values, for the two files of an embedded folder that are not graphs.
#pragma once

#include <stdint.h>

#include <string>
#include <utility>
#include <vector>

namespace embedded {

class Json {
 public:
  // Throws Failure for what is no JSON, as the others do for a value that is not what is asked for.
  static Json read(const std::string& content);

  const Json* find(const char* name) const;  // of an object; null where it has none of this name
  const Json& at(const char* name) const;

  bool is_null() const { return kind_ == 'n'; }
  bool is_text() const { return kind_ == '"'; }
  double number() const { return expect('0', "a number"), number_; }
  int64_t whole(int64_t least, int64_t most) const;  // within 53 bits
  const std::string& text() const { return expect('"', "a text"), text_; }
  const std::vector<Json>& items() const { return expect(']', "a list"), items_; }

 private:
  friend class JsonReader;
  void expect(char kind, const char* what) const;

  char kind_ = 'n';  // what it begins with, a list and an object what they end with; any number '0'
  double number_ = 0;
  std::string text_;
  std::vector<Json> items_;         // of an object, the values
  std::vector<std::string> names_;  // of an object
};

}  // namespace embedded
