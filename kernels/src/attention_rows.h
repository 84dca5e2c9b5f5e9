// The algorithm of attention: softmax(q k * scale) v (Vaswani et al., arXiv:1706.03762).
// Written once over the compiler's vectors; one file an instruction set includes it.
#pragma once

#include "attention.h"
#include "vectors.h"

namespace fuseline {
namespace {

// Vectors of the values' sums that registers have room for, for four queries.
#if defined(__AVX512F__)
constexpr int kSums = 4;
#else
constexpr int kSums = 1;
#endif
// Positions whose heads are all worked on before the next ones: they come from memory as they lie there, and the values'
// sums are put down and taken up again once for so many.
constexpr int64_t kStretch = 8;

// The products of four vectors with another; what lies `ahead` floats on from those in `from` is asked for meanwhile.
template <int from, class Four, class One>
FUSELINE_INNER inline void dots(const Four* const (&four)[4], const One* one, int64_t n, float scale, int64_t ahead, float* out) {
  Vector totals[4] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vector v = load(one + i);
    if constexpr (from == 1) __builtin_prefetch(one + i + ahead);
    repeat<4>([&](int k) FUSELINE_INNER {
      if constexpr (from == 4) __builtin_prefetch(four[k] + i + ahead);
      totals[k] = fused(load(four[k] + i), v, totals[k]);
    });
  }
  if (i < n) {
    const Vector v = load(one + i, n - i);
    repeat<4>([&](int k) FUSELINE_INNER { totals[k] = fused(load(four[k] + i, n - i), v, totals[k]); });
  }
  sums(totals, out);
  for (int k = 0; k < 4; ++k) out[k] *= scale;
}

// Of vectors in which the numbers of R queries take turns: what all lanes of a query have in common, in each of them.
template <int R, class Both>
inline Vector folded(Vector v, Both both) {
  float lanes[kLanes];
  write(lanes, v);
  for (int64_t width = kLanes / 2; width >= R; width /= 2)
    for (int64_t i = 0; i < width; ++i) lanes[i] = both(lanes[i], lanes[i + width]);
  for (int64_t i = R; i < kLanes; ++i) lanes[i] = lanes[i - R];
  return load(lanes);
}

inline float added(float a, float b) { return a + b; }

// What was found on the way to a softmax: each query's largest score, and the sum of exponentials of how far scores are below it.
struct Found {
  Vector most, total;
};

// Of R queries whose scores take turns, and which are as many as whole vectors hold: the last ones are filled with -inf.
// share: what the weights of a query are to sum to.
template <int R>
FUSELINE_INNER inline Found softmax(float* scores, int64_t n, float share = 1.0f) {
  Vector most = load(scores);
  for (int64_t i = kLanes; i < n; i += kLanes) {
    const Vector v = load(scores + i);
    most = select(v > most, v, most);
  }
  most = folded<R>(most, [](float a, float b) { return a > b ? a : b; });
  Vector totals{};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vector v = exponential(load(scores + i) - most);
    write(scores + i, v);
    totals += v;
  }
  totals = folded<R>(totals, added);
  const Vector inverse = share / totals;
  for (int64_t i = 0; i < n; i += kLanes) write(scores + i, load(scores + i) * inverse);
  return {most, totals};
}

// Adds W vectors of the values of n positions to what R queries have of them, or begins with it. weights[p * R + r].
template <int R, int W, class Value>
FUSELINE_INNER inline void mix(const float* weights, int64_t n, bool begin, float* mixed, int64_t stride, int64_t size, int64_t ahead,
                Value value) {
  Vector totals[R][W] = {};
  const auto left = [&](int w) FUSELINE_INNER { return W > 1 ? kLanes : size - w * kLanes; };  // several are always whole
  const auto each = [&](const auto& one) FUSELINE_INNER {
    repeat<R>([&](int r) FUSELINE_INNER { repeat<W>([&](int w) FUSELINE_INNER { one(r, w); }); });
  };
  if (!begin) each([&](int r, int w) FUSELINE_INNER { totals[r][w] = load(mixed + r * stride + w * kLanes, left(w)); });
  for (int64_t p = 0; p < n; ++p) {
    const auto* v = value(p);
    repeat<W>([&](int w) FUSELINE_INNER {
      __builtin_prefetch(v + w * kLanes + ahead);
      const Vector part = load(v + w * kLanes, left(w));
      repeat<R>([&](int r) FUSELINE_INNER { totals[r][w] = fused(part, weights[p * R + r], totals[r][w]); });
    });
  }
  each([&](int r, int w) FUSELINE_INNER { store(mixed + r * stride + w * kLanes, totals[r][w], left(w)); });
}

