// Linear layers in 8 bits with AVX2, which has no product of 8 bits with sums in 32: vpmaddubsw adds two products up in 16, unsigned by
// signed. With weights of either sign 64 products take 6 instructions of which a CPU does two at a time (Zen 3), 2 others and some for the
// signs. Weights as they lie, 0 to 255, take 4 and 2; and 3 and 2 where what comes out of two is added up in 16 bits before it is widened.
//
// So codes of a row that are added up in 16 bits, two of a quad of inputs (twos) and perhaps two at the same places of the next quad (fours),
// must come to 128 at most, those that are positive, and to -128 at least, those that are negative: 255 x 128 fits 16 bits. Most do, since
// a row's scale is that of its largest number. What is too much is taken off the largest codes and multiplied apart, so that sums are
// exact. Rows with much of that are multiplied with signs.
#pragma once

#include <immintrin.h>

#include "linear_blocks.h"

namespace fuseline {
namespace {

// --- what is taken off -----------------------------------------------------------------------------------------------

constexpr int kMost = 128;  // that codes of one sign come to

// Of one row: its codes, of which `together` are added up in 16 bits, and what has been taken off them, `most` times at most.
struct Trimmed {
  int8_t* codes;
  int64_t quads;
  int together;
  int64_t most;
  Apart* apart;
  int32_t count;

  // Takes off what codes of one sign are too much: the largest first. False where there is no room for more.
  bool trim(int8_t* at, int there, int sign) {
    int8_t* const all[] = {at, at + 1, at + 4, at + 5};
    int total = 0;
    for (int i = 0; i < there; ++i) total += sign * *all[i] > 0 ? sign * *all[i] : 0;
    while (total > kMost) {
      if (count == most) return false;
      int8_t* largest = at;
      for (int i = 1; i < there; ++i) largest = sign * *all[i] > sign * *largest ? all[i] : largest;
      const int excess = total - kMost, size = sign * *largest, taken = excess < size ? excess : size;
      Apart& each = apart[count++];
      each = {static_cast<int32_t>((largest - codes) / 4), {}};
      each.codes[(largest - codes) % 4] = static_cast<int8_t>(sign * taken);
      *largest = static_cast<int8_t>(sign * (size - taken));
      total -= taken;
    }
    return true;
  }
  bool trim(int8_t* at, int there) {
    return trim(at, there, 1) && trim(at, there, -1) && trim(at + 2, there, 1) && trim(at + 2, there, -1);
  }

  // Of a quad and the next, if there is one.
  bool trim(int64_t quad) {
    const bool next = quad + 1 < quads;
    int8_t* const at = codes + 4 * quad;
    return trim(at, next ? together : 2) && (together == 4 || !next || trim(at + 4, 2));
  }

  void undo() {
    for (; count > 0; --count) {
      const Apart& last = apart[count - 1];
      for (int k = 0; k < 4; ++k) codes[4 * last.quad + k] = static_cast<int8_t>(codes[4 * last.quad + k] + last.codes[k]);
    }
  }
};

// Where codes of eight quads are too much: two bits for each two codes, and of fours for both twos of them.
struct TooMuch {
  uint32_t twos, fours;

  explicit TooMuch(const int8_t* codes) {
    const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)), zero = _mm256_setzero_si256();
    const auto sums = [](__m256i of_one_sign) { return _mm256_maddubs_epi16(of_one_sign, _mm256_set1_epi8(1)); };
    const auto with_next = [](__m256i two) { return _mm256_add_epi16(two, _mm256_shuffle_epi32(two, 0xb1)); };
    const auto either = [](__m256i a, __m256i b) {
      const __m256i most = _mm256_set1_epi16(kMost);
      return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_or_si256(_mm256_cmpgt_epi16(a, most), _mm256_cmpgt_epi16(b, most))));
    };
    const __m256i positive = sums(_mm256_max_epi8(all, zero)), negative = sums(_mm256_max_epi8(_mm256_sub_epi8(zero, all), zero));
    twos = either(positive, negative);
    fours = either(with_next(positive), with_next(negative));
  }
};

// The fastest way for a row. What is taken off once in 32 quads costs as much as fours gain over twos, and once in 8 half of what twos
// gain over signs.
inline Way way_of(const int8_t* codes, int64_t quads) {
  int64_t twos = 0, fours = 0;
  for (int64_t quad = 0; quad + 8 <= quads; quad += 8) {
    const TooMuch here(codes + 4 * quad);
    twos += __builtin_popcount(here.twos) / 2;
    fours += __builtin_popcount(here.fours) / 4;
  }
  return fours <= quads / 32 ? Way::kFours : twos <= quads / 8 ? Way::kTwos : Way::kSigns;
}

// A row's codes as quantize_row made them, which stay so where they are multiplied with signs.
inline void choose_way(const Prepared& x, int64_t row) {
  const int64_t most = most_apart(x.padded), quads = x.padded / 4;
  int8_t* const codes = x.codes + row * x.padded;
  Way way = way_of(codes, quads);
  const bool fours = way == Way::kFours;
  Trimmed of{codes, quads, fours ? 4 : 2, most, x.apart + row * most, 0};
  for (int64_t first = 0; way != Way::kSigns && first < quads; first += 8) {
    uint32_t flags = UINT32_MAX;
    if (first + 8 <= quads) {
      const TooMuch here(codes + 4 * first);
      flags = fours ? here.fours : here.twos;
    }
    for (int64_t quad = first; flags != 0 && quad < quads; quad += 2, flags >>= 8)
      if ((flags & 0xff) != 0 && !of.trim(quad)) way = Way::kSigns;
  }
  if (way == Way::kSigns) of.undo();
  x.multiplied[row] = {way, of.count};
}

// --- products --------------------------------------------------------------------------------------------------------

