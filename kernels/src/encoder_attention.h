// The algorithm of an encoder's self-attention: every position attends to every one (attention_rows.h has the formula).
//
// The work is two products of matrices for each head. Keys and values of a head are put in order first, so that both read
// whole vectors one after the other: in qkv a position is as far from the next as three widths, which are powers of two often,
// and all of a head's would fall on the same few lines of a cache. Then a few queries at a time get all their scores, softmax and
// sums. A query's result is the same whichever others are worked on with it.
#pragma once

#include "attention.h"
#include "attention_rows.h"
#include "vectors.h"

namespace fuseline {
namespace {

// Queries, and vectors of positions or of a head, whose sums registers have room for.
#if defined(__AVX512F__)
constexpr int kQueries = 8, kAcross = 2;
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int kQueries = 4, kAcross = 1;
#else
constexpr int kQueries = 2, kAcross = 1;
#endif
static_assert(kQueries <= kScoredQueries, "scratch memory has room for their scores");

// A head of one input.
struct Head {
  const float* queries;  // of its first position; the next one's is `stride` floats on
  float* mixed;          // the next position's is `width` floats on
  const float* bias;     // for distance 0, or null
  int64_t length, size, stride, width, distances;
  float scale;
  float *keys, *values, *scores;  // scratch: [blocks of 16 positions, size, 16]; [length, whole(size)]; [queries, whole(length)]
};

// Keys with the positions of a block side by side; where there are fewer than 16, zeros.
inline void arrange_keys(const Head& h, const float* keys) {
  for (int64_t block = 0; block < h.length; block += kLanes, keys += kLanes * h.stride) {
    float* to = h.keys + block * h.size;
    const int64_t n = h.length - block < kLanes ? h.length - block : kLanes;
    for (int64_t p = 0; p < kLanes; ++p)
      for (int64_t d = 0; d < h.size; ++d) to[d * kLanes + p] = p < n ? keys[p * h.stride + d] : 0.0f;
  }
}

inline void arrange_values(const Head& h, const float* values) {
  for (int64_t p = 0; p < h.length; ++p, values += h.stride)
    for (int64_t d = 0; d < h.size; d += kLanes) write(h.values + p * whole(h.size) + d, load(values + d, h.size - d));
}

// The scores of R queries at W blocks of positions.
template <int R, int W>
inline void block_scores(const Head& h, const float* query, int64_t position) {
  const float* keys = h.keys + position * h.size;
  Vector totals[R][W] = {};
  for (int64_t d = 0; d < h.size; ++d) {
    Vector key[W];
    repeat<W>([&](int w) { key[w] = load(keys + (w * h.size + d) * kLanes); });
    repeat<R>([&](int r) {
      const Vector one = splat(query[r * h.stride + d]);
      repeat<W>([&](int w) { totals[r][w] = fused(one, key[w], totals[r][w]); });
    });
  }
  repeat<R>([&](int r) {
    repeat<W>([&](int w) { write(h.scores + r * whole(h.length) + position + w * kLanes, totals[r][w] * h.scale); });
  });
}

// W vectors of the sums of values that R queries have.
template <int R, int W>
inline void block_sums(const Head& h, float* mixed, int64_t d) {
  const int64_t room = whole(h.length), size = whole(h.size);
  Vector totals[R][W] = {};
  for (int64_t p = 0; p < h.length; ++p) {
    Vector value[W];
    repeat<W>([&](int w) { value[w] = load(h.values + p * size + d + w * kLanes); });
    repeat<R>([&](int r) {
      const Vector weight = splat(h.scores[r * room + p]);
      repeat<W>([&](int w) { totals[r][w] = fused(weight, value[w], totals[r][w]); });
    });
  }
  repeat<R>([&](int r) {
    repeat<W>([&](int w) { store(mixed + r * h.width + d + w * kLanes, totals[r][w], h.size - d - w * kLanes); });
  });
}

// Adds what the scores of the query at a position get for their distances.
inline void add_distances(const Head& h, int64_t query, float* scores) {
  const int64_t far = h.distances - 1;
  const int64_t begin = query > far ? query - far : 0, end = h.length - query > far ? query + far : h.length;
  for (int64_t p = 0; p < begin; ++p) scores[p] += h.bias[-far];
  for (int64_t p = begin; p < end; ++p) scores[p] += h.bias[p - query];
  for (int64_t p = end; p < h.length; ++p) scores[p] += h.bias[far];
}

template <int R>
inline void attend(const Head& h, int64_t query) {
  const float* queries = h.queries + query * h.stride;
  const int64_t room = whole(h.length), size = whole(h.size);
  int64_t p = 0, d = 0;
  for (; p + kAcross * kLanes <= room; p += kAcross * kLanes) block_scores<R, kAcross>(h, queries, p);
  for (; p < room; p += kLanes) block_scores<R, 1>(h, queries, p);
  for (int r = 0; r < R; ++r) {
    float* scores = h.scores + r * room;
    if (h.bias != nullptr) add_distances(h, query + r, scores);
    fill(scores, h.length, room);
    softmax<1>(scores, room);
  }
  float* mixed = h.mixed + query * h.width;
  for (; d + kAcross * kLanes <= size; d += kAcross * kLanes) block_sums<R, kAcross>(h, mixed, d);
  for (; d < size; d += kLanes) block_sums<R, 1>(h, mixed, d);
}

// The queries from `query` on, R at a time, and what is left in halves of that.
template <int R>
inline void attend_all(const Head& h, int64_t query, int64_t end) {
  for (; query + R <= end; query += R) attend<R>(h, query);
  if constexpr (R > 1) attend_all<R / 2>(h, query, end);
}

inline Head head_of(const fuseline_encoder_attention& a, int64_t input, int64_t head, float* scratch) {
  Head h;
  h.length = a.lengths[input];
  h.size = a.head_size;
  h.width = a.heads * a.head_size;
  h.stride = 3 * h.width;
  h.distances = a.distances;
  h.scale = a.scale;
  h.queries = a.qkv + input * a.positions * h.stride + head * a.head_size;
  h.mixed = a.mixed + input * a.positions * h.width + head * a.head_size;
  h.bias = a.distance_bias == nullptr ? nullptr : a.distance_bias + head * (2 * a.distances - 1) + a.distances - 1;
  h.keys = scratch;
  h.values = h.keys + whole(h.length) * h.size;
  h.scores = h.values + h.length * whole(h.size);
  arrange_keys(h, h.queries + h.width);
  arrange_values(h, h.queries + 2 * h.width);
  return h;
}

inline void encoder_attention(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch) {
  const int64_t blocks = encoder_blocks(a);
  while (first < last) {  // blocks of one head after the other
    const int64_t head = first / blocks, next = (head + 1) * blocks < last ? (head + 1) * blocks : last;
    const int64_t begin = first % blocks * kBlockQueries, blocks_end = (next - head * blocks) * kBlockQueries;
    const int64_t end = blocks_end < a.positions ? blocks_end : a.positions, length = a.lengths[head / a.heads];
    if (begin < length) {
      const Head h = head_of(a, head / a.heads, head % a.heads, scratch);
      attend_all<kQueries>(h, begin, end < length ? end : length);
    }
    const int64_t width = a.heads * a.head_size;
    float* mixed = a.mixed + head / a.heads * a.positions * width + head % a.heads * a.head_size;
    for (int64_t p = begin > length ? begin : length; p < end; ++p)
      memset(mixed + p * width, 0, static_cast<size_t>(a.head_size) * sizeof(float));
    first = next;
  }
}

}  // namespace
}  // namespace fuseline
