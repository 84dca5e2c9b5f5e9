// The algorithm of an encoder's self-attention: every position attends to every one of its input, or of its window.
//
// No matrix of scores is kept (Dao et al., arXiv:2205.14135): a job's queries meet a block of positions at a time, and what they have
// of the blocks before is put in proportion whenever a larger score turns up. Scores are powers of two, whose factor log2(e) the
// queries carry. A result is the same whichever other queries are worked on with it, and however much padding there is.
//
// In bfloat16 queries, keys, values and weights are rounded, and what is summed up of their products is float32; a policy says how.
//
// Keys and values of a head are put in order first: in qkv a position is as far from the next as three widths, which are powers of
// two often, and all of a head's would fall on the same few lines of a cache; in a window they lie anywhere.
#pragma once

#include "attention.h"
#include "attention_rows.h"
#include "vectors.h"

namespace fuseline {
namespace {

// Queries that are worked on together, and vectors whose sums registers have room for.
#if defined(__AVX512F__)
constexpr int kQueries = 8, kTotals = 24;
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int kQueries = 6, kTotals = 6;
#else
constexpr int kQueries = 2, kTotals = 2;
#endif
static_assert(kQueries <= kScoredQueries, "scratch memory has room for their scores");
constexpr float kLog2e = 1.44269504f;
constexpr float kNothing = -__builtin_inff();

// A head of an input or of a window.
struct Head : EncoderParts {
  const float* qkv;       // queries of position 0; keys are a width behind, values two
  float* mixed;           // of position 0
  const int64_t* places;  // the positions, or null where they are 0, 1, 2 ...
  const int64_t* ids;     // the places' regions, or null
  const float *distance_bias, *place_bias;  // for distance 0, for places 0 and 0, or null
  const float* next_qkv;  // of the head that is next, which is fetched meanwhile; null where there is none
  const int64_t* next_places;
  int64_t length, size, width, distances;
  float scale;
  bool apart;  // whether there are several regions

