// Attention: random sizes, caches and beam tables, in one thread and in two, and what is refused.
#include <algorithm>

#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {
namespace {

struct Exact {
  double value, tolerance;
};

// softmax(q k scale) v of one head; key(p) and value(p) say where a position's lie.
template <class Key, class Value>
std::vector<Exact> attend(const float* query, int64_t size, int64_t n, double scale, Key key, Value value) {
  std::vector<double> scores(static_cast<size_t>(n)), errors(scores.size());
  double largest = -INFINITY, total = 0, error = 0;
  for (int64_t p = 0; p < n; ++p) {
    double score = 0, sizes = 0;
    for (int64_t d = 0; d < size; ++d) {
      score += static_cast<double>(query[d]) * key(p)[d];
      sizes += std::fabs(static_cast<double>(query[d]) * key(p)[d]);
    }
    scores[static_cast<size_t>(p)] = score * scale;
    errors[static_cast<size_t>(p)] = static_cast<double>(size + 2) * kUnit * sizes * std::fabs(scale);
    largest = std::isnan(score) ? NAN : std::max(largest, score * scale);
  }
  for (size_t p = 0; p < scores.size(); ++p) {
    const double below = scores[p] - largest;
    errors[p] += (2 * std::fabs(below) + 8) * kUnit;  // of the difference, its exponential and the product with 1 / total
    scores[p] = std::exp(below);
    total += scores[p];
  }
  for (size_t p = 0; p < scores.size(); ++p) {
    scores[p] /= total;
    if (scores[p] > 0) error += errors[p] * scores[p];
  }
  std::vector<Exact> mixed(static_cast<size_t>(size));
  for (int64_t d = 0; d < size; ++d) {
    Exact& out = mixed[static_cast<size_t>(d)];
    out = {0, 4 * kLeast};
    for (int64_t p = 0; p < n; ++p) {
      const double weight = scores[static_cast<size_t>(p)], at = value(p)[d];
      out.value += weight * at;
      if (weight > 0)
        out.tolerance += weight * std::fabs(at) * (errors[static_cast<size_t>(p)] + error + static_cast<double>(n + 4) * kUnit);
      out.tolerance += 2e-38 * std::fabs(at) + kLeast;  // exponentials are held at exp(-87)
    }
  }
  return mixed;
}

void check(const float* found, const std::vector<Exact>& exact) {
  for (size_t d = 0; d < exact.size(); ++d)
    expect(near(found[d], exact[d].value, exact[d].tolerance), "[%zu] is %.9g, not %.9g +- %.2g", d, found[d],
           exact[d].value, exact[d].tolerance);
}

// Numbers of one of several sizes; some tensors have an infinity or a NaN.
void fill(Random& random, Buffer<float>& into) {
  const float sizes[] = {1, 1, 1, 0, 1e-41f, 30};
  const float size = sizes[random.whole(0, 5)];
  for (float& each : into) each = random.normal() * size;
  if (into.size() > 0 && random.chance(0.05)) into[random.whole(0, into.size() - 1)] = random.chance(0.5) ? -INFINITY : NAN;
}

struct SelfAttention {
  fuseline_self_attention a;
  int64_t width;
  Buffer<float> qkv, key, value, mixed;
  Buffer<int64_t> table;

  explicit SelfAttention(const fuseline_self_attention& sizes)
      : a(sizes),
        width(a.heads * a.head_size),
        qkv(a.rows * a.tokens * 3 * width),
        key(a.capacity * a.rows * width),
        value(a.capacity * a.rows * width),
        mixed(a.rows * a.tokens * width),
        table(a.rows * a.capacity) {
    a.qkv = qkv.data();
    a.key = key.data();
    a.value = value.data();
    a.mixed = mixed.data();
    a.beam_table = table.data();
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
  return a;
}

void test_self_attention(Random& random) {
  SelfAttention self(random_self(random));
  fuseline_self_attention& a = self.a;
  NOW("self-attention, %ld rows x %ld tokens, %ld x %ld, position %ld of %ld", static_cast<long>(a.rows),
      static_cast<long>(a.tokens), static_cast<long>(a.heads), static_cast<long>(a.head_size), static_cast<long>(a.position),
      static_cast<long>(a.capacity));
  for (Buffer<float>* each : {&self.qkv, &self.key, &self.value}) fill(random, *each);
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
      check(a.mixed + n * self.width + h * a.head_size,
            attend(
                a.qkv + n * 3 * self.width + h * a.head_size, a.head_size, a.position + n % a.tokens + 1, a.scale,
                [&](int64_t p) { return key.data() + place(p); }, [&](int64_t p) { return value.data() + place(p); }));
    }
  const std::vector<float> alone(self.mixed.begin(), self.mixed.end());
  self.compute(2);
  expect(std::equal(alone.begin(), alone.end(), self.mixed.begin(), same), "two threads give something else than one");
}

struct CrossAttention {
  fuseline_cross_attention a;
  int64_t width;
  Buffer<float> query, key, value, mixed;
  Buffer<uint16_t> half_key, half_value;