// As mix, for a whole head.
template <int R, class Value>
FUSELINE_INNER inline void mix_head(const float* weights, int64_t n, bool begin, float* mixed, int64_t stride, int64_t size, int64_t ahead,
                     Value value) {
  for (int64_t d = 0; d < size;) {
    const auto at = [&](int64_t p) FUSELINE_INNER { return value(p) + d; };
    const bool several = d + kSums * kLanes <= size;
    if (several)
      mix<R, kSums>(weights, n, begin, mixed + d, stride, size - d, ahead, at);
    else
      mix<R, 1>(weights, n, begin, mixed + d, stride, size - d, ahead, at);
    d += several ? kSums * kLanes : kLanes;
  }
}

inline void fill(float* scores, int64_t from, int64_t to) {
  for (; from < to; ++from) scores[from] = -__builtin_inff();
}

// One query of one head over n positions; key(p) and value(p) say where a position's lie.
template <class Key>
FUSELINE_INNER inline void score(const float* query, int64_t size, int64_t first, int64_t last, float scale, int64_t ahead,
                  float* scores, Key key) {
  for (int64_t p = first; p < last; p += 4) {
    const auto near = [&](int64_t i) { return key(p + i < last ? p + i : last - 1); };
    float found[4];
    dots<4>({near(0), near(1), near(2), near(3)}, query, size, scale, ahead, found);
    for (int64_t i = 0; i < 4 && p + i < last; ++i) scores[p + i] = found[i];
  }
}

// Adds what a head's scores get for their distances from the query, which is the last of n positions.
inline void add_bias(const float* bias, int64_t distances, int64_t n, float* scores) {
  const int64_t near = n < distances ? n : distances;
  for (int64_t p = 0; p < n - near; ++p) scores[p] += bias[distances - 1];
  for (int64_t p = n - near; p < n; ++p) scores[p] += bias[n - 1 - p];
}

inline void self_attention(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch) {
  const int64_t width = a.heads * a.head_size;
  for (int64_t n = first; n < last; ++n) {
    const int64_t row = n / a.tokens, seen = a.position + n % a.tokens + 1;
    const int64_t* table = a.beam_table + row * a.capacity;
    for (int64_t h = 0; h < a.heads; ++h) {
      const auto place = [&](int64_t p) { return (p * a.rows + table[p]) * width + h * a.head_size; };
      const float* query = a.qkv + n * 3 * width + h * a.head_size;
      score(query, a.head_size, 0, seen, a.scale, 0, scratch, [&](int64_t p) { return a.key + place(p); });
      if (a.distance_bias != nullptr) add_bias(a.distance_bias + h * a.distances, a.distances, seen, scratch);
      fill(scratch, seen, whole(seen));
      softmax<1>(scratch, whole(seen));
      float* mixed = a.mixed + n * width + h * a.head_size;
      mix_head<1>(scratch, seen, true, mixed, width, a.head_size, 0, [&](int64_t p) { return a.value + place(p); });
    }
  }
}

// Heads of an input that are worked on together. width: from one query to the next one; stride: from one position's key or value
// to the next one's; room: from one head's scores to the next one's.
struct Heads {
  int64_t count, size, width, stride, room;
  float scale;
};

// one(head, first, end) for stretches of n positions.
template <class One>
FUSELINE_INNER inline void in_stretches(int64_t n, int64_t heads, const One& one) {
  for (int64_t p = 0; p < n; p += kStretch) {
    const int64_t end = p + kStretch < n ? p + kStretch : n;
    for (int64_t h = 0; h < heads; ++h) one(h, p, end);
  }
}

// Halves have the positions of a head together, and are read head by head; floats have the heads of a position together, and all
// that are asked for are read in one go.
template <class Stored>
constexpr bool kHeadByHead = sizeof(Stored) == sizeof(uint16_t);

// The scores of R queries, 4 or 1, of an input for n positions.
template <int R, class Stored>
FUSELINE_OUTER void cross_scores(const Heads& of, int64_t n, const float* query, const Stored* key, float* all) {
  const int64_t count = kHeadByHead<Stored> ? 1 : of.count, size = of.size, stride = kHeadByHead<Stored> ? size : of.stride;
  const int64_t width = of.width, room = of.room, ahead = kStretch * stride;
  const float scale = of.scale;
  in_stretches(n, count, [&](int64_t h, int64_t p, int64_t end) {
    float* scores = all + h * room;
    const float* q = query + h * size;
    const Stored* k = key + h * size;
    if constexpr (R == 1) return score(q, size, p, end, scale, ahead, scores, [&](int64_t i) { return k + i * stride; });
    for (; p < end; ++p)
      dots<1>({q, q + width, q + 2 * width, q + 3 * width}, k + p * stride, size, scale, ahead, scores + p * R);
  });
}

