// Resizing photos against plain loops in double precision; tests/kernels/test_resizing.py holds it to Pillow, to the bit.
#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {
namespace {

double weight(int32_t filter, double x) {
  x = std::fabs(x);
  if (filter == FUSELINE_TRIANGLE) return std::max(0.0, 1 - x);
  if (x < 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
  return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

// What one result along a side is made of: a weight for each pixel.
std::vector<double> weights(int32_t filter, int64_t pixels, double begin, double end, int64_t results, int64_t result) {
  const double scale = (end - begin) / static_cast<double>(results), wide = std::max(1.0, scale);
  const double support = (filter == FUSELINE_TRIANGLE ? 1 : 2) * wide, center = begin + (static_cast<double>(result) + 0.5) * scale;
  std::vector<double> found(static_cast<size_t>(pixels));
  double total = 0;
  for (int64_t i = 0; i < pixels; ++i) {
    const bool there = i >= std::floor(center - support + 0.5) && i < std::floor(center + support + 0.5);
    found[static_cast<size_t>(i)] = there ? weight(filter, (static_cast<double>(i) + 0.5 - center) / wide) : 0;
    total += found[static_cast<size_t>(i)];
  }
  for (double& each : found) each /= total;
  return found;
}

void test_photo(Random& random) {
  fuseline_resizing r{};
  r.height = random.whole(1, 50);
  r.width = random.whole(1, 70);
  r.rows = random.whole(1, 40);
  r.columns = random.whole(1, 40);
  r.filter = static_cast<int32_t>(random.whole(0, 1));
  r.right = static_cast<float>(r.width);
  r.lower = static_cast<float>(r.height);
  if (random.chance(0.3)) {
    r.left = r.right * 0.25f;
    r.lower *= 0.75f;
  }
  NOW("resizing %ld x %ld to %ld x %ld, filter %d", static_cast<long>(r.height), static_cast<long>(r.width),
      static_cast<long>(r.rows), static_cast<long>(r.columns), r.filter);
  Buffer<uint8_t> pixels(r.height * r.width * 3), results(r.rows * r.columns * 3);
  for (uint8_t& each : pixels) each = static_cast<uint8_t>(random.whole(70, 185));  // so that no sum leaves 0 to 255
  r.pixels = pixels.data();
  r.results = results.data();
  expect(fuseline_resize(&r) == FUSELINE_OK, "it is refused");
  for (int64_t row = 0; row < r.rows; ++row) {
    const std::vector<double> down = weights(r.filter, r.height, r.upper, r.lower, r.rows, row);
    for (int64_t column = 0; column < r.columns; ++column) {
      const std::vector<double> across = weights(r.filter, r.width, r.left, r.right, r.columns, column);
      for (int64_t c = 0; c < 3; ++c) {
        double value = 0;
        for (int64_t y = 0; y < r.height; ++y)
          for (int64_t x = 0; x < r.width; ++x)
            value += down[static_cast<size_t>(y)] * across[static_cast<size_t>(x)] * pixels[(y * r.width + x) * 3 + c];
        const int found = results[(row * r.columns + column) * 3 + c];
        // Rounded between the two sides, of which the weights' sizes sum up to at most 1.5.
        expect(std::fabs(found - value) <= 1.3, "[%ld, %ld, %ld] is %d, not %.3f", static_cast<long>(row), static_cast<long>(column),
               static_cast<long>(c), found, value);
      }
    }
  }
}

void test_refusals() {
  NOW("photos that cannot be resized");
  uint8_t pixels[4 * 5 * 3] = {}, results[2 * 3 * 3];
  const fuseline_resizing good{4, 5, pixels, 0, 0, 5, 4, 2, 3, FUSELINE_CUBIC, results};
  const auto bad = [&](auto change) {
    fuseline_resizing r = good;
    change(r);
    expect(fuseline_resize(&r) == FUSELINE_BAD_ARGUMENT, "it is taken");
  };
  bad([](fuseline_resizing& r) { r.height = 0; });
  bad([](fuseline_resizing& r) { r.width = INT64_MAX; });
  bad([](fuseline_resizing& r) { r.rows = -1; });
  bad([](fuseline_resizing& r) { r.columns = int64_t{1} << 40; });
  bad([](fuseline_resizing& r) { r.left = -1; });
  bad([](fuseline_resizing& r) { r.right = 5.5f; });
  bad([](fuseline_resizing& r) { r.upper = r.lower; });
  bad([](fuseline_resizing& r) { r.lower = NAN; });
  bad([](fuseline_resizing& r) { r.filter = 2; });
  bad([](fuseline_resizing& r) { r.filter = -1; });
  bad([](fuseline_resizing& r) { r.pixels = nullptr; });
  bad([](fuseline_resizing& r) { r.results = nullptr; });
}

}  // namespace

void test_resizing(Random& random, int cases) {
  for (int i = 0; i < cases / 4 + 1; ++i) test_photo(random);
  test_refusals();
}

}  // namespace testing