  explicit CrossAttention(const fuseline_cross_attention& sizes)
      : a(sizes),
        width(a.heads * a.head_size),
        query(a.queries * width),
        key(a.photos * a.positions * width),
        value(a.photos * a.positions * width),
        mixed(a.queries * width),
        half_key(key.size()),
        half_value(value.size()) {
    a.query = query.data();
    const bool half = a.format == FUSELINE_HALF;
    a.key = half ? static_cast<void*>(half_key.data()) : key.data();
    a.value = half ? static_cast<void*>(half_value.data()) : value.data();
    a.mixed = mixed.data();
  }
  // Keys and values in both formats, of numbers that both can hold.
  void fill_kept(Random& random) {
    for (auto [floats, halves] : {std::pair{&key, &half_key}, std::pair{&value, &half_value}}) {
      fill(random, *floats);
      const fuseline_kept kept{a.photos, a.positions, a.heads, a.head_size, floats->data(), halves->data()};
      expect(fuseline_to_halves(&kept) == FUSELINE_OK, "halves are refused");
      for (int64_t i = 0; i < floats->size(); ++i) {  // whose positions of a head lie together
        const int64_t d = i % a.head_size, head = i % width / a.head_size, position = i / width % a.positions;
        const int64_t photo = i / width / a.positions;
        const int64_t at = ((photo * a.heads + head) * a.positions + position) * a.head_size + d;
        (*floats)[i] = static_cast<float>(testing::half_value((*halves)[at]));
      }
    }
  }
  void compute(int threads) {
    in_parts(a.photos * a.heads, threads, [&](int64_t first, int64_t last) {
      Buffer<float> scratch(fuseline_cross_attention_scratch(&a) * (last - first));
      fuseline_cross_attention_part(&a, first, last, scratch.data());
    });
  }
};

void test_cross_attention(Random& random) {
  fuseline_cross_attention sizes{};
  sizes.photos = random.whole(0, 3);
  sizes.queries = sizes.photos * random.whole(0, 9);
  sizes.positions = random.whole(1, 60);
  sizes.heads = random.whole(1, 3);
  sizes.head_size = random.whole(1, 80);
  sizes.scale = random.normal() * 0.3f;
  sizes.format = random.whole(0, 1) == 0 ? FUSELINE_FLOAT : FUSELINE_HALF;
  CrossAttention cross(sizes);
  fuseline_cross_attention& a = cross.a;
  NOW("cross-attention, %ld queries of %ld photos, %ld x %ld, %ld positions", static_cast<long>(a.queries),
      static_cast<long>(a.photos), static_cast<long>(a.heads), static_cast<long>(a.head_size), static_cast<long>(a.positions));
  fill(random, cross.query);
  cross.fill_kept(random);
  expect(fuseline_cross_attention_begin(&a) == FUSELINE_OK, "it is refused");
  cross.compute(1);
  for (int64_t g = 0; g < a.queries; ++g)
    for (int64_t h = 0; h < a.heads; ++h) {
      const int64_t first = g / (a.queries / a.photos) * a.positions * cross.width + h * a.head_size;
      check(a.mixed + g * cross.width + h * a.head_size,
            attend(
                a.query + g * cross.width + h * a.head_size, a.head_size, a.positions, a.scale,
                [&](int64_t p) { return cross.key.data() + first + p * cross.width; },
                [&](int64_t p) { return cross.value.data() + first + p * cross.width; }));
    }
  const std::vector<float> alone(cross.mixed.begin(), cross.mixed.end());
  cross.compute(2);
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
  of.photos = 2;
  of.queries = 4;
  of.positions = 3;
  of.heads = of.head_size = 2;
  CrossAttention cross(of);
  const auto bad = [&](auto change) {
    fuseline_cross_attention a = cross.a;
    change(a);
    expect(fuseline_cross_attention_begin(&a) == FUSELINE_BAD_ARGUMENT, "it is taken");
  };
  bad([](fuseline_cross_attention& a) { a.format = FUSELINE_INT8; });
  bad([](fuseline_cross_attention& a) { a.photos = -2; });
  bad([](fuseline_cross_attention& a) { a.photos = 0; });
  bad([](fuseline_cross_attention& a) { a.queries = 5; });
  bad([](fuseline_cross_attention& a) { a.queries = -4; });
  bad([](fuseline_cross_attention& a) { a.positions = 0; });
  bad([](fuseline_cross_attention& a) { a.heads = 0; });
  bad([](fuseline_cross_attention& a) { a.head_size = 0; });
  bad([](fuseline_cross_attention& a) { a.query = nullptr; });
  bad([](fuseline_cross_attention& a) { a.key = nullptr; });
  bad([](fuseline_cross_attention& a) { a.value = nullptr; });
  bad([](fuseline_cross_attention& a) { a.mixed = nullptr; });

  NOW("halves that are none");
  const fuseline_kept good{2, 3, 2, 2, cross.key.data(), cross.half_key.data()};
  const auto unkept = [&](auto change) {
    fuseline_kept kept = good;
    change(kept);
    expect(fuseline_to_halves(&kept) == FUSELINE_BAD_ARGUMENT, "they are taken");
  };
  unkept([](fuseline_kept& k) { k.photos = -1; });
  unkept([](fuseline_kept& k) { k.positions = -1; });
  unkept([](fuseline_kept& k) { k.heads = 0; });
  unkept([](fuseline_kept& k) { k.head_size = 0; });
  unkept([](fuseline_kept& k) { k.floats = nullptr; });
  unkept([](fuseline_kept& k) { k.halves = nullptr; });
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