// Adds the values of n positions to what R queries have, or begins with them. apart: from what one query has to the next one's.
template <int R, bool begin = true, class Stored>
FUSELINE_OUTER void cross_mix(const Heads& of, int64_t n, const float* all, const Stored* value, float* mixed, int64_t apart) {
  const int64_t count = kHeadByHead<Stored> ? 1 : of.count, size = of.size, stride = kHeadByHead<Stored> ? size : of.stride;
  const int64_t room = of.room, ahead = kStretch * stride;
  in_stretches(n, count, [&](int64_t h, int64_t p, int64_t end) {
    const Stored* v = value + h * size + p * stride;
    mix_head<R>(all + h * room + p * R, end - p, begin && p == 0, mixed + h * size, apart, size, ahead,
                [&](int64_t i) { return v + i * stride; });
  });
}

template <int R>
struct Rows {
  static constexpr int count = R;
};

// one(rows, q): queries from q on, four at a time, or one by one where fewer are left.
template <class One>
inline void in_fours(int64_t queries, const One& one) {
  int64_t q = 0;
  for (; q + 4 <= queries; q += 4) one(Rows<4>{}, q);
  for (; q < queries; ++q) one(Rows<1>{}, q);
}

// one(input, begin, heads, at) for the jobs [first, last): heads of one input after the other. at: where the first one's keys and
// values begin. Stored: what these are stored as.
template <class Stored, class Attention, class One>
inline void of_inputs(const Attention& a, int64_t first, int64_t last, const One& one) {
  constexpr bool one_head = kHeadByHead<Stored>;
  const int64_t width = a.heads * a.head_size;
  while (first < last) {
    const int64_t input = first / a.heads, begin = first % a.heads, end = last - input * a.heads;
    const int64_t count = one_head ? 1 : (end < a.heads ? end : a.heads) - begin;
    const int64_t at = input * a.positions * width + begin * a.head_size * (one_head ? a.positions : 1);
    one(input, begin, Heads{count, a.head_size, width, one_head ? a.head_size : width, 0, a.scale}, at);
    first += count;
  }
}

inline void clear(float* floats, int64_t n) { memset(floats, 0, static_cast<size_t>(n) * sizeof(float)); }

template <class Stored>
inline void cross_jobs(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch) {
  const int64_t queries = a.queries / a.inputs;
  const Stored *keys = static_cast<const Stored*>(a.key), *values = static_cast<const Stored*>(a.value);
  of_inputs<Stored>(a, first, last, [&](int64_t input, int64_t begin, Heads heads, int64_t at) {
    const int64_t n = a.lengths == nullptr ? a.positions : a.lengths[input];
    in_fours(queries, [&](auto rows, int64_t q) {
      constexpr int R = decltype(rows)::count;
      const int64_t of = (input * queries + q) * heads.width + begin * heads.size;
      if (n == 0) {
        for (int64_t r = 0; r < R; ++r) clear(a.mixed + of + r * heads.width, heads.count * heads.size);
        return;
      }
      heads.room = whole(n * R);
      cross_scores<R>(heads, n, a.query + of, keys + at, scratch);
      for (int64_t h = 0; h < heads.count; ++h) {
        fill(scratch + h * heads.room, n * R, heads.room);
        softmax<R>(scratch + h * heads.room, heads.room);
      }
      cross_mix<R>(heads, n, scratch, values + at, a.mixed + of, heads.width);
    });
  });
}

inline void cross_attention(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch) {
  a.format == FUSELINE_HALF ? cross_jobs<uint16_t>(a, first, last, scratch) : cross_jobs<float>(a, first, last, scratch);
}

inline void to_halves(const fuseline_halves& c) {
  for (int64_t input = 0; input < c.inputs; ++input)
    for (int64_t p = 0; p < c.positions; ++p)
      for (int64_t h = 0; h < c.heads; ++h) {
        const float* from = c.floats + ((input * c.positions + p) * c.heads + h) * c.head_size;
        uint16_t* to = c.halves + ((input * c.heads + h) * c.positions + p) * c.head_size;
        for (int64_t i = 0; i < c.head_size; i += kLanes) store(to + i, load(from + i, c.head_size - i), c.head_size - i);
      }
}

}  // namespace
}  // namespace fuseline
