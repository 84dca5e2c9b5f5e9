// What goes wrong, as a sentence: thrown inside, told by fuseline_last_error outside.
#pragma once

#include <stdexcept>

namespace embedded {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace embedded