// Of a quad of codes, which are not too much, added to 16 sums.
template <class Simd>
inline typename Simd::Sums add_quad(typename Simd::Sums sums, const uint8_t* w, const int8_t* codes) {
  const __m256i a = Simd::four(codes);
  return {Simd::widened(sums.low, _mm256_maddubs_epi16(Simd::bytes(w), a)),
          Simd::widened(sums.high, _mm256_maddubs_epi16(Simd::bytes(w + 32), a))};
}

// The same of codes as they may be, by weights with signs.
template <class Simd>
inline typename Simd::Sums add_with_signs(typename Simd::Sums sums, const uint8_t* w, const int8_t* codes) {
  return Simd::dot(sums, Simd::load(w), Simd::inputs(codes));
}

// Two quads of R rows whose codes are not too much, in fours.
template <class Simd, int R>
inline void add_fours(const uint8_t* w, const int8_t* a, int64_t stride, typename Simd::Sums (&sums)[R]) {
  const auto half = [&](__m256i Simd::Sums::*part, const uint8_t* from) {
    const __m256i first = Simd::bytes(from), second = Simd::bytes(from + 64);
    repeat<R>([&](int r) {
      const int8_t* const codes = a + r * stride;
      const __m256i one = _mm256_maddubs_epi16(first, Simd::four(codes)), two = _mm256_maddubs_epi16(second, Simd::four(codes + 4));
      sums[r].*part = Simd::widened(sums[r].*part, _mm256_add_epi16(one, two));
    });
  };
  half(&Simd::Sums::low, w);
  half(&Simd::Sums::high, w + 32);
}

// R rows but for what is taken off them. resident: the weights are in a cache already.
template <class Simd, int R, Way way, bool resident>
FUSELINE_FLAT inline void add_up_codes(const Prepared& x, int64_t row, const uint8_t* w, typename Simd::Sums* to) {
  const int8_t* a = x.codes + row * x.padded;
  const uint8_t* const end = w + x.padded * kBlockOutputs;
  typename Simd::Sums sums[R];
  repeat<R>([&](int r) { sums[r] = Simd::splat(way == Way::kSigns ? 0 : -128 * x.sums[row + r]); });
  if constexpr (way == Way::kFours)
    for (; end - w >= 128; w += 128, a += 8) {
      if constexpr (!resident) {
        __builtin_prefetch(w + kAhead);
        __builtin_prefetch(w + kAhead + 64);
      }
      add_fours<Simd, R>(w, a, x.padded, sums);
    }
  for (; w != end; w += 64, a += 4) {
    if constexpr (!resident) __builtin_prefetch(w + kAhead);
    if constexpr (way == Way::kSigns) {
      const auto weights = Simd::load(w);
      repeat<R>([&](int r) { sums[r] = Simd::dot(sums[r], weights, Simd::inputs(a + r * x.padded)); });
    } else {
      const __m256i low = Simd::bytes(w), high = Simd::bytes(w + 32);
      repeat<R>([&](int r) {
        const __m256i codes = Simd::four(a + r * x.padded);
        sums[r].low = Simd::widened(sums[r].low, _mm256_maddubs_epi16(low, codes));
        sums[r].high = Simd::widened(sums[r].high, _mm256_maddubs_epi16(high, codes));
      });
    }
  }
  repeat<R>([&](int r) { to[r] = sums[r]; });
}

// R rows of a block, the way that all of them may go.
template <class Simd, int R, bool resident>
inline void pairs_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  Way way = Way::kFours;
  for (int r = 0; r < R; ++r) way = x.multiplied[row + r].way > way ? x.multiplied[row + r].way : way;
  const uint8_t* const w = static_cast<const uint8_t*>(l.weight) + block * x.padded * kBlockOutputs;
  typename Simd::Sums sums[R];
  if constexpr (resident) expect<1>(l, row, R, block);
  switch (way) {
    case Way::kFours: add_up_codes<Simd, R, Way::kFours, resident>(x, row, w, sums); break;
    case Way::kTwos: add_up_codes<Simd, R, Way::kTwos, resident>(x, row, w, sums); break;
    case Way::kSigns: add_up_codes<Simd, R, Way::kSigns, resident>(x, row, w, sums); break;
  }
  for (int r = 0; r < R; ++r) {
    const Apart* const apart = x.apart + (row + r) * most_apart(x.padded);
    for (int32_t i = 0; i < x.multiplied[row + r].apart; ++i) {
      const uint8_t* const quad = w + apart[i].quad * 64;
      sums[r] = way == Way::kSigns ? add_with_signs<Simd>(sums[r], quad, apart[i].codes) : add_quad<Simd>(sums[r], quad, apart[i].codes);
    }
  }
  scale_and_finish<R, 1>(l, x, row, block, [&](int r, int) { return Simd::to_float(sums[r]); });
}

// The rows from `row` on, R at a time, and what is left in halves of that.
template <class Simd, int R, bool resident>
inline void pairs_rows(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  for (; row + R <= l.rows; row += R) pairs_tile<Simd, R, resident>(l, x, row, block);
  if constexpr (R > 1) pairs_rows<Simd, R / 2, resident>(l, x, row, block);
}

// After the first few of many rows the weights are in a cache.
template <class Simd>
inline void pairs_blocks(const fuseline_linear& l, const Prepared& x, int64_t first, int64_t last) {
  constexpr int R = Simd::kCodeRows;
  for (int64_t block = first; block < last; ++block) {
    if (l.rows < kManyRows) {
      pairs_rows<Simd, R, false>(l, x, 0, block);
      continue;
    }
    pairs_tile<Simd, R, false>(l, x, 0, block);
    pairs_rows<Simd, R, true>(l, x, R, block);
  }
}

}  // namespace
}  // namespace fuseline
