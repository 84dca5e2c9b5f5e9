// top_candidates and beam_candidates: random rows with ties, infinities, NaN and denormal numbers, from one thread and from two at once.
#include <algorithm>
#include <numeric>

#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {
namespace {

struct Found {
  Buffer<float> values, logsumexp;
  Buffer<int64_t> indices;

  Found(int64_t rows, int64_t k) : values(rows * k), logsumexp(rows), indices(rows * k) {}
};

void check(const float* row, int64_t vocab, int64_t k, const float* values, const int64_t* indices, float logsumexp) {
  std::vector<double> clean(row, row + vocab);
  for (double& each : clean) each = std::isnan(each) ? -INFINITY : each;
  std::vector<int64_t> order(clean.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](int64_t i) { return clean[static_cast<size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return at(a) > at(b); });
  for (int64_t i = 0; i < k; ++i) {
    const int64_t wanted = order[static_cast<size_t>(i)];
    expect(indices[i] == wanted && values[i] == at(wanted), "candidate %ld is [%ld] %.9g, not [%ld] %.9g",
           static_cast<long>(i), static_cast<long>(indices[i]), values[i], static_cast<long>(wanted), at(wanted));
  }
  const double largest = at(order[0]);
  double sum = 0;
  for (const double each : clean) sum += std::exp(each - largest);
  const double exact = std::isfinite(largest) ? largest + std::log(sum) : largest;
  expect(exact == logsumexp || std::fabs(exact - logsumexp) <= 1e-5 + kUnit * std::fabs(exact), "logsumexp is %.9g, not %.9g",
         logsumexp, exact);
}

void fill(Random& random, Buffer<float>& logits) {
  const bool ties = random.chance(0.3);
  const double special = random.chance(0.3) ? 0.2 : 0;
  const uint32_t signalling = 0x7f800001;
  float broken;
  std::memcpy(&broken, &signalling, sizeof broken);
  const float specials[] = {INFINITY, -INFINITY, NAN, 1e-41f, -1e-45f, 0.0f, -0.0f, 3e38f, -3e38f, broken};
  const int64_t first = random.chance(0.5) ? 1 : 0;  // without the infinity, beside which nothing counts
  for (float& each : logits) {
    each = random.normal() * 5;
    if (ties) each = std::nearbyintf(each);
    if (random.chance(special)) each = specials[random.whole(first, 9)];
  }
}

void test_rows(Random& random) {
  const int64_t vocab = random.chance(0.1) ? random.whole(500, 2100) : random.whole(1, 90);
  const int64_t rows = random.whole(0, 4), k = random.whole(1, std::min<int64_t>(vocab, 24)), stride = vocab + random.whole(0, 3);
  NOW("top_candidates, %ld of %ld in %ld rows", static_cast<long>(k), static_cast<long>(vocab), static_cast<long>(rows));
  Buffer<float> logits(rows == 0 ? 0 : (rows - 1) * stride + vocab);
  fill(random, logits);
  const auto compute = [&](Found& found) {
    expect(fuseline_top_candidates(logits.data(), rows, vocab, stride, k, found.values.data(), found.indices.data(),
                                   found.logsumexp.data()) == FUSELINE_OK,
           "it is refused");
  };
  Found one(rows, k), two(rows, k);
  in_parts(2, 2, [&](int64_t which, int64_t) { compute(which == 0 ? one : two); });
  for (int64_t r = 0; r < rows; ++r)
    check(logits.data() + r * stride, vocab, k, one.values.data() + r * k, one.indices.data() + r * k, one.logsumexp[r]);
  expect(std::equal(one.values.begin(), one.values.end(), two.values.begin()) &&
             std::equal(one.indices.begin(), one.indices.end(), two.indices.begin()) &&
             std::equal(one.logsumexp.begin(), one.logsumexp.end(), two.logsumexp.begin()),
         "two threads find different things");
}

// Against all that the rows offer, sorted.
void test_beams(Random& random) {
  const int64_t vocab = random.whole(1, 90), inputs = random.whole(0, 3), beams = random.whole(1, 5);
  const int64_t k = random.whole(1, std::min<int64_t>(vocab, 12)), keep = random.whole(1, 14), stride = vocab + random.whole(0, 3);
  const int64_t most = std::min(keep, beams * k), count = inputs * beams;
  const int32_t normalized = random.chance(0.5) ? 1 : 0;
  NOW("beam_candidates, %ld of %ld x %ld in %ld inputs", static_cast<long>(keep), static_cast<long>(beams),
      static_cast<long>(vocab), static_cast<long>(inputs));
  Buffer<float> logits(count == 0 ? 0 : (count - 1) * stride + vocab), scores(count);
  fill(random, logits);
  for (float& each : scores) each = random.chance(0.1) ? -1e9f : std::nearbyintf(random.normal() * 3);
  Buffer<float> sums(inputs * most), logprobs(inputs * most), best_values(k);
  Buffer<int64_t> tokens(inputs * most), rows(inputs * most), best_indices(k);
  expect(fuseline_beam_candidates(logits.data(), inputs, beams, vocab, stride, scores.data(), normalized, k, keep, sums.data(),
                                  logprobs.data(), tokens.data(), rows.data(), best_values.data(),
                                  best_indices.data()) == FUSELINE_OK,
         "it is refused");
  Found found(count, k);
  expect(fuseline_top_candidates(logits.data(), count, vocab, stride, k, found.values.data(), found.indices.data(),
                                 found.logsumexp.data()) == FUSELINE_OK,
         "top_candidates is refused");
  for (int64_t input = 0; input < inputs; ++input) {
    std::vector<int64_t> order(static_cast<size_t>(beams * k));
    std::iota(order.begin(), order.end(), input * beams * k);
    const auto logprob = [&](int64_t i) { return normalized != 0 ? found.values[i] : found.values[i] - found.logsumexp[i / k]; };
    const auto sum = [&](int64_t i) { return logprob(i) + scores[i / k]; };
    const auto rank = [&](int64_t i) { return std::isnan(sum(i)) ? 1 : 0; };
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return rank(a) != rank(b) ? rank(a) < rank(b) : sum(a) > sum(b);
    });
    const auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    for (int64_t i = 0; i < most; ++i) {
      const int64_t at = input * most + i, wanted = order[static_cast<size_t>(i)];
      expect(same(sums[at], sum(wanted)) && same(logprobs[at], logprob(wanted)) && tokens[at] == found.indices[wanted] &&
                 rows[at] == wanted / k,
             "continuation %ld is [%ld] of row %ld with %.9g, not [%ld] of row %ld with %.9g", static_cast<long>(i),
             static_cast<long>(tokens[at]), static_cast<long>(rows[at]), sums[at], static_cast<long>(found.indices[wanted]),
             static_cast<long>(wanted / k), sum(wanted));
    }
  }
}

