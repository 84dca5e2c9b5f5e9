// Attention: random sizes, caches and beam tables, in one thread and in two, and what is refused.
#include "attending.h"
#include "fuseline_kernels.h"

namespace testing {
namespace {

struct SelfAttention {
  fuseline_self_attention a;
  int64_t width;
  Buffer<float> qkv, key, value, mixed, bias;
  Buffer<int64_t> table;

  explicit SelfAttention(const fuseline_self_attention& sizes)
      : a(sizes),
        width(a.heads * a.head_size),
        qkv(a.rows * a.tokens * 3 * width),
        key(a.capacity * a.rows * width),
        value(a.capacity * a.rows * width),
        mixed(a.rows * a.tokens * width),
        bias(a.heads * a.distances),
        table(a.rows * a.capacity) {
    a.qkv = qkv.data();
    a.key = key.data();
    a.value = value.data();
    a.mixed = mixed.data();
    a.beam_table = table.data();
    if (a.distances > 0) a.distance_bias = bias.data();
  }
  void compute(int threads) {
    in_parts(a.rows * a.tokens, threads, [&](int64_t first, int64_t last) {
      Buffer<float> scratch(fuseline_self_attention_scratch(&a));
      fuseline_self_attention_part(&a, first, last, scratch.data());
    });
  }
};

fuseline_self_attention random_self(Random& random) {
  fuseline_self_attention a{};
  a.rows = random.whole(0, 5);
  a.tokens = random.whole(1, 4);
  a.heads = random.whole(1, 3);
  a.head_size = random.whole(1, 80);
  a.position = random.whole(0, 20);
  a.capacity = a.position + a.tokens + random.whole(0, 3);
  a.scale = random.normal() * 0.3f;
  if (random.chance(0.5)) a.distances = random.whole(1, 30);
  return a;
}

void test_self_attention(Random& random) {
  SelfAttention self(random_self(random));
  fuseline_self_attention& a = self.a;
  NOW("self-attention, %ld rows x %ld tokens, %ld x %ld, position %ld of %ld", static_cast<long>(a.rows),
      static_cast<long>(a.tokens), static_cast<long>(a.heads), static_cast<long>(a.head_size), static_cast<long>(a.position),
      static_cast<long>(a.capacity));
  for (Buffer<float>* each : {&self.qkv, &self.key, &self.value}) fill(random, *each);
  for (float& each : self.bias) each = random.normal();
  for (int64_t& each : self.table) each = random.whole(0, a.rows - 1);
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t p = a.position + a.tokens; p < a.capacity; ++p) self.table[r * a.capacity + p] = -7;  // is not looked at
  std::vector<float> key(self.key.begin(), self.key.end()), value(self.value.begin(), self.value.end());
  expect(fuseline_self_attention_begin(&a) == FUSELINE_OK, "it is refused");
  for (int64_t n = 0; n < a.rows * a.tokens; ++n) {
    const int64_t at = ((a.position + n % a.tokens) * a.rows + n / a.tokens) * self.width;
    std::copy_n(a.qkv + (3 * n + 1) * self.width, self.width, key.begin() + at);
    std::copy_n(a.qkv + (3 * n + 2) * self.width, self.width, value.begin() + at);
  }
  expect(std::equal(key.begin(), key.end(), self.key.begin(), same) &&
             std::equal(value.begin(), value.end(), self.value.begin(), same),
         "the cache holds something else");
  self.compute(1);
  for (int64_t n = 0; n < a.rows * a.tokens; ++n)
    for (int64_t h = 0; h < a.heads; ++h) {
      const auto place = [&](int64_t p) {
        return (p * a.rows + self.table[n / a.tokens * a.capacity + p]) * self.width + h * a.head_size;
      };
      const int64_t last = a.position + n % a.tokens;
      const auto bias = [&](int64_t p) {
        return a.distances == 0 ? 0 : self.bias[h * a.distances + std::min(last - p, a.distances - 1)];
      };
      check(a.mixed + n * self.width + h * a.head_size,
            attend(
                a.qkv + n * 3 * self.width + h * a.head_size, a.head_size, last + 1, a.scale,
                [&](int64_t p) { return key.data() + place(p); }, [&](int64_t p) { return value.data() + place(p); }, bias));
    }
  const std::vector<float> alone(self.mixed.begin(), self.mixed.end());
  self.compute(2);
  expect(std::equal(alone.begin(), alone.end(), self.mixed.begin(), same), "two threads give something else than one");
}

struct CrossAttention {
  fuseline_cross_attention a;
  int64_t width;
  Buffer<int64_t> lengths;
  int64_t stored;  // numbers of keys: what is beyond the last input's length is not even memory
  Buffer<float> query, key, value, mixed;
  Buffer<uint16_t> half_key, half_value;

