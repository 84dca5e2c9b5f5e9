// What goes wrong, as a sentence: thrown inside, told by fuseline_last_error outside.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace embedded {

class Failure : public std::exception {
 public:
  explicit Failure(std::string sentence) : sentence_(std::move(sentence)) {}
  const char* what() const noexcept override { return sentence_.c_str(); }

 private:
  std::string sentence_;
};

}  // namespace embedded