void test_beams_refused() {
  NOW("beam_candidates with bad arguments");
  const auto refused = [](int64_t inputs, int64_t beams, int64_t stride, int64_t k, int64_t keep, const float* scores) {
    const float logits[6] = {};
    float sums[2] = {9, 9}, logprobs[2], best_values[3];
    int64_t tokens[2], rows[2], best_indices[3];
    expect(fuseline_beam_candidates(logits, inputs, beams, 3, stride, scores, 0, k, keep, sums, logprobs, tokens, rows,
                                    best_values, best_indices) == FUSELINE_BAD_ARGUMENT,
           "it is not refused");
    expect(sums[0] == 9 && sums[1] == 9, "something was written");
  };
  const float scores[2] = {};
  refused(-1, 2, 3, 2, 2, scores);
  refused(1, 0, 3, 2, 2, scores);
  refused(1, 2, 2, 2, 2, scores);  // rows would overlap
  refused(1, 2, 3, 0, 2, scores);
  refused(1, 2, 3, 4, 2, scores);  // more than the vocabulary
  refused(1, 2, 3, 2, 0, scores);
  refused(1, 2, 3, 2, 2, nullptr);
}

}  // namespace

void test_top_candidates(Random& random, int cases) {
  test_beams_refused();
  for (int i = 0; i < cases; ++i) {
    test_rows(random);
    test_beams(random);
  }
}

}  // namespace testing
