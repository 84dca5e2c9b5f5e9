// Cross-attention to several sources at once: flat, one softmax over the positions of all of them, or a softmax for each.
// Written once over the compiler's vectors, of the parts that cross-attention is made of; one file an instruction set includes it.
#pragma once

#include "attention_rows.h"

namespace fuseline {
namespace {

static_assert(kFoundNumbers == 2 * kLanes, "two vectors");

// The sources of one input.
class Present {
 public:
  // biases: memory for a number of each source.
  Present(const fuseline_sources_attention& a, int64_t input, float* biases)
      : starts_(a.starts), lengths_(a.lengths + input * a.sources), weights_(a.weights + input * a.sources), biases_(biases),
        sources_(a.sources) {
    float most = 0;
    each([&](int64_t m, int64_t, int64_t length) {
      positions_ += length;
      most = weights_[m] > most ? weights_[m] : most;
    });
    each([&](int64_t m, int64_t, int64_t) {
      const double ratio = static_cast<double>(weights_[m]) / static_cast<double>(most);  // which float might not hold
      biases[m] = weights_[m] == most ? 0 : static_cast<float>(log(ratio));
    });
  }

  bool has(int64_t m) const { return lengths_[m] > 0 && weights_[m] > 0; }
  int64_t positions() const { return positions_; }
  float weight(int64_t m) const { return weights_[m]; }
  // What a weight adds to scores: nothing where it is the largest one. A factor that all have in common adds nothing either.
  float bias(int64_t m) const { return biases_[m]; }

  // one(m, start, length) for those that are there.
  template <class One>
  void each(const One& one) const {
    for (int64_t m = 0; m < sources_; ++m)
      if (has(m)) one(m, starts_[m], lengths_[m]);
  }

 private:
  const int64_t *starts_, *lengths_;
  const float *weights_, *biases_;
  int64_t sources_, positions_ = 0;
};

// Some heads of an input, and where all of them have their part. query, mixed, share: of query 0 and the first of the heads.
template <class Stored>
struct Asked {
  const fuseline_sources_attention& a;
  const Present& present;
  Heads heads;
  const float* query;
  const Stored *key, *value;
  float *mixed, *share, *scratch;

  // From one query's shares of a head, and from its mixed values, to the next one's.
  int64_t shares() const { return a.heads * a.sources; }
  int64_t apart() const { return (a.separate ? a.sources : 1) * heads.width; }

