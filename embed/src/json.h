// JSON (RFC 8259) as values, for the two files of an embedded folder that are not graphs.
#pragma once

#include <stdint.h>

#include <string>
#include <utility>
#include <vector>

namespace embedded {

class Json {
 public:
  // Throws Failure; of: what is read, for its sentence.
  static Json read(const std::string& content, const std::string& of);

  const Json* find(const char* name) const;  // of an object; null where it has none of this name
  const Json& at(const char* name) const;    // the same, but throws Failure

  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_text() const { return kind_ == Kind::kText; }
  double number() const { return expect(Kind::kNumber), number_; }
  int64_t whole() const { return static_cast<int64_t>(number()); }
  const std::string& text() const { return expect(Kind::kText), text_; }
  const std::vector<Json>& items() const { return expect(Kind::kArray), items_; }

 private:
  friend class JsonReader;
  enum class Kind { kNull, kBool, kNumber, kText, kArray, kObject };
  void expect(Kind kind) const;

  Kind kind_ = Kind::kNull;
  double number_ = 0;
  std::string text_;
  std::vector<Json> items_;         // of an object, the values
  std::vector<std::string> names_;  // of an object
};

}  // namespace embedded
