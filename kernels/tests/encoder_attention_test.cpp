// An encoder's self-attention: random sizes, lengths and windows, with memory that ends where what is read does, and what is refused.
#include <numeric>

#include "attending.h"
#include "fuseline_kernels.h"

namespace testing {
namespace {

void compute(const fuseline_encoder_attention& a, int threads) {
  in_parts(fuseline_encoder_attention_jobs(&a), threads, [&](int64_t first, int64_t last) {
    Buffer<float> scratch(fuseline_encoder_attention_scratch(&a));
    fuseline_encoder_attention_part(&a, first, last, scratch.data());
  });
}

int64_t numbers_of(const fuseline_encoder_attention& a, Buffer<int64_t>& lengths) {
  return a.inputs == 0 ? 0 : ((a.inputs - 1) * a.positions + lengths[a.inputs - 1]) * 3 * a.heads * a.head_size;
}

// The outputs of input b, against double precision.
void check_input(const fuseline_encoder_attention& a, int64_t b) {
  const int64_t width = a.heads * a.head_size, n = a.lengths[b], most = a.distances - 1;
  const float* qkv = a.qkv + b * a.positions * 3 * width;
  for (int64_t q = 0; q < a.positions; ++q)
    for (int64_t h = 0; h < a.heads; ++h) {
      const auto bias = [&](int64_t p) {
        return a.distance_bias == nullptr
                   ? 0
                   : a.distance_bias[h * (2 * most + 1) + std::max(-most, std::min(p - q, most)) + most];
      };
      const auto key = [&](int64_t p) { return qkv + (3 * p + 1) * width + h * a.head_size; };
      const float* found = a.mixed + (b * a.positions + q) * width + h * a.head_size;
      if (q < n)
        check(found, attend(qkv + 3 * q * width + h * a.head_size, a.head_size, n, a.scale, key,
                            [&](int64_t p) { return key(p) + width; }, bias, a.format == FUSELINE_BFLOAT16));
      else
        for (int64_t d = 0; d < a.head_size; ++d) expect(found[d] == 0, "beyond the length there is %g", static_cast<double>(found[d]));
    }
}

void test_one(Random& random) {
  fuseline_encoder_attention a{};
  a.format = random.chance(0.5) ? FUSELINE_BFLOAT16 : FUSELINE_FLOAT;
  a.inputs = random.whole(0, 3);
  a.positions = random.whole(0, random.chance(0.2) ? 600 : 40);
  a.heads = random.whole(1, a.positions > 100 ? 1 : 3);
  a.head_size = random.whole(1, 80);
  a.scale = random.normal() * 0.3f;
  a.distances = random.chance(0.5) ? random.whole(1, 50) : 0;
  NOW("an encoder's attention, format %d, %ld inputs of %ld, %ld x %ld, %ld distances", a.format, static_cast<long>(a.inputs),
      static_cast<long>(a.positions), static_cast<long>(a.heads), static_cast<long>(a.head_size), static_cast<long>(a.distances));
  const int64_t width = a.heads * a.head_size;
  Buffer<int64_t> lengths(a.inputs);
  fill_lengths(random, lengths, a.positions);
  Buffer<float> qkv(numbers_of(a, lengths)), mixed(a.inputs * a.positions * width);
  Buffer<float> bias(a.distances == 0 ? 0 : a.heads * (2 * a.distances - 1));
  fill(random, qkv);
  for (int64_t i = 0; i < qkv.size(); ++i)
    if (i / (3 * width) % a.positions >= lengths[i / (3 * width) / a.positions]) qkv[i] = NAN;
  for (float& each : bias) each = random.normal();
  for (float& each : mixed) each = NAN;
  a.qkv = qkv.data();
  a.lengths = lengths.data();
  a.mixed = mixed.data();
  if (a.distances > 0) a.distance_bias = bias.data();
  expect(fuseline_encoder_attention_begin(&a) == FUSELINE_OK, "it is refused");
  compute(a, 1);
  for (int64_t b = 0; b < a.inputs; ++b) check_input(a, b);
  const std::vector<float> alone(mixed.begin(), mixed.end());
  compute(a, 2);
  expect(std::equal(alone.begin(), alone.end(), mixed.begin(), same), "two threads give something else than one");
  for (int64_t b = 0; b < a.inputs; ++b) {  // alone, and without padding
    const int64_t n = lengths[b];
    Buffer<float> own(n * width);
    fuseline_encoder_attention one = a;
    one.inputs = 1;
    one.positions = n;
    one.qkv += b * a.positions * 3 * width;
    one.lengths += b;
    one.mixed = own.data();
    compute(one, 1);
    expect(std::equal(own.begin(), own.end(), mixed.begin() + b * a.positions * width, same), "an input depends on the others");
  }
}

// The outputs of a place in a window of input b, of head h.
void check_place(const fuseline_encoder_attention& a, int64_t b, int64_t window, int64_t place, int64_t h) {
  const int64_t width = a.heads * a.head_size, n = a.positions / a.windows;
  const int64_t *places = a.places + window * n, *regions = a.regions == nullptr ? nullptr : a.regions + window * n;
  std::vector<int64_t> seen;
  for (int64_t p = 0; p < n; ++p)
    if (regions == nullptr || regions[p] == regions[place]) seen.push_back(p);
  const auto of = [&](int64_t p) { return a.qkv + (b * a.positions + places[p]) * 3 * width + h * a.head_size; };
  const auto at = [&](int64_t i) { return seen[static_cast<size_t>(i)]; };
  const auto bias = [&](int64_t i) { return a.place_bias == nullptr ? 0 : a.place_bias[(h * n + place) * n + at(i)]; };
  check(a.mixed + (b * a.positions + places[place]) * width + h * a.head_size,
        attend(of(place), a.head_size, static_cast<int64_t>(seen.size()), a.scale, [&](int64_t i) { return of(at(i)) + width; },
               [&](int64_t i) { return of(at(i)) + 2 * width; }, bias, a.format == FUSELINE_BFLOAT16));
}

void test_windows(Random& random) {
  fuseline_encoder_attention a{};
  a.format = random.chance(0.5) ? FUSELINE_BFLOAT16 : FUSELINE_FLOAT;
  const int64_t n = random.whole(1, random.chance(0.1) ? 300 : 40), kinds = random.whole(1, 4);
  a.inputs = random.whole(0, 2);
  a.windows = random.whole(1, 4);
  a.positions = n * a.windows;
  a.heads = random.whole(1, n > 100 ? 1 : 3);
  a.head_size = random.whole(1, 80);
  a.scale = random.normal() * 0.3f;
  NOW("an encoder's attention, format %d, %ld inputs of %ld windows of %ld, %ld x %ld, %ld regions", a.format, static_cast<long>(a.inputs),
      static_cast<long>(a.windows), static_cast<long>(n), static_cast<long>(a.heads), static_cast<long>(a.head_size),
      static_cast<long>(kinds));
  const int64_t width = a.heads * a.head_size;
  Buffer<float> qkv(a.inputs * a.positions * 3 * width), mixed(a.inputs * a.positions * width), bias(a.heads * n * n);
  Buffer<int64_t> places(a.positions), regions(a.positions);
  for (float& each : qkv) each = random.normal();
  for (float& each : bias) each = random.normal();
  for (float& each : mixed) each = NAN;
  for (int64_t& each : regions) each = random.whole(0, kinds - 1) * (int64_t{1} << 40);
  std::iota(places.begin(), places.end(), int64_t{0});
  for (int64_t i = a.positions - 1; i > 0; --i) std::swap(places[i], places[random.whole(0, i)]);
  a.qkv = qkv.data();
  a.mixed = mixed.data();
  a.places = places.data();
  if (random.chance(0.7)) a.regions = regions.data();
  if (random.chance(0.7)) a.place_bias = bias.data();
  expect(fuseline_encoder_attention_begin(&a) == FUSELINE_OK, "it is refused");
  compute(a, 1);
  for (int64_t i = 0; i < a.inputs * a.positions * a.heads; ++i)
    check_place(a, i / a.heads / a.positions, i / a.heads / n % a.windows, i / a.heads % n, i % a.heads);
  const std::vector<float> alone(mixed.begin(), mixed.end());
  compute(a, 2);
  expect(std::equal(alone.begin(), alone.end(), mixed.begin(), same), "two threads give something else than one");
}

void test_refused_windows() {
  NOW("an encoder's attention in windows that are none");
  float memory[24] = {}, mixed[8] = {};
  const int64_t places[] = {1, 0}, twice[] = {1, 1}, regions[] = {5, 5}, lengths[] = {2};
  const fuseline_encoder_attention good{FUSELINE_FLOAT, 1, 2, 2, 2, 1, memory, nullptr, nullptr, 0, mixed, 1, places, regions, memory};
  const auto refused = [&](auto change, fuseline_status with = FUSELINE_BAD_ARGUMENT) {
    fuseline_encoder_attention a = good;
    change(a);
    const fuseline_status status = fuseline_encoder_attention_begin(&a);
    expect(status == with, "the status is %d, not %d", status, with);
  };
  typedef fuseline_encoder_attention& A;
  refused([](A) {}, FUSELINE_OK);
  refused([](A a) { a.windows = 2; }, FUSELINE_OK);
  refused([](A a) { a.regions = nullptr, a.place_bias = nullptr; }, FUSELINE_OK);
  for (const int64_t count : {int64_t{-1}, int64_t{0}, int64_t{3}, INT64_MAX, INT64_MIN}) refused([&](A a) { a.windows = count; });
  for (const int64_t many : {INT64_MAX, INT64_MAX / 2, int64_t{1} << 58}) {
    refused([&](A a) { a.positions = many; });
    refused([&](A a) { a.heads = many; });
  }
  refused([](A a) { a.places = nullptr; });
  refused([&](A a) { a.lengths = lengths; });
  refused([&](A a) { a.distance_bias = memory, a.distances = 1; });
  refused([&](A a) { a.places = twice; }, FUSELINE_OUT_OF_RANGE);
  for (const int64_t place : {int64_t{-1}, int64_t{2}, INT64_MAX, INT64_MIN}) {
    const int64_t wrong[] = {0, place};
    refused([&](A a) { a.places = wrong; }, FUSELINE_OUT_OF_RANGE);
  }
}

void test_refusals() {
  NOW("an encoder's attention that is none");
  float memory[24] = {}, mixed[8] = {};
  const int64_t lengths[] = {2};
  const fuseline_encoder_attention good{FUSELINE_FLOAT, 1, 2, 2, 2, 1, memory, lengths, memory, 1, mixed, 0, nullptr, nullptr, nullptr};
  const auto refused = [&](auto change, fuseline_status with = FUSELINE_BAD_ARGUMENT) {
    fuseline_encoder_attention a = good;
    change(a);
    const fuseline_status status = fuseline_encoder_attention_begin(&a);
    expect(status == with, "the status is %d, not %d", status, with);
  };
  typedef fuseline_encoder_attention& A;
  refused([](A) {}, FUSELINE_OK);
  refused([](A a) { a.format = FUSELINE_BFLOAT16; }, FUSELINE_OK);
  for (const int32_t format : {FUSELINE_HALF + 0, FUSELINE_INT8 + 0, -1, 5}) refused([&](A a) { a.format = format; });
  refused([](A a) { a.inputs = -1; });
  refused([](A a) { a.positions = -1; });
  refused([](A a) { a.heads = 0; });
  refused([](A a) { a.head_size = 0; });
  for (const int64_t many : {INT64_MAX, INT64_MAX / 2, int64_t{1} << 58}) {
    refused([&](A a) { a.inputs = many; });
    refused([&](A a) { a.positions = many; });
    refused([&](A a) { a.heads = many; });
    refused([&](A a) { a.head_size = many; });
    refused([&](A a) { a.distances = many; });
  }
  refused([](A a) { a.distances = 0; });
  refused([](A a) { a.distances = -1; });
  refused([](A a) { a.qkv = nullptr; });
  refused([](A a) { a.lengths = nullptr; });
  refused([](A a) { a.mixed = nullptr; });
  for (const int64_t length : {int64_t{-1}, int64_t{3}, INT64_MIN, INT64_MAX})
    refused([&](A a) { a.lengths = &length; }, FUSELINE_OUT_OF_RANGE);
}

}  // namespace

void test_encoder_attention(Random& random, int cases) {
  for (int i = 0; i < cases; ++i) test_one(random);
  for (int i = 0; i < cases; ++i) test_windows(random);
  test_refused_windows();
  test_refusals();
}

}  // namespace testing
