// Cross-attention to several sources: random sizes, lengths and weights, with memory that ends where the last one that is read does,
// against one source at a time, in one thread and in two, and what is refused.
#include "attending.h"
#include "fuseline_kernels.h"

namespace testing {
namespace {

struct Sources {
  fuseline_sources_attention a;
  int64_t width;
  Buffer<int64_t> starts, lengths;
  Buffer<float> weights, query, key, value, mixed, share;
  Buffer<uint16_t> half_key, half_value;
  std::vector<float> exact_key, exact_value;  // as floats [inputs, positions, width]

  // zeros: whether weights may be 0.
  Sources(Random& random, const fuseline_sources_attention& sizes, bool zeros)
      : a(sizes),
        width(a.heads * a.head_size),
        starts(a.sources + 1),
        lengths(a.inputs * a.sources),
        weights(a.inputs * a.sources),
        query(a.queries * width),
        key(chosen(random, zeros)),
        value(key.size()),
        mixed(a.queries * width * (a.separate ? a.sources : 1)),
        share(a.queries * a.heads * a.sources),
        half_key(a.format == FUSELINE_HALF ? stored() : 0),
        half_value(half_key.size()) {
    fill(random, query);
    a.query = query.data();
    exact_key = filled(random, key, half_key);
    exact_value = filled(random, value, half_value);
    a.key = a.format == FUSELINE_HALF ? static_cast<void*>(half_key.data()) : key.data();
    a.value = a.format == FUSELINE_HALF ? static_cast<void*>(half_value.data()) : value.data();
    a.lengths = lengths.data();
    a.starts = starts.data();
    a.weights = weights.data();
    a.mixed = mixed.data();
    a.share = share.data();
  }

  bool has(int64_t input, int64_t m) { return lengths[input * a.sources + m] > 0 && weights[input * a.sources + m] > 0; }
  bool read(int64_t input, int64_t position) {
    for (int64_t m = 0; m < a.sources; ++m)
      if (has(input, m) && position >= starts[m] && position < starts[m] + lengths[input * a.sources + m]) return true;
    return false;
  }

