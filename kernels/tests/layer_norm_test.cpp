// Norms: random sizes and rows, with large means and extreme numbers, in one thread and in two.
#include <algorithm>

#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {
namespace {

void test_norm(Random& random) {
  fuseline_layer_norm l{};
  l.rows = random.whole(0, 9);
  l.width = random.whole(1, random.chance(0.2) ? 900 : 100);
  l.epsilon = random.chance(0.5) ? 1e-5f : 1e-12f;
  NOW("layer norm, %ld x %ld, epsilon %g", static_cast<long>(l.rows), static_cast<long>(l.width), l.epsilon);
  Buffer<float> x(l.rows * l.width), scale(l.width), bias(l.width), y(x.size());
  const double mean = random.chance(0.3) ? random.normal() * 1000 : 0, size = std::pow(10, random.whole(-3, 3));
  for (float& each : x) each = static_cast<float>(mean + size * random.normal());
  for (float& each : scale) each = random.normal();
  for (float& each : bias) each = random.normal();
  const int64_t broken = l.rows > 0 && random.chance(0.2) ? random.whole(0, l.rows - 1) : -1;
  if (broken >= 0) x[broken * l.width + random.whole(0, l.width - 1)] = random.chance(0.5) ? NAN : INFINITY;
  l.x = x.data();
  l.scale = scale.data();
  l.bias = bias.data();
  l.y = y.data();
  expect(fuseline_layer_norm_begin(&l) == FUSELINE_OK, "it is refused");
  const auto compute = [&](int threads) {
    in_parts(l.rows, threads, [&](int64_t first, int64_t last) { fuseline_layer_norm_part(&l, first, last); });
  };
  compute(1);
  for (int64_t r = 0; r < l.rows; ++r) {
    const float* row = x.data() + r * l.width;
    double total = 0, square = 0, largest = 0;
    for (int64_t i = 0; i < l.width; ++i) total += row[i];
    const double middle = total / static_cast<double>(l.width);
    for (int64_t i = 0; i < l.width; ++i) {
      square += (row[i] - middle) * (row[i] - middle);
      largest = std::max(largest, std::fabs(static_cast<double>(row[i])));
    }
    const double deviation = std::sqrt(square / static_cast<double>(l.width) + static_cast<double>(l.epsilon));
    // The mean is a sum of float32, off by some units of the largest number, and every element with it.
    const double off = 8 * kUnit * (largest + std::fabs(middle)) / deviation;
    for (int64_t i = 0; i < l.width; ++i) {
      const double part = (row[i] - middle) / deviation * static_cast<double>(scale[i]), exact = part + static_cast<double>(bias[i]);
      const double tolerance = off * (std::fabs(static_cast<double>(scale[i])) + std::fabs(part)) +
                               8 * kUnit * (std::fabs(part) + std::fabs(exact));
      const float found = y[r * l.width + i];
      expect(r == broken ? std::isnan(found) : near(found, exact, tolerance), "[%ld, %ld] is %.9g, not %.9g +- %.2g",
             static_cast<long>(r), static_cast<long>(i), static_cast<double>(found), exact, tolerance);
    }
  }
  const std::vector<float> alone(y.begin(), y.end());
  l.y = x.data();  // its own memory takes the result
  compute(2);
  for (int64_t i = 0; i < x.size(); ++i) expect(same(x[i], alone[static_cast<size_t>(i)]), "two threads give another number");
}

void test_rms(Random& random) {
  fuseline_rms_norm l{};
  l.rows = random.whole(0, 9);
  l.width = random.whole(1, random.chance(0.2) ? 900 : 100);
  l.epsilon = random.chance(0.5) ? 1e-6f : 1e-12f;
  NOW("RMS norm, %ld x %ld, epsilon %g", static_cast<long>(l.rows), static_cast<long>(l.width), static_cast<double>(l.epsilon));
  Buffer<float> x(l.rows * l.width), scale(l.width), y(x.size());
  const double size = std::pow(10, random.whole(-3, 3));
  for (float& each : x) each = static_cast<float>(size * random.normal());
  for (float& each : scale) each = random.normal();
  const int64_t broken = l.rows > 0 && random.chance(0.2) ? random.whole(0, l.rows - 1) : -1;
  if (broken >= 0) x[broken * l.width + random.whole(0, l.width - 1)] = NAN;
  l.x = x.data();
  l.scale = scale.data();
  l.y = y.data();
  expect(fuseline_rms_norm_begin(&l) == FUSELINE_OK, "it is refused");
  const auto compute = [&](int threads) {
    in_parts(l.rows, threads, [&](int64_t first, int64_t last) { fuseline_rms_norm_part(&l, first, last); });
  };
  compute(1);
  for (int64_t r = 0; r < l.rows; ++r) {
    double square = 0;
    for (int64_t i = 0; i < l.width; ++i) square += static_cast<double>(x[r * l.width + i]) * static_cast<double>(x[r * l.width + i]);
    const double root = std::sqrt(square / static_cast<double>(l.width) + static_cast<double>(l.epsilon));
    for (int64_t i = 0; i < l.width; ++i) {
      const double exact = static_cast<double>(x[r * l.width + i]) / root * static_cast<double>(scale[i]);
      // A sum of squares in 64 parts at once is off by as many units as each of them has numbers.
      const double tolerance = (16 + static_cast<double>(l.width) / 64) * kUnit * std::fabs(exact) + kLeast;
      const float found = y[r * l.width + i];
      expect(r == broken ? std::isnan(found) : near(found, exact, tolerance), "[%ld, %ld] is %.9g, not %.9g +- %.2g",
             static_cast<long>(r), static_cast<long>(i), static_cast<double>(found), exact, tolerance);
    }
  }
  const std::vector<float> alone(y.begin(), y.end());
  l.y = x.data();  // its own memory takes the result
  compute(2);
  for (int64_t i = 0; i < x.size(); ++i) expect(same(x[i], alone[static_cast<size_t>(i)]), "two threads give another number");
}

void test_refusals() {
  NOW("layer norms that are none");
  float memory[4] = {};
  const fuseline_layer_norm good{1, 4, 1e-5f, memory, memory, memory, memory};
  const auto refused = [&](auto change) {
    fuseline_layer_norm l = good;
    change(l);
    expect(fuseline_layer_norm_begin(&l) == FUSELINE_BAD_ARGUMENT, "it is taken");
  };
  refused([](fuseline_layer_norm& l) { l.rows = -1; });
  refused([](fuseline_layer_norm& l) { l.width = 0; });
  refused([](fuseline_layer_norm& l) { l.x = nullptr; });
  refused([](fuseline_layer_norm& l) { l.scale = nullptr; });
  refused([](fuseline_layer_norm& l) { l.bias = nullptr; });
  refused([](fuseline_layer_norm& l) { l.y = nullptr; });
  NOW("RMS norms that are none");
  const fuseline_rms_norm good_rms{1, 4, 1e-6f, memory, memory, memory};
  const auto refused_rms = [&](auto change) {
    fuseline_rms_norm l = good_rms;
    change(l);
    expect(fuseline_rms_norm_begin(&l) == FUSELINE_BAD_ARGUMENT, "it is taken");
  };
  refused_rms([](fuseline_rms_norm& l) { l.rows = -1; });
  refused_rms([](fuseline_rms_norm& l) { l.rows = INT64_MAX; });
  refused_rms([](fuseline_rms_norm& l) { l.width = 0; });
  refused_rms([](fuseline_rms_norm& l) { l.x = nullptr; });
  refused_rms([](fuseline_rms_norm& l) { l.scale = nullptr; });
  refused_rms([](fuseline_rms_norm& l) { l.y = nullptr; });
}

}  // namespace

void test_layer_norm(Random& random, int cases) {
  for (int i = 0; i < cases; ++i) {
    test_norm(random);
    test_rms(random);
  }
  test_refusals();
}

}  // namespace testing
