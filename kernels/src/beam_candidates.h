// The best continuations of one input, row by row.
#pragma once

#include <cstdint>

namespace fuseline {

// Sorted, best sum first; of equal sums what was offered earlier. A NaN is worse than any number.
struct Continuations {
  float* sums;
  float* logprobs;
  int64_t* tokens;
  int64_t* rows;
  int64_t most;
  int64_t count = 0;

  static bool before(float a, float b) { return a > b || (b != b && a == a); }

  void offer(float sum, float logprob, int64_t token, int64_t row) {
    if (count == most && !before(sum, sums[count - 1])) return;
    int64_t place = count < most ? count++ : count - 1;
    for (; place > 0 && before(sum, sums[place - 1]); --place) {
      sums[place] = sums[place - 1];
      logprobs[place] = logprobs[place - 1];
      tokens[place] = tokens[place - 1];
      rows[place] = rows[place - 1];
    }
    sums[place] = sum;
    logprobs[place] = logprob;
    tokens[place] = token;
    rows[place] = row;
  }
};

}  // namespace fuseline