 private:
  // Chooses lengths and weights; how many numbers are stored as floats.
  int64_t chosen(Random& random, bool zeros) {
    a.positions = 0;
    for (int64_t m = 0; m < a.sources; ++m) {
      starts[m] = a.positions;
      a.positions += random.whole(m == 0 ? 1 : 0, random.chance(0.2) ? 70 : 12);
    }
    starts[a.sources] = a.positions;
    for (int64_t i = 0; i < lengths.size(); ++i) {
      const int64_t m = i % a.sources, room = starts[m + 1] - starts[m];
      const int64_t some[] = {0, std::min<int64_t>(1, room), room, room, random.whole(0, room)};
      const float weighs[] = {0, 1, 1, 0.3f, 17.5f};
      lengths[i] = some[random.whole(0, 4)];
      weights[i] = weighs[random.whole(zeros ? 0 : 1, 4)];
    }
    return a.format == FUSELINE_HALF ? 0 : stored();
  }
  int64_t stored() {
    if (a.inputs == 0) return 0;
    int64_t end = a.positions;
    while (end > 0 && !read(a.inputs - 1, end - 1)) --end;
    return a.format == FUSELINE_HALF ? ((a.inputs * a.heads - 1) * a.positions + end) * a.head_size
                                     : ((a.inputs - 1) * a.positions + end) * width;
  }
  // Numbers that both formats hold, as they are stored, with NaN in what must not be read; and as floats.
  std::vector<float> filled(Random& random, Buffer<float>& floats, Buffer<uint16_t>& halves) {
    Buffer<float> all(a.inputs * a.positions * width);
    Buffer<uint16_t> as_halves(all.size());
    fill(random, all);
    const fuseline_halves conversion{a.inputs, a.positions, a.heads, a.head_size, all.data(), as_halves.data()};
    expect(fuseline_to_halves(&conversion) == FUSELINE_OK, "halves are refused");
    for (int64_t i = 0; i < all.size(); ++i) {
      const int64_t input = i / width / a.positions, position = i / width % a.positions, head = i % width / a.head_size;
      const int64_t at = ((input * a.heads + head) * a.positions + position) * a.head_size + i % a.head_size;
      all[i] = static_cast<float>(testing::half_value(as_halves[at]));
      const bool there = read(input, position);
      if (at < halves.size()) halves[at] = there ? as_halves[at] : uint16_t{0x7e00};
      if (i < floats.size()) floats[i] = there ? all[i] : NAN;
    }
    return {all.begin(), all.end()};
  }
};

void compute(const fuseline_sources_attention& a, int threads) {
  in_parts(a.inputs * a.heads, threads, [&](int64_t first, int64_t last) {
    Buffer<float> scratch(fuseline_sources_attention_scratch(&a) * (last - first));
    fuseline_sources_attention_part(&a, first, last, scratch.data());
  });
}

// What one query of one head finds, against double precision.
void check_head(Sources& s, int64_t g, int64_t h) {
  const fuseline_sources_attention& a = s.a;
  const int64_t input = g / (a.queries / a.inputs), first = input * a.positions * s.width + h * a.head_size;
  const float* const query = a.query + g * s.width + h * a.head_size;
  std::vector<int64_t> places, sources;
  float most = 0;
  for (int64_t m = 0; m < a.sources; ++m) {
    if (!s.has(input, m)) continue;
    most = std::max(most, s.weights[input * a.sources + m]);
    for (int64_t p = 0; p < s.lengths[input * a.sources + m]; ++p) places.push_back(s.starts[m] + p), sources.push_back(m);
  }
  const auto n = static_cast<int64_t>(places.size());
  const auto key = [&](int64_t i) { return s.exact_key.data() + first + places[static_cast<size_t>(i)] * s.width; };
  const auto value = [&](int64_t i) { return s.exact_value.data() + first + places[static_cast<size_t>(i)] * s.width; };
  const auto bias = [&](int64_t i) {
    return std::log(static_cast<double>(s.weights[input * a.sources + sources[static_cast<size_t>(i)]]) / static_cast<double>(most));
  };
  const std::vector<float> ones(static_cast<size_t>(a.head_size), 1), zeros(ones.size());
  bool finite = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t d = 0; d < a.head_size; ++d) finite = finite && std::isfinite(key(i)[d] * query[d]);
  for (int64_t m = 0; m < a.sources; ++m) {
    const float found = a.share[(g * a.heads + h) * a.sources + m];
    const auto own = [&](int64_t i) { return (sources[static_cast<size_t>(i)] == m ? ones : zeros).data(); };
    const Exact exact = attend(query, a.head_size, n, a.scale, key, own, bias)[0];
    if (!s.has(input, m))
      expect(found == 0, "an absent source has the share %g", static_cast<double>(found));
    else if (finite)
      expect(near(found, exact.value, 2 * exact.tolerance + 4 * kUnit), "the share is %.9g, not %.9g +- %.2g", found, exact.value,
             2 * exact.tolerance + 4 * kUnit);
  }
  if (!a.separate) return check(a.mixed + g * s.width + h * a.head_size, attend(query, a.head_size, n, a.scale, key, value, bias));
  for (int64_t m = 0; m < a.sources; ++m) {
    const int64_t start = s.starts[m], length = s.has(input, m) ? s.lengths[input * a.sources + m] : 0;
    const double weight = static_cast<double>(s.weights[input * a.sources + m]);
    std::vector<Exact> part = attend(
        query, a.head_size, length, a.scale, [&](int64_t p) { return s.exact_key.data() + first + (start + p) * s.width; },
        [&](int64_t p) { return s.exact_value.data() + first + (start + p) * s.width; }, no_bias);
    for (Exact& each : part) {
      each.value *= weight;
      each.tolerance = (each.tolerance + 2 * kUnit * std::fabs(each.value)) * std::max(weight, 1.0);
    }
    check(a.mixed + (g * a.sources + m) * s.width + h * a.head_size, part);
  }
}

fuseline_sources_attention random_sizes(Random& random) {
  fuseline_sources_attention a{};
  a.inputs = random.whole(0, 3);
  a.queries = a.inputs * random.whole(0, 9);
  a.sources = random.whole(1, 5);
  a.heads = random.whole(1, 3);
  a.head_size = random.whole(1, 80);
  a.scale = random.normal() * 0.3f;
  a.format = random.chance(0.5) ? FUSELINE_FLOAT : FUSELINE_HALF;
  a.separate = random.chance(0.5);
  return a;
}

void test_one(Random& random) {
  Sources s(random, random_sizes(random), true);
  const fuseline_sources_attention& a = s.a;
  NOW("%s, %ld queries of %ld inputs, %ld x %ld, %ld sources of %ld positions", a.separate ? "separate" : "flat",
      static_cast<long>(a.queries), static_cast<long>(a.inputs), static_cast<long>(a.heads), static_cast<long>(a.head_size),
      static_cast<long>(a.sources), static_cast<long>(a.positions));
  for (float& each : s.mixed) each = NAN;
  for (float& each : s.share) each = NAN;
  expect(fuseline_sources_attention_begin(&a) == FUSELINE_OK, "it is refused");
  int64_t read = 0;
  for (int64_t i = 0; i < a.inputs; ++i)
    for (int64_t p = 0; p < a.positions; ++p) read += s.read(i, p);
  expect(fuseline_sources_attention_positions(&a) == read, "another number of positions would be read");
  compute(a, 1);
  for (int64_t g = 0; g < a.queries; ++g)
    for (int64_t h = 0; h < a.heads; ++h) check_head(s, g, h);
  const std::vector<float> mixed(s.mixed.begin(), s.mixed.end()), share(s.share.begin(), s.share.end());
  compute(a, 2);
  expect(std::equal(mixed.begin(), mixed.end(), s.mixed.begin(), same) && std::equal(share.begin(), share.end(), s.share.begin(), same),
         "two threads give something else than one");
}

// One source with any weight is what cross-attention over it is, bit for bit.
void test_one_source(Random& random) {
  fuseline_sources_attention sizes = random_sizes(random);
  sizes.sources = 1;
  sizes.separate = 0;
  Sources s(random, sizes, false);
  NOW("one source, %ld queries of %ld inputs, %ld x %ld, %ld positions", static_cast<long>(s.a.queries), static_cast<long>(s.a.inputs),
      static_cast<long>(s.a.heads), static_cast<long>(s.a.head_size), static_cast<long>(s.a.positions));
  Buffer<float> alone(s.a.queries * s.width);
  fuseline_cross_attention one{s.a.format, s.a.inputs, s.a.queries, s.a.positions, s.a.heads, s.a.head_size, s.a.scale,
                               s.a.query, s.a.key, s.a.value, s.a.lengths, nullptr};
  one.mixed = alone.data();
  expect(fuseline_sources_attention_begin(&s.a) == FUSELINE_OK && fuseline_cross_attention_begin(&one) == FUSELINE_OK, "it is refused");
  compute(s.a, 1);
  in_parts(one.inputs * one.heads, 1, [&](int64_t first, int64_t last) {
    Buffer<float> scratch(fuseline_cross_attention_scratch(&one) * (last - first));
    fuseline_cross_attention_part(&one, first, last, scratch.data());
  });
  expect(std::equal(alone.begin(), alone.end(), s.mixed.begin(), same), "it is not cross-attention");
}

void test_refusals() {
  NOW("sources that are none");
  float memory[64] = {}, mixed[16] = {};
  const int64_t lengths[] = {2, 1}, starts[] = {0, 2, 3};
  const float weights[] = {1, 0.5f};
  const fuseline_sources_attention good{FUSELINE_FLOAT, 0, 1, 2, 2, 3, 2, 2, 1, memory, memory, memory, lengths, starts, weights, mixed,
                                        mixed};
  const auto refused = [&](auto change, fuseline_status with = FUSELINE_BAD_ARGUMENT) {
    fuseline_sources_attention a = good;
    change(a);
    const fuseline_status status = fuseline_sources_attention_begin(&a);
    expect(status == with, "the status is %d, not %d", status, with);
  };
  typedef fuseline_sources_attention& A;
  refused([](A) {}, FUSELINE_OK);
  refused([](A a) { a.separate = 1; }, FUSELINE_OK);
  refused([](A a) { a.format = FUSELINE_INT8; });
  refused([](A a) { a.inputs = -1; });
  refused([](A a) { a.inputs = 0; });
  refused([](A a) { a.queries = -2; });
  refused([](A a) { a.inputs = 2, a.queries = 3; });
  refused([](A a) { a.sources = 0; });
  refused([](A a) { a.sources = -1; });
  refused([](A a) { a.positions = 0; });
  refused([](A a) { a.heads = 0; });
  refused([](A a) { a.head_size = 0; });
  for (const int64_t many : {INT64_MAX, INT64_MAX / 2, int64_t{1} << 60}) {
    refused([&](A a) { a.inputs = many; });
    refused([&](A a) { a.queries = many; });
    refused([&](A a) { a.sources = many; });
    refused([&](A a) { a.positions = many; });
    refused([&](A a) { a.heads = many; });
    refused([&](A a) { a.head_size = many; });
  }
  refused([](A a) { a.query = nullptr; });
  refused([](A a) { a.key = nullptr; });
  refused([](A a) { a.value = nullptr; });
  refused([](A a) { a.lengths = nullptr; });
  refused([](A a) { a.starts = nullptr; });
  refused([](A a) { a.weights = nullptr; });
  refused([](A a) { a.mixed = nullptr; });
  refused([](A a) { a.share = nullptr; });
  for (const int64_t length : {int64_t{-1}, int64_t{2}, INT64_MIN, INT64_MAX}) {
    const int64_t bad[] = {2, length};
    refused([&](A a) { a.lengths = bad; }, FUSELINE_OUT_OF_RANGE);
  }
  const int64_t of_starts[][3] = {{1, 2, 3}, {-1, 2, 3}, {0, 4, 3}, {0, -1, 3}, {0, 2, 2}, {0, 2, 4}, {INT64_MIN, 2, INT64_MAX}};
  for (const auto& bad : of_starts) refused([&](A a) { a.starts = bad; }, FUSELINE_BAD_STARTS);
  for (const float weight : {-1.0f, -1e-45f, NAN, INFINITY, -INFINITY}) {
    const float bad[] = {1, weight};
    refused([&](A a) { a.weights = bad; }, FUSELINE_BAD_WEIGHT);
  }
}

}  // namespace

void test_sources_attention(Random& random, int cases) {
  for (int i = 0; i < cases; ++i) {
    test_one(random);
    test_one_source(random);
  }
  test_refusals();
}

}  // namespace testing