  CrossAttention(Random& random, const fuseline_cross_attention& sizes, bool padded)
      : a(sizes),
        width(a.heads * a.head_size),
        lengths(a.inputs),
        stored(numbers_of(random, padded)),
        query(a.queries * width),
        key(a.inputs * a.positions * width),
        value(key.size()),
        mixed(a.queries * width),
        half_key(a.format == FUSELINE_HALF ? stored : 0),
        half_value(half_key.size()) {
    a.query = query.data();
    a.mixed = mixed.data();
    if (padded) a.lengths = lengths.data();
  }
  int64_t numbers_of(Random& random, bool padded) {
    for (int64_t& each : lengths) each = a.positions;
    if (padded) fill_lengths(random, lengths, a.positions);
    if (a.inputs == 0) return 0;
    const int64_t last = lengths[a.inputs - 1];
    return a.format == FUSELINE_HALF ? ((a.inputs * a.heads - 1) * a.positions + last) * a.head_size
                                     : ((a.inputs - 1) * a.positions + last) * width;
  }
  // The place of a number of [inputs, positions, width] among halves.
  int64_t half_place(int64_t i) const {
    const int64_t d = i % a.head_size, head = i % width / a.head_size, position = i / width % a.positions;
    return ((i / width / a.positions * a.heads + head) * a.positions + position) * a.head_size + d;
  }
};

// What keys or values lie in, of numbers that both formats can hold, with NaN beyond each length.
void fill_source(Random& random, CrossAttention& cross, Buffer<float>& floats, Buffer<uint16_t>& halves, Buffer<float>& stored) {
  const fuseline_cross_attention& a = cross.a;
  fill(random, floats);
  Buffer<uint16_t> all(floats.size());
  const fuseline_halves conversion{a.inputs, a.positions, a.heads, a.head_size, floats.data(), all.data()};
  expect(fuseline_to_halves(&conversion) == FUSELINE_OK, "halves are refused");
  for (int64_t i = 0; i < floats.size(); ++i) {
    const int64_t at = cross.half_place(i);
    const bool beyond = i / cross.width % a.positions >= cross.lengths[i / cross.width / a.positions];
    floats[i] = static_cast<float>(half_value(all[at]));
    if (at < halves.size()) halves[at] = beyond ? uint16_t{0x7e00} : all[at];
    if (i < stored.size()) stored[i] = beyond ? NAN : floats[i];
  }
}

void test_cross_attention(Random& random) {
  fuseline_cross_attention sizes{};
  sizes.inputs = random.whole(0, 3);
  sizes.queries = sizes.inputs * random.whole(0, 9);
  sizes.positions = random.whole(1, 60);
  sizes.heads = random.whole(1, 3);
  sizes.head_size = random.whole(1, 80);
  sizes.scale = random.normal() * 0.3f;
  sizes.format = random.whole(0, 1) == 0 ? FUSELINE_FLOAT : FUSELINE_HALF;
  const bool padded = random.chance(0.5);
  CrossAttention cross(random, sizes, padded);
  fuseline_cross_attention& a = cross.a;
  NOW("cross-attention, %ld queries of %ld inputs, %ld x %ld, %ld positions, lengths %d", static_cast<long>(a.queries),
      static_cast<long>(a.inputs), static_cast<long>(a.heads), static_cast<long>(a.head_size), static_cast<long>(a.positions),
      padded);
  fill(random, cross.query);
  const bool half = a.format == FUSELINE_HALF;
  Buffer<float> stored_key(half ? 0 : cross.stored), stored_value(half ? 0 : cross.stored);
  fill_source(random, cross, cross.key, cross.half_key, stored_key);
  fill_source(random, cross, cross.value, cross.half_value, stored_value);
  a.key = half ? static_cast<void*>(cross.half_key.data()) : stored_key.data();
  a.value = half ? static_cast<void*>(cross.half_value.data()) : stored_value.data();
  expect(fuseline_cross_attention_begin(&a) == FUSELINE_OK, "it is refused");
  const auto compute = [&](int threads) {
    in_parts(a.inputs * a.heads, threads, [&](int64_t first, int64_t last) {
      Buffer<float> scratch(fuseline_cross_attention_scratch(&a) * (last - first));
      fuseline_cross_attention_part(&a, first, last, scratch.data());
    });
  };
  for (float& each : cross.mixed) each = NAN;
  compute(1);
  for (int64_t g = 0; g < a.queries; ++g)
    for (int64_t h = 0; h < a.heads; ++h) {
      const int64_t input = g / (a.queries / a.inputs), first = input * a.positions * cross.width + h * a.head_size;
      check(a.mixed + g * cross.width + h * a.head_size,
            attend(
                a.query + g * cross.width + h * a.head_size, a.head_size, cross.lengths[input], a.scale,
                [&](int64_t p) { return cross.key.data() + first + p * cross.width; },
                [&](int64_t p) { return cross.value.data() + first + p * cross.width; }, no_bias));
    }
  const std::vector<float> alone(cross.mixed.begin(), cross.mixed.end());
  compute(2);
  expect(std::equal(alone.begin(), alone.end(), cross.mixed.begin(), same), "two threads give something else than one");
}

void test_refusals() {
  NOW("self-attention that is none");
  fuseline_self_attention sizes{};
  sizes.rows = 3;
  sizes.tokens = 2;
  sizes.heads = 2;
  sizes.head_size = 8;
  sizes.capacity = 6;
  sizes.position = 4;
  sizes.scale = 1;
  SelfAttention self(sizes);
  for (float& each : self.qkv) each = 1;
  const auto refused = [&](fuseline_status with, auto change) {
    fuseline_self_attention a = self.a;
    change(a);
    const fuseline_status status = fuseline_self_attention_begin(&a);
    expect(status == with, "the status is %d, not %d", status, with);
  };
  typedef fuseline_self_attention& A;
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.rows = -1; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.tokens = 0; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.heads = 0; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.head_size = 0; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.capacity = -1; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.position = -1; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.qkv = nullptr; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.beam_table = nullptr; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.key = nullptr; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.value = nullptr; });
  refused(FUSELINE_BAD_ARGUMENT, [](A a) { a.mixed = nullptr; });
  const float bias[4] = {};
  refused(FUSELINE_BAD_ARGUMENT, [&](A a) { a.distance_bias = bias; });  // of no distances
  refused(FUSELINE_BAD_ARGUMENT, [&](A a) { a.distance_bias = bias, a.distances = -1; });
  refused(FUSELINE_BAD_ARGUMENT, [&](A a) { a.distance_bias = bias, a.distances = INT64_MAX; });
  refused(FUSELINE_OVERRUN, [](A a) { a.position = 5; });
  refused(FUSELINE_OVERRUN, [](A a) { a.position = INT64_MAX; });
  refused(FUSELINE_OVERRUN, [](A a) { a.tokens = INT64_MAX; });
  for (const int64_t row : {int64_t{-1}, int64_t{3}, INT64_MIN, INT64_MAX}) {
    self.table[17] = row;
    refused(FUSELINE_OUT_OF_RANGE, [](A) {});
    self.table[17] = 0;
  }
  expect(std::all_of(self.key.begin(), self.key.end(), [](float each) { return each == 0; }), "a refusal wrote into the cache");
  refused(FUSELINE_OK, [](A) {});

  NOW("cross-attention that is none");
  fuseline_cross_attention of{};
  of.inputs = 2;
  of.queries = 4;
  of.positions = 3;
  of.heads = of.head_size = 2;
  Random random(1);
  CrossAttention cross(random, of, false);
  cross.a.key = cross.key.data();
  cross.a.value = cross.value.data();
  const auto bad = [&](auto change, fuseline_status with = FUSELINE_BAD_ARGUMENT) {
    fuseline_cross_attention a = cross.a;
    change(a);
    expect(fuseline_cross_attention_begin(&a) == with, "it is taken");
  };
  bad([](fuseline_cross_attention& a) { a.format = FUSELINE_INT8; });
  bad([](fuseline_cross_attention& a) { a.inputs = -2; });
  bad([](fuseline_cross_attention& a) { a.inputs = 0; });
  bad([](fuseline_cross_attention& a) { a.queries = 5; });
  bad([](fuseline_cross_attention& a) { a.queries = -4; });
  bad([](fuseline_cross_attention& a) { a.positions = 0; });
  bad([](fuseline_cross_attention& a) { a.positions = INT64_MAX; });
  bad([](fuseline_cross_attention& a) { a.heads = 0; });
  bad([](fuseline_cross_attention& a) { a.head_size = 0; });
  bad([](fuseline_cross_attention& a) { a.query = nullptr; });
  bad([](fuseline_cross_attention& a) { a.key = nullptr; });
  bad([](fuseline_cross_attention& a) { a.value = nullptr; });
  bad([](fuseline_cross_attention& a) { a.mixed = nullptr; });
  for (const int64_t length : {int64_t{-1}, int64_t{4}, INT64_MIN, INT64_MAX}) {
    const int64_t lengths[] = {3, length};
    bad([&](fuseline_cross_attention& a) { a.lengths = lengths; }, FUSELINE_OUT_OF_RANGE);
  }
  bad([](fuseline_cross_attention&) {}, FUSELINE_OK);

  NOW("halves that are none");
  Buffer<uint16_t> half(cross.key.size());
  const fuseline_halves good{2, 3, 2, 2, cross.key.data(), half.data()};
  const auto unmade = [&](auto change) {
    fuseline_halves conversion = good;
    change(conversion);
    expect(fuseline_to_halves(&conversion) == FUSELINE_BAD_ARGUMENT, "they are taken");
  };
  unmade([](fuseline_halves& c) { c.inputs = -1; });
  unmade([](fuseline_halves& c) { c.positions = -1; });
  unmade([](fuseline_halves& c) { c.heads = 0; });
  unmade([](fuseline_halves& c) { c.head_size = 0; });
  unmade([](fuseline_halves& c) { c.floats = nullptr; });
  unmade([](fuseline_halves& c) { c.halves = nullptr; });
}

}  // namespace

void test_attention(Random& random, int cases) {
  for (int i = 0; i < cases; ++i) {
    test_self_attention(random);
    test_cross_attention(random);
  }
  test_refusals();
}

}  // namespace testing
