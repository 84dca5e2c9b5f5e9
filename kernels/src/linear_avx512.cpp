// Linear layers with AVX-512 and VNNI, and in bfloat16 with BF16 where there is that.
#include "linear_avx512.h"
#include "linear_bottleneck.h"

namespace fuseline {
namespace {

struct Avx512BFloat16 : Avx512 {
  static constexpr bool kPairs = true;

  static Vector pair(const float* p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return reinterpret_cast<Vector>(_mm512_set1_epi32(word));
  }
  // As an instruction, which needs no flag of the compiler's that the rest of this file must not have.
  static Vector add_pairs(Vector x, Vector w, Vector y) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(y) : "v"(w), "v"(x));
    return y;
  }
};

// Of a bottleneck's first layer: activations with 128 added have no sign, and no row's sum is needed. What is too much is the same for
// all rows.
template <>
struct First<Avx512> {
  static constexpr int kRows = 12;
  static Avx512::Sums start(const uint8_t* w, int64_t size) {
    const Avx512::Inputs too_much = _mm512_set1_epi8(static_cast<char>(0x80));
    Avx512::Sums even = Avx512::splat(0), odd = even;
    for (int64_t at = 0; at + 64 < size; at += 128) {
      even = Avx512::dot(even, too_much, load(w + at));
      odd = Avx512::dot(odd, too_much, load(w + at + 64));
    }
    if (size % 128 != 0) even = Avx512::dot(even, too_much, load(w + size - 64));
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_add_epi32(even, odd));
  }
  static Avx512::Active load(const uint8_t* p) { return Avx512::active(p); }
  static Avx512::Sums dot(const Avx512::Sums& sums, const Avx512::Active& w, const Avx512::Inputs& a) {
    return Avx512::dot_active(sums, w, a);
  }
};

// What is read alone: as quantize_row makes it, and 128 added.
void read_row(const fuseline_linear& l, const Prepared& into, int64_t row) {
  int8_t* codes = into.codes + row * into.padded;
  int32_t sum;
  quantize_row(l.x + row * l.inputs, l.inputs, into.padded, 1, codes, &sum, into.scales + row);
  for (int64_t i = 0; i < into.padded; ++i) codes[i] = static_cast<int8_t>(codes[i] ^ 0x80);
}

// The largest number of each row, without its sign, as bits; behind all numbers come infinity and NaN.
Integers largest_of_rows(const float* x, int64_t inputs) {
  __m512i v[kLanes];
  for (int r = 0; r < kLanes; ++r, x += inputs) {
    Integers most{};
    for (int64_t i = 0; i < inputs; i += kLanes) most = larger(bits_of(load(x + i, inputs - i)) & 0x7fffffff, most);
    v[r] = reinterpret_cast<__m512i>(most);
  }
  // Of each two rows, then four in 128 bits, and then all.
  for (int r = 0; r < 8; ++r)
    v[r] = _mm512_max_epi32(_mm512_unpacklo_epi32(v[2 * r], v[2 * r + 1]), _mm512_unpackhi_epi32(v[2 * r], v[2 * r + 1]));
  for (int r = 0; r < 4; ++r)
    v[r] = _mm512_max_epi32(_mm512_unpacklo_epi64(v[2 * r], v[2 * r + 1]), _mm512_unpackhi_epi64(v[2 * r], v[2 * r + 1]));
  for (int r = 0; r < 2; ++r)
    v[r] = _mm512_max_epi32(_mm512_shuffle_i32x4(v[2 * r], v[2 * r + 1], 0x44), _mm512_shuffle_i32x4(v[2 * r], v[2 * r + 1], 0xee));
  return reinterpret_cast<Integers>(
      _mm512_max_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x88), _mm512_shuffle_i32x4(v[0], v[1], 0xdd)));
}

// 16 rows together, which have few inputs: one by one, finding the largest of each and its step took most of the time.
void read_rows(const fuseline_linear& l, const Prepared& into, int64_t row) {
  const float* x = l.x + row * l.inputs;
  const Integers most = largest_of_rows(x, l.inputs);
  if (any(most >= 0x7f800000)) {
    for (int64_t r = row; r < row + kLanes; ++r) read_row(l, into, r);
    return;
  }
  const Vector step = larger(floats_of(most) * (1.0f / 127.0f), splat(1e-30f));
  alignas(64) float inverse[kLanes];
  write(inverse, 1.0f / step);
  write(into.scales + row, step);
  int8_t* codes = into.codes + row * into.padded;
  for (int r = 0; r < kLanes; ++r, x += l.inputs, codes += into.padded)
    for (int64_t i = 0; i < into.padded; i += kLanes)
      store_bytes(codes + i, quantized(load(x + i, l.inputs - i), into.scales[row + r], inverse[r]) + 128, into.padded - i);
}

}  // namespace

void read_rows_avx512(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  for (; first + kLanes <= last; first += kLanes) read_rows(layer, into, first);
  for (; first < last; ++first) read_row(layer, into, first);
}

void prepare_rows_avx512(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  all_rows_prepared<Avx512>(layer, into, first, last);
}

void linear_blocks_avx512(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  all_blocks<Avx512>(layer, x, first, last);
}

void widen_avx512(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t blocks, float* const* to) {
  widen_rows<Avx512>(layer, x, first, blocks, to);
}

void narrow_avx512(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  narrow_blocks<Avx512>(layer, x, first, last);
}

void prepare_rows_avx512bf16(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_BFLOAT16) return prepare_rows_avx512(layer, into, first, last);
  rows_rounded<Avx512BFloat16, Paired>(layer, into, first, last);
}

void linear_blocks_avx512bf16(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_BFLOAT16) return linear_blocks_avx512(layer, x, first, last);
  all_blocks<Avx512BFloat16>(layer, x, first, last);
}

}  // namespace fuseline