  // Puts down what R queries from q on have of source m in head h.
  template <int R>
  void put_share(int64_t q, int64_t h, int64_t m, const float* found) const {
    for (int64_t r = 0; r < R; ++r) share[(q + r) * shares() + h * a.sources + m] = found[r];
  }
};

// What R queries' weights of n positions, which take turns, sum to: the first R of `lanes`. Four sums at once, since each has to wait
// for the one before.
template <int R>
inline void sum_of_turns(const float* weights, int64_t n, float (&lanes)[kLanes]) {
  Vector totals[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n * R; i += 4 * kLanes) repeat<4>([&](int k) { totals[k] += load(weights + i + k * kLanes); });
  for (; i < n * R; i += kLanes) totals[0] += load(weights + i, n * R - i);
  write(lanes, (totals[0] + totals[1]) + (totals[2] + totals[3]));
  for (int64_t width = kLanes / 2; width >= R; width /= 2)
    for (int64_t k = 0; k < width; ++k) lanes[k] += lanes[k + width];
}

// What is absent has no place among the scores, so that it makes no difference that it could be there.
template <int R, class Stored>
inline void flat_queries(const Asked<Stored>& of, int64_t q) {
  Heads heads = of.heads;
  const int64_t all = of.present.positions() * R;
  heads.room = whole(all);
  float *scores = of.scratch, *mixed = of.mixed + q * heads.width;
  of.present.each([&](int64_t m, int64_t start, int64_t n) {
    cross_scores<R>(heads, n, of.query + q * heads.width, of.key + start * heads.stride, scores);
    if (const float bias = of.present.bias(m); bias != 0)
      for (int64_t h = 0; h < heads.count; ++h)
        for (int64_t i = 0; i < n * R; ++i) scores[h * heads.room + i] += bias;
    scores += n * R;
  });
  for (int64_t h = 0; h < heads.count; ++h) {
    fill(of.scratch + h * heads.room, all, heads.room);
    softmax<R>(of.scratch + h * heads.room, heads.room);
  }
  const float* weights = of.scratch;
  of.present.each([&](int64_t m, int64_t start, int64_t n) {
    const Stored* const value = of.value + start * heads.stride;
    if (weights == of.scratch)
      cross_mix<R>(heads, n, weights, value, mixed, heads.width);
    else
      cross_mix<R, false>(heads, n, weights, value, mixed, heads.width);
    for (int64_t h = 0; h < heads.count; ++h) {
      float lanes[kLanes] = {1, 1, 1, 1};
      if (n * R < all) sum_of_turns<R>(weights + h * heads.room, n, lanes);  // else it is the only one, and has all
      of.template put_share<R>(q, h, m, lanes);
    }
    weights += n * R;
  });
}

// What the sources of a head have of each of R queries: softmax(largest score + log sum of exponentials + log weight).
template <int R, class Stored>
inline void share_out(const Asked<Stored>& of, int64_t q, int64_t h, float* found) {
  Vector most = splat(-__builtin_inff()), total{};
  of.present.each([&](int64_t m, int64_t, int64_t) {
    const Vector v = load(found + m * kFoundNumbers);
    most = select(v > most, v, most);
  });
  of.present.each([&](int64_t m, int64_t, int64_t) {
    const Vector part = load(found + m * kFoundNumbers + kLanes) * exponential(load(found + m * kFoundNumbers) - most);
    write(found + m * kFoundNumbers, part);
    total += part;
  });
  of.present.each([&](int64_t m, int64_t, int64_t) {
    float lanes[kLanes];
    write(lanes, load(found + m * kFoundNumbers) / total);
    of.template put_share<R>(q, h, m, lanes);
  });
}

template <int R, class Stored>
inline void separate_queries(const Asked<Stored>& of, int64_t q) {
  Heads heads = of.heads;
  const int64_t sources = of.a.sources;
  float* const all_found = of.scratch + heads.count * whole(of.a.positions * R);
  of.present.each([&](int64_t m, int64_t start, int64_t n) {
    heads.room = whole(n * R);
    cross_scores<R>(heads, n, of.query + q * heads.width, of.key + start * heads.stride, of.scratch);
    const float bias = of.present.bias(m);
    for (int64_t h = 0; h < heads.count; ++h) {
      float *scores = of.scratch + h * heads.room, *found = all_found + (h * sources + m) * kFoundNumbers;
      fill(scores, n * R, heads.room);
      const Found here = softmax<R>(scores, heads.room, of.present.weight(m));
      write(found, here.most + bias);
      write(found + kLanes, here.total);
    }
    cross_mix<R>(heads, n, of.scratch, of.value + start * heads.stride, of.mixed + q * of.apart() + m * heads.width, of.apart());
  });
  for (int64_t h = 0; h < heads.count; ++h) share_out<R>(of, q, h, all_found + h * sources * kFoundNumbers);
}

// Zeros for all that no source will write to.
template <class Stored>
inline void clear_absent(const Asked<Stored>& of, int64_t queries) {
  const int64_t floats = of.heads.count * of.heads.size;
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t m = 0; m < of.a.sources; ++m) {
      if (of.present.has(m)) continue;
      for (int64_t h = 0; h < of.heads.count; ++h) of.share[q * of.shares() + h * of.a.sources + m] = 0;
      if (of.a.separate) clear(of.mixed + q * of.apart() + m * of.heads.width, floats);
    }
    if (!of.a.separate && of.present.positions() == 0) clear(of.mixed + q * of.apart(), floats);
  }
}

template <class Stored>
inline void sources_jobs(const fuseline_sources_attention& a, int64_t first, int64_t last, float* scratch) {
  const int64_t queries = a.queries / a.inputs;
  const Stored *keys = static_cast<const Stored*>(a.key), *values = static_cast<const Stored*>(a.value);
  float *const biases = scratch, *const rest = scratch + whole(a.sources);
  Present present(a, first / a.heads, biases);
  int64_t seen = first / a.heads;
  of_inputs<Stored>(a, first, last, [&](int64_t input, int64_t begin, const Heads& heads, int64_t at) {
    if (input != seen) present = Present(a, seen = input, biases);
    Asked<Stored> of{a, present, heads, nullptr, keys + at, values + at, nullptr, nullptr, rest};
    const int64_t row = input * queries, head = begin * heads.size;
    of.query = a.query + row * heads.width + head;
    of.mixed = a.mixed + row * of.apart() + head;
    of.share = a.share + row * of.shares() + begin * a.sources;
    clear_absent(of, queries);
    if (present.positions() == 0) return;
    in_fours(queries, [&](auto rows, int64_t q) {
      constexpr int R = decltype(rows)::count;
      a.separate ? separate_queries<R>(of, q) : flat_queries<R>(of, q);
    });
  });
}

inline void sources_attention(const fuseline_sources_attention& a, int64_t first, int64_t last, float* scratch) {
  a.format == FUSELINE_HALF ? sources_jobs<uint16_t>(a, first, last, scratch) : sources_jobs<float>(a, first, last, scratch);
}

}  // namespace
}  // namespace fuseline
