// Convolutions from planes, and inverted bottlenecks: random sizes, kernels and strides, in one thread and in two.
#include <algorithm>
#include <utility>

#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {
namespace {

int64_t results(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

// The first of x that the window of a result covers: half of the zeros, rounded down, lie before the image.
int64_t begin_of(int64_t result, int64_t size, int64_t kernel, int64_t stride) {
  const int64_t zeros = std::max<int64_t>(0, (results(size, stride) - 1) * stride + kernel - size);
  return result * stride - zeros / 2;
}

double relu6(double x) { return std::min(6.0, std::max(0.0, x)); }

// --- from planes ------------------------------------------------------------------------------------------------------

struct Planes {
  fuseline_convolution c;
  Buffer<float> x, weight, bias, y;

  explicit Planes(const fuseline_convolution& sizes)
      : c(sizes),
        x(c.images * c.channels * c.height * c.width),
        weight(c.channels * c.kernel * c.kernel * c.outputs),
        bias(c.outputs),
        y(c.images * results(c.height, c.stride) * results(c.width, c.stride) * c.outputs) {
    c.x = x.data();
    c.weight = weight.data();
    c.bias = bias.data();
    c.y = y.data();
  }

  // A result, and the sum of the sizes of what it is the sum of.
  void exact(int64_t image, int64_t row, int64_t column, int64_t output, double* value, double* sizes) {
    const int64_t top = begin_of(row, c.height, c.kernel, c.stride), left = begin_of(column, c.width, c.kernel, c.stride);
    *value = bias[output];
    *sizes = std::fabs(*value);
    for (int64_t p = 0; p < c.channels; ++p)
      for (int64_t i = std::max<int64_t>(0, -top); i < std::min(c.kernel, c.height - top); ++i)
        for (int64_t j = std::max<int64_t>(0, -left); j < std::min(c.kernel, c.width - left); ++j) {
          const double term = static_cast<double>(x[((image * c.channels + p) * c.height + top + i) * c.width + left + j]) *
                              weight[((p * c.kernel + i) * c.kernel + j) * c.outputs + output];
          *value += term;
          *sizes += std::fabs(term);
        }
  }
};

void compute(Planes& planes, int threads) {
  const fuseline_convolution& c = planes.c;
  expect(fuseline_convolution_begin(&c) == FUSELINE_OK, "it is refused");
  in_parts(c.images * fuseline_convolution_rows(&c), threads, [&](int64_t first, int64_t last) {
    Buffer<float> scratch(fuseline_convolution_scratch(&c));
    fuseline_convolution_part(&c, first, last, scratch.data());
  });
}

void test_planes(Random& random) {
  fuseline_convolution sizes{};
  sizes.images = random.whole(0, 2);
  sizes.channels = random.whole(1, 4);
  sizes.height = random.whole(1, 17);
  sizes.width = random.whole(1, 17);
  sizes.outputs = random.whole(1, 50);
  sizes.kernel = random.whole(1, 5);
  sizes.stride = random.whole(1, 3);
  NOW("convolution, %ld x %ld x %ld x %ld to %ld, kernel %ld, stride %ld", static_cast<long>(sizes.images),
      static_cast<long>(sizes.channels), static_cast<long>(sizes.height), static_cast<long>(sizes.width),
      static_cast<long>(sizes.outputs), static_cast<long>(sizes.kernel), static_cast<long>(sizes.stride));
  Planes planes(sizes);
  for (Buffer<float>* each : {&planes.x, &planes.weight, &planes.bias})
    for (float& number : *each) number = random.normal();
  compute(planes, 1);
  const fuseline_convolution& c = planes.c;
  const double unit = static_cast<double>(c.channels * c.kernel * c.kernel + 1) * kUnit;
  int64_t at = 0;
  for (int64_t image = 0; image < c.images; ++image)
    for (int64_t row = 0; row < results(c.height, c.stride); ++row)
      for (int64_t column = 0; column < results(c.width, c.stride); ++column)
        for (int64_t o = 0; o < c.outputs; ++o, ++at) {
          double value, sum;
          planes.exact(image, row, column, o, &value, &sum);
          expect(near(planes.y[at], relu6(value), unit * sum + kLeast), "[%ld, %ld, %ld, %ld] is %.9g, not %.9g",
                 static_cast<long>(image), static_cast<long>(row), static_cast<long>(column), static_cast<long>(o), planes.y[at],
                 relu6(value));
        }
  const std::vector<float> alone(planes.y.begin(), planes.y.end());
  compute(planes, 2);
  expect(std::equal(alone.begin(), alone.end(), planes.y.begin()), "two threads give other numbers");
}

// --- inverted bottlenecks -----------------------------------------------------------------------------------------------

int64_t blocks(int64_t outputs) { return (outputs + 15) / 16; }
int64_t quads(int64_t inputs) { return (inputs + 3) / 4; }

struct Bottleneck {
  fuseline_bottleneck b;
  Buffer<float> x, expand_scale, expand_bias, depthwise, depthwise_bias, project_scale, project_bias, y;
  Buffer<uint8_t> expand, project;

  Bottleneck(const fuseline_bottleneck& sizes, bool widens)
      : b(sizes),
        x(b.images * b.height * b.width * b.channels),
        expand_scale(b.middle),
        expand_bias(b.middle),
        depthwise(b.kernel * b.kernel * b.middle),
        depthwise_bias(b.middle),
        project_scale(b.outputs),
        project_bias(b.outputs),
        y(b.images * results(b.height, b.stride) * results(b.width, b.stride) * b.outputs),
        expand(blocks(b.middle) * quads(b.channels) * 64),
        project(blocks(b.outputs) * quads(b.middle) * 64) {
    b.x = x.data();
    b.expand = widens ? expand.data() : nullptr;
    b.expand_scale = expand_scale.data();
    b.expand_bias = expand_bias.data();
    b.depthwise = depthwise.data();
    b.depthwise_bias = depthwise_bias.data();
    b.project = project.data();
    b.project_scale = project_scale.data();
    b.project_bias = project_bias.data();
    b.y = y.data();
  }

  static double weight(Buffer<uint8_t>& codes, int64_t inputs, int64_t input, int64_t output) {
    return codes[((output / 16 * quads(inputs) + input / 4) * 16 + output % 16) * 4 + input % 4] - 128;
  }
};

// A number, and by how much float32 may miss it.
struct Near {
  double value, away;
};

// What the convolution reads at a position.
std::vector<Near> widened(Bottleneck& of, int64_t position) {
  const fuseline_bottleneck& b = of.b;
  const float* x = of.x.data() + position * b.channels;
  std::vector<Near> wide(static_cast<size_t>(b.middle));
  float largest = 0;
  for (int64_t i = 0; i < b.channels; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float step = std::max(largest * (1.0f / 127.0f), 1e-30f);
  for (int64_t m = 0; m < b.middle; ++m) {
    Near& each = wide[static_cast<size_t>(m)];
    if (b.expand == nullptr) {
      each = {x[m], 0};
      continue;
    }
    double whole = 0;
    for (int64_t i = 0; i < b.channels; ++i)
      whole += std::nearbyintf(x[i] / step) * Bottleneck::weight(of.expand, b.channels, i, m);
    const double product = whole * step * of.expand_scale[m];
    each = {relu6(product + of.expand_bias[m]), 4 * kUnit * (std::fabs(product) + std::fabs(of.expand_bias[m]))};
  }
  return wide;
}

// The codes that the second layer reads of a result, each with how many steps it may be away.
std::vector<Near> active(Bottleneck& of, const std::vector<std::vector<Near>>& wide, int64_t row, int64_t column) {
  const fuseline_bottleneck& b = of.b;
  const int64_t top = begin_of(row, b.height, b.kernel, b.stride), left = begin_of(column, b.width, b.kernel, b.stride);
  std::vector<Near> codes(static_cast<size_t>(b.middle));
  for (int64_t m = 0; m < b.middle; ++m) {
    double sum = of.depthwise_bias[m], sizes = std::fabs(sum), away = 0;
    for (int64_t i = std::max<int64_t>(0, -top); i < std::min(b.kernel, b.height - top); ++i)
      for (int64_t j = std::max<int64_t>(0, -left); j < std::min(b.kernel, b.width - left); ++j) {
        const double weight = of.depthwise[(i * b.kernel + j) * b.middle + m];
        const Near& each = wide[static_cast<size_t>((top + i) * b.width + left + j)][static_cast<size_t>(m)];
        sum += weight * each.value;
        sizes += std::fabs(weight * each.value);
        away += std::fabs(weight) * each.away;
      }
    away += static_cast<double>(b.kernel * b.kernel + 1) * kUnit * sizes;
    const double code = relu6(sum) * 127 / 6, near = away * 127 / 6 + 127 * 4 * kUnit;
    const double most = std::nearbyint(relu6(sum + away) * 127 / 6 + near), least = std::nearbyint(relu6(sum - away) * 127 / 6 - near);
    codes[static_cast<size_t>(m)] = {std::nearbyint(code), most - least};
  }
  return codes;
}

void check_image(Bottleneck& of, int64_t image) {
  const fuseline_bottleneck& b = of.b;
  std::vector<std::vector<Near>> wide;
  for (int64_t position = 0; position < b.height * b.width; ++position)
    wide.push_back(widened(of, image * b.height * b.width + position));
  const int64_t rows = results(b.height, b.stride), columns = results(b.width, b.stride);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      const std::vector<Near> codes = active(of, wide, row, column);
      for (int64_t o = 0; o < b.outputs; ++o) {
        double whole = 0, away = 0;
        for (int64_t m = 0; m < b.middle; ++m) {
          const double weight = Bottleneck::weight(of.project, b.middle, m, o);
          whole += weight * codes[static_cast<size_t>(m)].value;
          away += std::fabs(weight) * codes[static_cast<size_t>(m)].away;
        }
        const double step = of.project_scale[o] * 6.0 / 127, product = whole * step;
        const int64_t at = ((image * rows + row) * columns + column) * b.outputs + o;
        double value = product + of.project_bias[o], sizes = std::fabs(product) + std::fabs(of.project_bias[o]);
        if (b.adds != 0) {
          value += of.x[at];
          sizes += std::fabs(of.x[at]);
        }
        expect(near(of.y[at], value, away * std::fabs(step) + 5 * kUnit * sizes), "[%ld, %ld, %ld, %ld] is %.9g, not %.9g",
               static_cast<long>(image), static_cast<long>(row), static_cast<long>(column), static_cast<long>(o), of.y[at], value);
      }
    }
}

void compute(Bottleneck& of, int threads) {
  const fuseline_bottleneck& b = of.b;
  expect(fuseline_bottleneck_begin(&b) == FUSELINE_OK, "it is refused");
  expect(fuseline_bottleneck_scales(&b) == FUSELINE_OK, "its scales are refused");
  Buffer<int64_t> scratch((fuseline_bottleneck_scratch(&b) + 7) / 8);
  for (int64_t image = 0; image < b.images; ++image) {
    in_parts(fuseline_bottleneck_read_jobs(&b), threads,
             [&](int64_t first, int64_t last) { fuseline_bottleneck_read(&b, scratch.data(), image, first, last); });
    in_parts(fuseline_bottleneck_convolve_jobs(&b), threads, [&](int64_t first, int64_t last) {
      Buffer<int64_t> own((fuseline_bottleneck_own(&b) + 7) / 8);
      fuseline_bottleneck_convolve(&b, scratch.data(), own.data(), image, first, last);
    });
    in_parts(fuseline_bottleneck_project_jobs(&b), threads,
             [&](int64_t first, int64_t last) { fuseline_bottleneck_project(&b, scratch.data(), image, first, last); });
  }
}

fuseline_bottleneck random_bottleneck(Random& random, bool widens) {
  fuseline_bottleneck b{};
  b.images = random.whole(0, 2);
  b.height = random.whole(1, 12);
  b.width = random.whole(1, 12);
  b.channels = random.whole(1, 40);
  b.middle = random.chance(0.7) ? 16 * random.whole(1, 4) : random.whole(1, 70);
  b.outputs = random.whole(1, 40);
  b.kernel = random.chance(0.8) ? 3 + 2 * random.whole(0, 1) : random.whole(1, 7);
  b.stride = random.chance(0.8) ? random.whole(1, 2) : random.whole(1, 4);
  if (!widens) b.channels = b.middle;
  if (b.stride == 1 && random.chance(0.5)) {
    b.outputs = b.channels;
    b.adds = 1;
  }
  return b;
}

void fill(Random& random, Bottleneck& of) {
  for (Buffer<float>* each : {&of.x, &of.expand_bias, &of.depthwise_bias, &of.project_bias})
    for (float& number : *each) number = random.normal();
  for (float& each : of.depthwise) each = random.normal() * 0.3f;
  for (Buffer<uint8_t>* each : {&of.expand, &of.project})
    for (uint8_t& code : *each) code = static_cast<uint8_t>(random.whole(0, 255));
  const bool extreme = random.chance(0.2);  // the largest sums that there are
  if (extreme) std::fill(of.project.begin(), of.project.end(), uint8_t{0});
  if (extreme) std::fill(of.depthwise_bias.begin(), of.depthwise_bias.end(), 100.0f);
  for (Buffer<float>* each : {&of.expand_scale, &of.project_scale})
    for (float& number : *each) number = (random.chance(0.5) ? 1.0f : -1.0f) * static_cast<float>(0.001 + 0.01 * random.unit());
}

void test_bottleneck(Random& random) {
  const bool widens = random.chance(0.7);
  Bottleneck of(random_bottleneck(random, widens), widens);
  const fuseline_bottleneck& b = of.b;
  NOW("bottleneck, %ld x %ld x %ld x %ld to %ld to %ld, widens %d, adds %d, kernel %ld, stride %ld", static_cast<long>(b.images),
      static_cast<long>(b.height), static_cast<long>(b.width), static_cast<long>(b.channels), static_cast<long>(b.middle),
      static_cast<long>(b.outputs), widens, b.adds, static_cast<long>(b.kernel), static_cast<long>(b.stride));
  fill(random, of);
  compute(of, 1);
  for (int64_t image = 0; image < b.images; ++image) check_image(of, image);
  const std::vector<float> alone(of.y.begin(), of.y.end());
  compute(of, 2);
  expect(std::equal(alone.begin(), alone.end(), of.y.begin()), "two threads give other numbers");
}

// So high that an image is several strips, in which widened rows come where others were.
void test_strips(Random& random) {
  for (const int64_t stride : {1, 2}) {
    fuseline_bottleneck sizes{};
    sizes.images = 2;
    sizes.height = 75;
    sizes.width = 19;
    sizes.channels = 5;
    sizes.middle = 80;
    sizes.outputs = 35;
    sizes.kernel = 5;
    sizes.stride = stride;
    NOW("bottleneck of several strips, stride %ld", static_cast<long>(stride));
    Bottleneck of(sizes, true);
    fill(random, of);
    expect(fuseline_bottleneck_convolve_jobs(&of.b) >= 2 * 3, "there is one strip");
    compute(of, 1);
    check_image(of, 1);
    const std::vector<float> alone(of.y.begin(), of.y.end());
    compute(of, 2);
    expect(std::equal(alone.begin(), alone.end(), of.y.begin()), "two threads give other numbers");
  }
}

void test_refusals(Random& random) {
  NOW("convolutions that are none");
  fuseline_convolution planes{1, 2, 5, 5, 3, 3, 1, nullptr, nullptr, nullptr, nullptr};
  Planes some(planes);
  const auto none = [&](auto change) {
    fuseline_convolution c = some.c;
    change(c);
    expect(fuseline_convolution_begin(&c) == FUSELINE_BAD_ARGUMENT, "it is taken");
  };
  none([](fuseline_convolution& c) { c.images = -1; });
  none([](fuseline_convolution& c) { c.channels = 0; });
  none([](fuseline_convolution& c) { c.height = 0; });
  none([](fuseline_convolution& c) { c.width = INT64_MAX; });
  none([](fuseline_convolution& c) { c.outputs = 0; });
  none([](fuseline_convolution& c) { c.kernel = 16; });
  none([](fuseline_convolution& c) { c.stride = 0; });
  none([](fuseline_convolution& c) { c.x = nullptr; });
  none([](fuseline_convolution& c) { c.y = nullptr; });
  fuseline_bottleneck sizes{};
  sizes.images = sizes.stride = sizes.adds = 1;
  sizes.height = sizes.width = 5;
  sizes.channels = sizes.outputs = 6;
  sizes.middle = 32;
  sizes.kernel = 3;
  Bottleneck of(sizes, true);
  fill(random, of);
  const auto refused = [&](fuseline_status reason, auto change) {
    fuseline_bottleneck b = of.b;
    change(b);
    expect(fuseline_bottleneck_begin(&b) == reason, "it is taken");
  };
  const auto bad = [&](auto change) { refused(FUSELINE_BAD_ARGUMENT, change); };
  refused(FUSELINE_OK, [](fuseline_bottleneck&) {});
  bad([](fuseline_bottleneck& b) { b.images = -1; });
  bad([](fuseline_bottleneck& b) { b.images = INT64_MAX; });
  bad([](fuseline_bottleneck& b) { b.height = 0; });
  bad([](fuseline_bottleneck& b) { b.middle = 0; });
  bad([](fuseline_bottleneck& b) { b.kernel = 0; });
  bad([](fuseline_bottleneck& b) { b.kernel = 16; });
  bad([](fuseline_bottleneck& b) { b.stride = 2; });    // and x added
  bad([](fuseline_bottleneck& b) { b.outputs = 7; });   // likewise
  bad([](fuseline_bottleneck& b) { b.expand = nullptr; });  // of 6 channels are 32
  bad([](fuseline_bottleneck& b) { b.expand_scale = nullptr; });
  bad([](fuseline_bottleneck& b) { b.depthwise = nullptr; });
  bad([](fuseline_bottleneck& b) { b.project_bias = nullptr; });
  bad([](fuseline_bottleneck& b) { b.y = nullptr; });
  NOW("scales of bottlenecks");
  for (Buffer<float>* each : {&of.expand_scale, &of.project_scale})
    for (const float wrong : {0.0f, INFINITY, NAN}) {
      const float before = std::exchange((*each)[each->size() - 1], wrong);
      expect(fuseline_bottleneck_scales(&of.b) == FUSELINE_BAD_SCALE, "a scale that is none is taken");
      (*each)[each->size() - 1] = before;
    }
}

}  // namespace

void test_convolutions(Random& random, int cases) {
  for (int i = 0; i < cases; ++i) test_planes(random);
  for (int i = 0; i < cases; ++i) test_bottleneck(random);
  test_strips(random);
  test_refusals(random);
}

}  // namespace testing
