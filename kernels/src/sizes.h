// Products of sizes that come from elsewhere: one that int64 cannot hold is the largest number, and never a small or negative one.
#pragma once

#include <stdint.h>

namespace fuseline {

// More than memory has; a few of them can be added up.
constexpr int64_t kMostBytes = INT64_MAX / 4;

// Of numbers that are not negative.
inline int64_t times(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

template <class... More>
inline int64_t times(int64_t a, int64_t b, More... more) {
  return times(times(a, b), more...);
}

}  // namespace fuseline