  int64_t place(int64_t p) const { return places == nullptr ? p : places[p]; }
  const float* of(int64_t p) const { return qkv + place(p) * 3 * width; }
};

// --- in order --------------------------------------------------------------------------------------------------------

// Four numbers of each of four positions, side by side.
inline void turn_four(const float* const (&from)[4], int64_t d, float* to) {
#if defined(__AVX2__)
  __m128 a = _mm_loadu_ps(from[0] + d), b = _mm_loadu_ps(from[1] + d), c = _mm_loadu_ps(from[2] + d), e = _mm_loadu_ps(from[3] + d);
  _MM_TRANSPOSE4_PS(a, b, c, e);
  _mm_storeu_ps(to, a);
  _mm_storeu_ps(to + kLanes, b);
  _mm_storeu_ps(to + 2 * kLanes, c);
  _mm_storeu_ps(to + 3 * kLanes, e);
#else
  for (int64_t i = 0; i < 4; ++i)
    for (int p = 0; p < 4; ++p) to[i * kLanes + p] = from[p][d + i];
#endif
}

// Keys with the positions of a block side by side; where there are fewer than 16, the last one again.
inline void arrange_keys(const Head& h) {
  for (int64_t first = 0; first < whole(h.length); first += 4) {
    const auto key = [&](int64_t p) { return h.of(p < h.length ? p : h.length - 1) + h.width; };
    const float* const from[4] = {key(first), key(first + 1), key(first + 2), key(first + 3)};
    float* to = h.keys + first / kLanes * kLanes * h.size + first % kLanes;
    int64_t d = 0;
    for (; d + 4 <= h.size; d += 4) turn_four(from, d, to + d * kLanes);
    for (; d < h.size; ++d)
      for (int p = 0; p < 4; ++p) to[d * kLanes + p] = from[p][d];
  }
}

inline void arrange_values(const Head& h) {
  for (int64_t p = 0; p < h.length; ++p) {
    const float* value = h.of(p) + 2 * h.width;
    for (int64_t d = 0; d < h.size; d += kLanes) write(h.values + p * whole(h.size) + d, load(value + d, h.size - d));
  }
}

// Numbers regions by the first place that has them, which float32 can count. Returns whether there are several.
inline bool arrange_regions(const Head& h) {
  bool apart = false;
  for (int64_t p = 0; h.ids != nullptr && p < h.length; ++p) {
    int64_t first = 0;
    while (h.ids[first] != h.ids[p]) ++first;
    apart = apart || first > 0;
    h.regions[p] = static_cast<float>(first);
  }
  return apart;
}

// --- policies: numbers as they are, rounded to bfloat16, or that in pairs ----------------------------------------------

//   kRounds                         whether queries are rounded, and so not scaled before scores are
//   inputs(n)                       as how many inputs of a product n numbers count
//   order(vectors, runs, n, width)  keys or values become inputs where they lie: `runs` times n numbers for each of `width` x 16 sums
//   query(from, n, scale, to)       the numbers of a query become inputs
//   weights(scores, p, v)           16 weights, from position p on, become inputs where their scores were
//   kTwoByTwo                       whether an instruction multiplies two queries by two of a vector's numbers; if not
//   input(p), add(x, y, sums)       an input for all sums, and its products with y added up; else
//   add_up(...)                     what the function of that name does below
struct AsTheyAre {
  static constexpr bool kRounds = false, kTwoByTwo = false;
  static int64_t inputs(int64_t n) { return n; }
  static void order(float*, int64_t, int64_t, int64_t) {}
  static void query(const float* from, int64_t n, float scale, float* to) {
    for (int64_t d = 0; d < n; d += kLanes) write(to + d, load(from + d, n - d) * scale);
  }
  static Vector input(const float* p) { return splat(*p); }
  static Vector add(Vector x, Vector y, Vector sums) { return fused(x, y, sums); }
  static void weights(float* scores, int64_t p, Vector v) { write(scores + p, v); }
};

struct Rounded : AsTheyAre {
  static constexpr bool kRounds = true;
  static void order(float* vectors, int64_t runs, int64_t n, int64_t width) {
    for (int64_t i = 0; i < runs * n * width * kLanes; i += kLanes) write(vectors + i, to_bfloat16(load(vectors + i)));
  }
  static void query(const float* from, int64_t n, float, float* to) {
    for (int64_t d = 0; d < n; d += kLanes) write(to + d, to_bfloat16(load(from + d, n - d)));
  }
  // Weights are at most 1, so that they can be rounded by three operations (Veltkamp): what is taken away again has 16 bits less.
  static void weights(float* scores, int64_t p, Vector v) {
    const Vector large = v * 65537.0f;
    write(scores + p, large - (large - v));
  }
};

// In pairs, by what Of makes of two vectors: rounded, 32 numbers in their order; side_by_side, a number of each in turns.
template <class Of>
struct InPairs {
  static constexpr bool kRounds = true, kTwoByTwo = false;
  static int64_t inputs(int64_t n) { return (n + 1) / 2; }
  // From the first pair on: each comes to lie where a number of it was, or before.
  static void order(float* vectors, int64_t runs, int64_t n, int64_t width) {
    float* to = vectors;
    for (int64_t run = 0; run < runs; ++run, vectors += n * width * kLanes)
      for (int64_t i = 0; i < n; i += 2)
        for (int64_t w = 0; w < width; ++w, to += kLanes) {
          const float* from = vectors + (i * width + w) * kLanes;
          write(to, Of::side_by_side(load(from), i + 1 < n ? load(from + width * kLanes) : Vector{}));
        }
  }
  static void query(const float* from, int64_t n, float, float* to) {
    for (int64_t d = 0; d < n; d += 2 * kLanes) {
      const int64_t left = n - d - kLanes;
      write(to + d / 2, Of::rounded(load(from + d, n - d), load(from + d + kLanes, left > 0 ? left : 0)));
    }
  }
};

template <class Of>
inline void arrange(Head* h) {
  arrange_keys(*h);
  Of::order(h->keys, whole(h->length) / kLanes, h->size, 1);
  arrange_values(*h);
  Of::order(h->values, 1, h->length, whole(h->size) / kLanes);
  h->apart = arrange_regions(*h);
}

// --- powers ----------------------------------------------------------------------------------------------------------

// 2^x within 3 units in the last place of float32 for x <= 0; 0 below -126. NaN stays NaN.
inline Vector power_of_two(Vector x) {
#if defined(__AVX512F__)
  const auto of = reinterpret_cast<__m512>(x);
  const auto r = reinterpret_cast<Vector>(_mm512_reduce_ps(of, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  const Vector held = select(x < splat(-126.0f), splat(-126.0f), x);
  const Vector shifted = held + splat(12582912.0f);  // 1.5 * 2^23, which rounds to a whole number
  const Vector r = held - (shifted - splat(12582912.0f));
#endif
  Vector p = splat(1.326472032815218e-3f);  // of least relative error for |r| <= 1/2
  p = fused(p, r, 9.671512991189957e-3f);
  p = fused(p, r, 5.550733953714371e-2f);
  p = fused(p, r, 2.4022242426872253e-1f);
  p = fused(p, r, 6.931470036506653e-1f);
  p = fused(p, r, 1.0f);
#if defined(__AVX512F__)
  const __mmask16 counts = _mm512_cmp_ps_mask(of, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return reinterpret_cast<Vector>(_mm512_maskz_scalef_ps(counts, reinterpret_cast<__m512>(p), reinterpret_cast<__m512>(x - r)));
#else
  const Integers power = (bits_of(shifted) - 0x4b400000 + 127) << 23;
  return select(x < splat(-126.0f), Vector{}, p * floats_of(power));
#endif
}

struct Larger {
  static Vector of(Vector a, Vector b) { return select(b > a, b, a); }
  static float of(float a, float b) { return b > a ? b : a; }
#if defined(__AVX2__)
  static __m128 of(__m128 a, __m128 b) { return _mm_max_ps(b, a); }  // as above also of NaN
#endif
};

struct Sum {
  static Vector of(Vector a, Vector b) { return a + b; }
  static float of(float a, float b) { return a + b; }
#if defined(__AVX2__)
  static __m128 of(__m128 a, __m128 b) { return _mm_add_ps(a, b); }
#endif
};

#if defined(__AVX2__)
// What the four quarters of a vector have in common.
template <class Both>
inline __m128 quarter(Vector v) {
#if defined(__AVX512F__)
  const auto all = reinterpret_cast<__m512>(v);
  const __m128 low = Both::of(_mm512_castps512_ps128(all), _mm512_extractf32x4_ps(all, 2));
  return Both::of(low, Both::of(_mm512_extractf32x4_ps(all, 1), _mm512_extractf32x4_ps(all, 3)));
#else
  const auto a = reinterpret_cast<__m256>(v.low), b = reinterpret_cast<__m256>(v.high);
  const __m128 low = Both::of(_mm256_castps256_ps128(a), _mm256_castps256_ps128(b));
  return Both::of(low, Both::of(_mm256_extractf128_ps(a, 1), _mm256_extractf128_ps(b, 1)));
#endif
}
#endif

// What the lanes of each of R vectors have in common.
template <class Both, int R>
inline void across(const Vector (&v)[R], float* out) {
#if defined(__AVX2__)
  for (int r = 0; r < R; r += 4) {
    const auto at = [&](int i) { return quarter<Both>(v[r + i < R ? r + i : R - 1]); };
    __m128 a = at(0), b = at(1), c = at(2), d = at(3);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    const __m128 all = Both::of(Both::of(a, b), Both::of(c, d));
    float lanes[4];
    _mm_storeu_ps(lanes, all);
    for (int i = r; i < R && i < r + 4; ++i) out[i] = lanes[i - r];
  }
#else
  for (int r = 0; r < R; ++r) {
    float lanes[kLanes];
    write(lanes, v[r]);
    for (int64_t width = kLanes / 2; width > 0; width /= 2)
      for (int64_t i = 0; i < width; ++i) lanes[i] = Both::of(lanes[i], lanes[i + width]);
    out[r] = lanes[0];
  }
#endif
}

// --- tiles: R queries by W vectors -------------------------------------------------------------------------------------

template <int W>
struct Width {
  static constexpr int count = W;
};

template <int W, class One>
FUSELINE_INNER inline void with_width(int64_t w, const One& one) {
  if constexpr (W > 1)
    if (w < W) return with_width<W - 1>(w, one);
  one(Width<W>{});
}

// one(width, first) for vectors side by side, as many at a time as R queries have room for, and no tile much narrower than another.
template <int R, class One>
FUSELINE_INNER inline void in_tiles(int64_t vectors, const One& one) {
  constexpr int64_t room = kTotals / R < 1 ? 1 : kTotals / R < 4 ? kTotals / R : 4;
  for (int64_t first = 0; first < vectors;) {
    const int64_t left = vectors - first, tiles = (left + room - 1) / room, w = (left + tiles - 1) / tiles;
    with_width<room>(w, [&](auto width) FUSELINE_INNER { one(width, first); });
    first += w;
  }
}

// The products of n inputs x[r] of R queries, `apart` floats apart, and y[d][w] of W vectors, `line` floats from input to input and
// `next` from vector to vector, added to totals.
template <class Of, int R, int W>
FUSELINE_INNER inline void add_up(const float* x, int64_t apart, const float* y, int64_t n, int64_t line, int64_t next, Vector (&totals)[R][W]) {
  if constexpr (Of::kTwoByTwo) {
    Of::add_up(x, apart, y, n, line, next, totals);
  } else {
    for (int64_t d = 0; d < n; ++d) {
      Vector vectors[W];
      repeat<W>([&](int w) FUSELINE_INNER { vectors[w] = load(y + w * next + d * line); });
      repeat<R>([&](int r) FUSELINE_INNER {
        const Vector one = Of::input(x + r * apart + d);
        repeat<W>([&](int w) FUSELINE_INNER { totals[r][w] = Of::add(one, vectors[w], totals[r][w]); });
      });
    }
  }
}

// The scores of queries at W blocks of 16 positions.
template <class Of, int R, int W>
FUSELINE_INNER inline void tile_scores(const float* queries, int64_t apart, const float* keys, int64_t inputs, float scale, float* scores) {
  Vector totals[R][W] = {};
  add_up<Of>(queries, apart, keys, inputs, kLanes, inputs * kLanes, totals);
  repeat<R>([&](int r) FUSELINE_INNER {
    repeat<W>([&](int w) FUSELINE_INNER {
      write(scores + r * kBlockPositions + w * kLanes, Of::kRounds ? totals[r][w] * scale : totals[r][w]);
    });
  });
}

// W vectors of what queries have of n inputs of values, and of those before times their factors.
template <class Of, int R, int W>
FUSELINE_INNER inline void tile_sums(const float* weights, const float* values, int64_t n, int64_t size, const float* factors, float* mixed) {
  Vector totals[R][W] = {};
  if (factors != nullptr)
    repeat<R>([&](int r) FUSELINE_INNER {
      repeat<W>([&](int w) FUSELINE_INNER { totals[r][w] = load(mixed + r * size + w * kLanes) * factors[r]; });
    });
  add_up<Of>(weights, kBlockPositions, values, n, size, kLanes, totals);
  repeat<R>([&](int r) FUSELINE_INNER {
    repeat<W>([&](int w) FUSELINE_INNER { write(mixed + r * size + w * kLanes, totals[r][w]); });
  });
}

// Numbers that are read, or written, soon. GCC takes a loop that only fetches for one that does nothing: it is told otherwise.
inline void fetch(const float* from, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    __builtin_prefetch(from + i);
    __asm__ volatile("");
  }
}

// What the next head needs of a query's position, so that it is near when it is put in order: waiting for it took up to half of the
// time of small windows.
inline void fetch_ahead(const Head& h, int64_t query) {
  fetch(h.mixed + h.place(query) * h.width, h.size);
  if (h.next_qkv == nullptr) return;
  const float* next = h.next_qkv + (h.next_places == nullptr ? query : h.next_places[query]) * 3 * h.width;
  for (int64_t part = 0; part < 3; ++part) fetch(next + part * h.width, h.size);
}

// --- a job -----------------------------------------------------------------------------------------------------------

// What the scores of a query at the positions [first, last) get for their distances.
inline void add_distances(const Head& h, int64_t query, int64_t first, int64_t last, float* scores) {
  const int64_t far = h.distances - 1;
  int64_t begin = query > far ? query - far : 0, end = h.length - query > far ? query + far : h.length;
  begin = begin < first ? first : begin < last ? begin : last;
  end = end < begin ? begin : end < last ? end : last;
  for (int64_t p = first; p < begin; ++p) scores[p - first] += h.distance_bias[-far] * kLog2e;
  for (int64_t p = begin; p < end; ++p) scores[p - first] += h.distance_bias[p - query] * kLog2e;
  for (int64_t p = end; p < last; ++p) scores[p - first] += h.distance_bias[far] * kLog2e;
}

// What they get for their places in a window, and -inf in other regions than the query's.
inline void add_places(const Head& h, int64_t query, int64_t first, int64_t last, float* scores) {
  const float* bias = h.place_bias == nullptr ? nullptr : h.place_bias + query * h.length;
  const Vector own = splat(h.apart ? h.regions[query] : 0.0f);
  for (int64_t p = first; p < last; p += kLanes, scores += kLanes) {
    Vector found = load(scores);
    if (bias != nullptr) found = fused(load(bias + p, last - p), kLog2e, found);
    if (h.apart) found = select(load(h.regions + p) == own, found, splat(kNothing));
    write(scores, found);
  }
}

// Scores become weights, in proportion to the largest score that each query has seen yet; factors: what the weights before are to be
// multiplied by. between(r): something to be done beside each query's, which only reads memory.
template <class Of, int R, class Between>
FUSELINE_INNER inline void weigh(float* scores, int64_t room, float* most, float* total, float* factors, const Between& between) {
  Vector found[R];
  repeat<R>([&](int r) FUSELINE_INNER { found[r] = load(scores + r * kBlockPositions); });
  for (int64_t p = kLanes; p < room; p += kLanes)
    repeat<R>([&](int r) FUSELINE_INNER { found[r] = Larger::of(found[r], load(scores + r * kBlockPositions + p)); });
  float numbers[kLanes] = {};
  across<Larger>(found, numbers);
  const Vector before = load(most), now = Larger::of(before, load(numbers));
  const Vector level = select(now == kNothing, Vector{}, now);  // where nothing was seen yet all weights are 0
  const Vector factor = power_of_two(before - level);
  write(factors, factor);
  write(numbers, now);
  memcpy(most, numbers, R * sizeof(float));
  write(numbers, level);
  repeat<R>([&](int r) FUSELINE_INNER { found[r] = Vector{}; });
  for (int r = 0; r < R; ++r) {
    between(r);
    const Vector own = splat(numbers[r]);
    float* const of = scores + r * kBlockPositions;
    for (int64_t p = 0; p < room; p += kLanes) {
      const Vector weight = power_of_two(load(of + p) - own);
      Of::weights(of, p, weight);
      found[r] += weight;
    }
  }
  across<Sum>(found, numbers);
  write(numbers, fused(load(total), factor, load(numbers)));
  memcpy(total, numbers, R * sizeof(float));
}

// R of the job's queries, from the one at `slot` on, which is query `query`, with a block of positions.
template <class Of, int R>
FUSELINE_OUTER void attend_block(const Head& h, int64_t query, int64_t slot, int64_t first) {
  const int64_t last = first + kBlockPositions < h.length ? first + kBlockPositions : h.length, n = last - first, size = whole(h.size);
  const int64_t inputs = Of::inputs(h.size);
  const float *queries = h.job_queries + slot * size, *keys = h.keys + first * inputs, *values = h.values + Of::inputs(first) * size;
  in_tiles<R>(whole(n) / kLanes, [&](auto width, int64_t w) FUSELINE_INNER {
    tile_scores<Of, R, decltype(width)::count>(queries, size, keys + w * kLanes * inputs, inputs, h.scale * kLog2e, h.scores + w * kLanes);
  });
  for (int r = 0; r < R; ++r) {
    float* const scores = h.scores + r * kBlockPositions;
    if (h.distance_bias != nullptr) add_distances(h, query + r, first, last, scores);
    if (h.place_bias != nullptr || h.apart) add_places(h, query + r, first, last, scores);
    fill(scores, n, whole(n));
  }
  float factors[kLanes];
  weigh<Of, R>(h.scores, whole(n), h.job_most + slot, h.job_total + slot, factors, [&](int r) FUSELINE_INNER {
    if (first == 0) fetch_ahead(h, query + r);  // a few lines at a time: a CPU drops what it cannot keep track of
  });
  float* const mixed = h.job_mixed + slot * size;
  in_tiles<R>(size / kLanes, [&](auto width, int64_t w) FUSELINE_INNER {
    tile_sums<Of, R, decltype(width)::count>(h.scores, values + w * kLanes, Of::inputs(n), size, first == 0 ? nullptr : factors, mixed + w * kLanes);
  });
}

// The queries [query, end), R at a time, and what is left in halves of that.
template <class Of, int R>
inline void attend_all(const Head& h, int64_t query, int64_t slot, int64_t end, int64_t first) {
  for (; query + R <= end; query += R, slot += R) attend_block<Of, R>(h, query, slot, first);
  if constexpr (R > 1) attend_all<Of, R / 2>(h, query, slot, end, first);
}

// A job: the queries [begin, end).
template <class Of>
inline void attend(const Head& h, int64_t begin, int64_t end) {
  const int64_t size = whole(h.size);
  for (int64_t q = begin; q < end; ++q) Of::query(h.of(q), h.size, h.scale * kLog2e, h.job_queries + (q - begin) * size);
  for (int64_t slot = 0; slot < kSlots; ++slot) h.job_most[slot] = kNothing, h.job_total[slot] = 0;
  for (int64_t first = 0; first < h.length; first += kBlockPositions) attend_all<Of, kQueries>(h, begin, 0, end, first);
  for (int64_t q = begin; q < end; ++q) {
    const float *mixed = h.job_mixed + (q - begin) * size, share = 1.0f / h.job_total[q - begin];
    float* const to = h.mixed + h.place(q) * h.width;
    for (int64_t d = 0; d < h.size; d += kLanes) store(to + d, load(mixed + d) * share, h.size - d);
  }
}

// A head of an input's window; an input that has no windows is one.
inline Head head_of(const fuseline_encoder_attention& a, int64_t input, int64_t window, int64_t head, float* scratch) {
  const int64_t positions = encoder_positions(a);
  Head h{};
  encoder_parts(a, scratch, &h);
  h.size = a.head_size;
  h.width = a.heads * a.head_size;
  h.scale = a.scale;
  h.qkv = a.qkv + input * a.positions * 3 * h.width + head * a.head_size;
  h.mixed = a.mixed + input * a.positions * h.width + head * a.head_size;
  h.distances = a.distances;
  h.distance_bias = a.distance_bias == nullptr ? nullptr : a.distance_bias + head * (2 * a.distances - 1) + a.distances - 1;
  h.length = windowed(a) ? positions : a.lengths[input];
  h.places = windowed(a) ? a.places + window * positions : nullptr;
  h.ids = a.regions == nullptr ? nullptr : a.regions + window * positions;
  h.place_bias = a.place_bias == nullptr ? nullptr : a.place_bias + head * positions * positions;
  const bool in_window = head + 1 < a.heads;
  if (in_window || window + 1 < a.windows) {
    h.next_qkv = h.qkv + (in_window ? 1 : 1 - a.heads) * a.head_size;
    h.next_places = windowed(a) ? h.places + (in_window ? 0 : positions) : nullptr;
  }
  return h;
}

inline void clear_rows(const Head& h, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) memset(h.mixed + p * h.width, 0, static_cast<size_t>(h.size) * sizeof(float));
}

template <class Of>
inline void encoder_attention(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch) {
  const int64_t blocks = encoder_blocks(a), positions = encoder_positions(a), windows = encoder_windows(a);
  while (first < last) {  // blocks of one head after the other
    const int64_t all = first / blocks, group = all / a.heads, next = (all + 1) * blocks < last ? (all + 1) * blocks : last;
    Head h = head_of(a, group / windows, group % windows, all % a.heads, scratch);
    if (first % blocks * kBlockQueries < h.length) arrange<Of>(&h);
    for (; first < next; ++first) {
      const int64_t begin = first % blocks * kBlockQueries;
      const int64_t end = begin + kBlockQueries < positions ? begin + kBlockQueries : positions;
      const int64_t there = end < h.length ? end : h.length;
      if (begin < there) attend<Of>(h, begin, there);
      clear_rows(h, begin < h.length ? there : begin, end);
    }
  }
}

}  // namespace
}  // namespace fuseline
