// Sixteen float32 at once, in as many registers as an instruction set needs for them, so that what needs no special
// instruction is written once.
//
// A compiler's own vector type that is wider than a register lives in memory (GCC 12 moves every sum of a loop to the stack
// and back), so where registers are narrower it is a pair here, of registers or again of pairs.
//
// To be included by one file an instruction set; all is in an unnamed namespace, for the reason given in
// top_candidates_rows.h.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fuseline {
namespace {

constexpr int64_t kLanes = 16;

#if defined(__AVX512F__)
constexpr int kRegister = 64;  // bytes
#elif defined(__AVX2__)
constexpr int kRegister = 32;
#else
constexpr int kRegister = 16;
#endif
typedef float Floats __attribute__((vector_size(kRegister)));
typedef int32_t Ints __attribute__((vector_size(kRegister)));

// Of a function whose sums must stay in registers: GCC 12 does not inline more than some calls of what `repeat` writes out.
#define FUSELINE_FLAT __attribute__((flatten))

// Compilers weigh what to inline by the size of a whole file, so that an operator more makes the others slower. In attention it is said: the
// innermost loops become part of those around them, and what is not inlined is loops of its own.
#define FUSELINE_INNER __attribute__((always_inline))
#define FUSELINE_OUTER __attribute__((noinline))

template <class Half>
struct Pair {
  Half low, high;
};

template <class Register, int bytes>
struct Wide {
  typedef Pair<typename Wide<Register, bytes / 2>::Type> Type;
};
template <class Register>
struct Wide<Register, kRegister> {
  typedef Register Type;
};
typedef Wide<Floats, 64>::Type Vector;
typedef Wide<Ints, 64>::Type Integers;

template <class Half>
inline Pair<Half> pair(Half low, Half high) {
  return {low, high};
}

#define FUSELINE_OF_PAIRS(op)                                 \
  template <class T>                                          \
  inline auto operator op(Pair<T> a, Pair<T> b) {             \
    return pair(a.low op b.low, a.high op b.high);            \
  }                                                           \
  template <class T, class Number>                            \
  inline auto operator op(Pair<T> a, Number b) {              \
    return pair(a.low op b, a.high op b);                     \
  }                                                           \
  template <class T>                                          \
  inline auto operator op(float a, Pair<T> b) {               \
    return pair(a op b.low, a op b.high);                     \
  }
FUSELINE_OF_PAIRS(+)
FUSELINE_OF_PAIRS(-)
FUSELINE_OF_PAIRS(*)
FUSELINE_OF_PAIRS(/)
FUSELINE_OF_PAIRS(<)
FUSELINE_OF_PAIRS(>)
FUSELINE_OF_PAIRS(==)
FUSELINE_OF_PAIRS(&)
FUSELINE_OF_PAIRS(|)
FUSELINE_OF_PAIRS(<<)
FUSELINE_OF_PAIRS(>>)
#undef FUSELINE_OF_PAIRS

template <class T>
inline Pair<T> operator-(Pair<T> a) {
  return {-a.low, -a.high};
}
template <class T>
inline Pair<T>& operator+=(Pair<T>& a, Pair<T> b) {
  return a = a + b;
}

// a where the mask is set, else b.
inline Floats select(Ints mask, Floats a, Floats b) { return mask ? a : b; }
template <class M, class T>
inline Pair<T> select(Pair<M> mask, Pair<T> a, Pair<T> b) {
  return {select(mask.low, a.low, b.low), select(mask.high, a.high, b.high)};
}

// a * b + c, rounded once where the instruction set does that. Compilers would make it of a product and a sum in one copy of a
// function and not in another, and results would depend on how rows are shared out: they are told not to (CMakeLists.txt).
inline Floats fused(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(
      _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(
      _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__aarch64__)
  return reinterpret_cast<Floats>(
      vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
#else
  return a * b + c;
#endif
}
template <class T>
inline Pair<T> fused(Pair<T> a, Pair<T> b, Pair<T> c) {
  return {fused(a.low, b.low, c.low), fused(a.high, b.high, c.high)};
}
template <class T>
inline T fused(T a, T b, float c) {
  return fused(a, b, c - T{});
}
template <class T>
inline T fused(T a, float b, T c) {
  return fused(a, b - T{}, c);
}

// Whether a mask is set in any lane.
inline bool any(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(mask), reinterpret_cast<__m512i>(mask)) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_epi8(reinterpret_cast<__m256i>(mask)) != 0;
#elif defined(__aarch64__)
  return vmaxvq_u32(reinterpret_cast<uint32x4_t>(mask)) != 0;
#else
  int32_t lanes[kRegister / sizeof(int32_t)], all = 0;
  memcpy(lanes, &mask, sizeof mask);
  for (int32_t lane : lanes) all |= lane;
  return all != 0;
#endif
}
template <class T>
inline bool any(Pair<T> mask) {
  return any(mask.low | mask.high);
}

// The same bits as another type.
inline Ints bits_of(Floats x) { return reinterpret_cast<Ints>(x); }
inline Floats floats_of(Ints x) { return reinterpret_cast<Floats>(x); }
template <class T>
inline auto bits_of(Pair<T> x) {
  return pair(bits_of(x.low), bits_of(x.high));
}
template <class T>
inline auto floats_of(Pair<T> x) {
  return pair(floats_of(x.low), floats_of(x.high));
}

template <class Register>
inline void read(const void* p, Register& into) {
  memcpy(&into, p, sizeof into);
}
template <class T>
inline void read(const void* p, Pair<T>& into) {
  read(p, into.low);
  read(static_cast<const char*>(p) + sizeof into.low, into.high);
}
template <class Register>
inline void write(void* p, Register v) {
  memcpy(p, &v, sizeof v);
}
template <class T>
inline void write(void* p, Pair<T> v) {
  write(p, v.low);
  write(static_cast<char*>(p) + sizeof v.low, v.high);
}

// Calls f(0) to f(n - 1), written out: an array that is only indexed by constants can live in registers.
template <int n, class F>
__attribute__((always_inline)) inline void repeat(const F& f) {
  if constexpr (n > 1) repeat<n - 1>(f);
  f(n - 1);
}

// In every lane. Less zero, since zero plus -0 is 0 and would have to be computed.
inline Vector splat(float x) {
  Vector v = x - Vector{};
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));  // in a register, or it is loaded again for each product: a step in fp16 takes 1.1 times as long
#endif
  return v;
}

// The larger and the smaller of two numbers; where one is NaN, the second.
inline Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
  return select(a > b, a, b);
#endif
}
inline Floats smaller(Floats a, Floats b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
  return select(a < b, a, b);
#endif
}
template <class T>
inline Pair<T> smaller(Pair<T> a, Pair<T> b) {
  return {smaller(a.low, b.low), smaller(a.high, b.high)};
}

inline Vector load(const float* p) {
  Vector v;
  read(p, v);
  return v;
}

// Which lanes the first n are; more than there are mean all.
#if defined(__AVX512F__)
inline __mmask16 lanes_to(int64_t n) { return static_cast<__mmask16>(n >= kLanes ? 0xffff : (1u << n) - 1); }
#elif defined(__AVX2__)
inline __m256i lanes_to(int64_t n) {
  const __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 0 ? 0 : n < 8 ? n : 8)), number);
}
#endif

// The first n elements, the rest zero; nothing is read beyond them.
inline Vector load(const float* p, int64_t n) {
  if (n >= kLanes) return load(p);
#if defined(__AVX512F__)
  return reinterpret_cast<Vector>(_mm512_maskz_loadu_ps(lanes_to(n), p));
#elif defined(__AVX2__)
  if (n <= 8) return {reinterpret_cast<Floats>(_mm256_maskload_ps(p, lanes_to(n))), Floats{}};
  return {reinterpret_cast<Floats>(_mm256_loadu_ps(p)), reinterpret_cast<Floats>(_mm256_maskload_ps(p + 8, lanes_to(n - 8)))};
#else
  float lanes[kLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return load(lanes);
#endif
}

// The first n elements, the rest zero.
inline Vector first_of(Vector v, int64_t n) {
  float lanes[kLanes];
  write(lanes, v);
  return load(lanes, n);
}

inline void store(float* p, Vector v, int64_t n) {
  if (n >= kLanes) return write(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, lanes_to(n), reinterpret_cast<__m512>(v));
#elif defined(__AVX2__)
  if (n <= 8) return _mm256_maskstore_ps(p, lanes_to(n), reinterpret_cast<__m256>(v.low));
  _mm256_storeu_ps(p, reinterpret_cast<__m256>(v.low));
  _mm256_maskstore_ps(p + 8, lanes_to(n - 8), reinterpret_cast<__m256>(v.high));
#else
  float lanes[kLanes];
  write(lanes, v);
  memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
#endif
}

#if defined(__AVX512F__)
inline float sum(Vector v) { return _mm512_reduce_add_ps(v); }
#else
inline float sum(Floats v) {
  float lanes[kRegister / sizeof(float)];
  memcpy(lanes, &v, sizeof v);
  for (int width = kRegister / 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}
template <class T>
inline float sum(Pair<T> v) {
  return sum(v.low + v.high);
}
#endif

// The sums of four vectors, one after the other.
#if defined(__AVX512F__)
inline void sums(const Vector (&v)[4], float* out) {
  const auto halves = [](Vector a, Vector b) {  // of each, in 128 bits: first + third, second + fourth quarter
    const __m512 x = reinterpret_cast<__m512>(a), y = reinterpret_cast<__m512>(b);
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
  };
  const __m512 a = halves(v[0], v[2]), b = halves(v[1], v[3]);
  const __m512 all = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  const __m256 pairs = _mm256_hadd_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  _mm_storeu_ps(out, _mm_hadd_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}
#elif defined(__AVX2__)
inline void sums(const Vector (&v)[4], float* out) {
  const auto pairs = [](Vector a, Vector b) {
    return _mm256_hadd_ps(reinterpret_cast<__m256>(a.low + a.high), reinterpret_cast<__m256>(b.low + b.high));
  };
  const __m256 all = _mm256_hadd_ps(pairs(v[0], v[1]), pairs(v[2], v[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}
#elif defined(__aarch64__)
inline void sums(const Vector (&v)[4], float* out) {
  const auto folded = [](Vector a) {
    return reinterpret_cast<float32x4_t>((a.low.low + a.high.low) + (a.low.high + a.high.high));
  };
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(folded(v[0]), folded(v[1])), vpaddq_f32(folded(v[2]), folded(v[3]))));
}
#else
inline void sums(const Vector (&v)[4], float* out) {
  for (int i = 0; i < 4; ++i) out[i] = sum(v[i]);
}
#endif

// Sixteen vectors as the rows of a square, turned into its columns.
#if defined(__AVX512F__)
inline void transpose(Vector (&v)[kLanes]) {
  // Squares of 2, 4, 8 and 16: of each pair of rows so far apart the halves are exchanged.
  __m512 a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = reinterpret_cast<__m512>(v[i]);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  const auto pairs_low = [](__m512 x, __m512 y) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
  const auto pairs_high = [](__m512 x, __m512 y) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
  for (int i = 0; i < 16; i += 4)
    for (int k = 0; k < 2; ++k) {
      a[i + 2 * k] = pairs_low(b[i + k], b[i + k + 2]);
      a[i + 2 * k + 1] = pairs_high(b[i + k], b[i + k + 2]);
    }
  // a[4 g + c] has of its quarter q what row 4 g has in columns 4 q + c, and the next three rows.
  for (int c = 0; c < 4; ++c) {
    const __m512 low = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x44), high = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xee);
    const __m512 low_2 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x44), high_2 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xee);
    v[c] = reinterpret_cast<Vector>(_mm512_shuffle_f32x4(low, low_2, 0x88));
    v[4 + c] = reinterpret_cast<Vector>(_mm512_shuffle_f32x4(low, low_2, 0xdd));
    v[8 + c] = reinterpret_cast<Vector>(_mm512_shuffle_f32x4(high, high_2, 0x88));
    v[12 + c] = reinterpret_cast<Vector>(_mm512_shuffle_f32x4(high, high_2, 0xdd));
  }
}
#endif

#if defined(__AVX512F__)
inline int32_t sum_of(Integers v) { return _mm512_reduce_add_epi32(reinterpret_cast<__m512i>(v)); }
inline int32_t largest(Integers v) { return _mm512_reduce_max_epi32(reinterpret_cast<__m512i>(v)); }
#else
inline int32_t sum_of(Integers v) {
  int32_t lanes[kLanes];
  write(lanes, v);
  int32_t total = 0;
  for (int32_t lane : lanes) total += lane;
  return total;
}
inline int32_t largest(Integers v) {
  int32_t lanes[kLanes];
  write(lanes, v);
  int32_t most = lanes[0];
  for (int32_t lane : lanes) most = lane > most ? lane : most;
  return most;
}
#endif

inline Ints larger(Ints a, Ints b) { return a > b ? a : b; }
template <class T>
inline Pair<T> larger(Pair<T> a, Pair<T> b) {
  return {larger(a.low, b.low), larger(a.high, b.high)};
}

// The part from 0 to 6; NaN stays NaN.
inline Vector relu6(Vector x) { return smaller(splat(6), larger(Vector{}, x)); }

// Whole numbers from -128 to 127, as bytes.
#if defined(__AVX512F__)
inline void write_bytes(int8_t* p, Integers v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
}
#elif defined(__AVX2__)
inline void write_bytes(int8_t* p, Integers v) {
  const __m256i mixed = _mm256_packs_epi32(reinterpret_cast<__m256i>(v.low), reinterpret_cast<__m256i>(v.high));
  const __m256i pairs = _mm256_permute4x64_epi64(mixed, 0xd8);  // packing goes by halves of a register
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)));
}
#else
inline void write_bytes(int8_t* p, Integers v) {
  int32_t lanes[kLanes];
  write(lanes, v);
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int8_t>(lanes[i]);
}
#endif

// The first n of them.
inline void store_bytes(int8_t* p, Integers v, int64_t n) {
  if (n >= kLanes) return write_bytes(p, v);
#if defined(__AVX512F__)
  _mm512_mask_cvtepi32_storeu_epi8(p, lanes_to(n), reinterpret_cast<__m512i>(v));
#else
  int8_t lanes[kLanes];
  write_bytes(lanes, v);
  memcpy(p, lanes, static_cast<size_t>(n));
#endif
}

#if defined(__AVX512F__)
inline Vector load_half(const uint16_t* p) {
  return reinterpret_cast<Vector>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
#elif defined(__F16C__)
inline Vector load_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
#elif defined(__aarch64__)  // which all can convert, though not all can compute with halves
inline Floats four_halves(const uint16_t* p) {
  return reinterpret_cast<Floats>(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))));
}
inline Vector load_half(const uint16_t* p) {
  return {{four_halves(p), four_halves(p + 4)}, {four_halves(p + 8), four_halves(p + 12)}};
}
#else
// IEEE 754 half to single: the exponent is moved by a multiplication, which also normalizes what was subnormal.
inline Vector load_half(const uint16_t* p) {
  int32_t lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = p[i];
  Integers bits;
  read(lanes, bits);
  const Integers sign = (bits & 0x8000) << 16, rest = (bits & 0x7fff) << 13;
  const Integers normal = bits_of(floats_of(rest) * 0x1p112f);
  const Integers special = (bits & 0x7c00) == 0x7c00;  // infinity and NaN keep all ones in the exponent
  return floats_of(normal | (special & 0x7f800000) | sign);
}
#endif

// To the nearest half, of two equally near ones the even; what is too large becomes infinite.
#if defined(__AVX512F__)
inline void write(uint16_t* p, Vector v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(reinterpret_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__F16C__)
inline void write(uint16_t* p, Vector v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.low, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(v.high, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__aarch64__)
inline void write_four(uint16_t* p, Floats v) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(reinterpret_cast<float32x4_t>(v))));
}
inline void write(uint16_t* p, Vector v) {
  write_four(p, v.low.low);
  write_four(p + 4, v.low.high);
  write_four(p + 8, v.high.low);
  write_four(p + 12, v.high.high);
}
#else
inline uint16_t half_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (size >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);
  // What becomes subnormal has its last bit where that of 1/2 is: adding 1/2 rounds it.
  const float raised = __builtin_fabsf(x) + 0.5f;
  uint32_t small;
  memcpy(&small, &raised, sizeof small);
  return static_cast<uint16_t>(sign | (size < 0x38800000 ? small - 0x3f000000 : (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13));
}
inline void write(uint16_t* p, Vector v) {
  float lanes[kLanes];
  write(lanes, v);
  for (int i = 0; i < kLanes; ++i) p[i] = half_of(lanes[i]);
}
#endif

// The first n of them.
inline void store(uint16_t* p, Vector v, int64_t n) {
  if (n >= kLanes) return write(p, v);
  uint16_t lanes[kLanes];
  write(lanes, v);
  memcpy(p, lanes, static_cast<size_t>(n) * sizeof(uint16_t));
}

inline Vector load(const uint16_t* halves) { return load_half(halves); }
inline Vector load(const uint16_t* halves, int64_t n) {
  if (n >= kLanes) return load_half(halves);
  uint16_t lanes[kLanes] = {};
  memcpy(lanes, halves, static_cast<size_t>(n) * sizeof(uint16_t));
  return load_half(lanes);
}

// To the nearest bfloat16, of two equally near ones the even, as float32. NaN stays NaN.
inline Vector to_bfloat16(Vector x) {
  const Integers bits = bits_of(x), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & static_cast<int32_t>(0xffff0000);
  return select(x == x, floats_of(rounded), floats_of(bits | 0x400000));
}
inline float to_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = x == x ? (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000 : bits | 0x400000;
  memcpy(&x, &bits, sizeof x);
  return x;
}
// Of sixteen pairs of bfloat16 the first ones and the second ones.
inline Vector first_of_pairs(Vector pairs) { return floats_of(bits_of(pairs) << 16); }
inline Vector second_of_pairs(Vector pairs) { return floats_of(bits_of(pairs) & static_cast<int32_t>(0xffff0000)); }
#if defined(__AVX512F__)
// 32 numbers as bfloat16, in their order.
inline Vector bfloat16_pairs(Vector first, Vector second) {
  const auto halves = [](Vector v) {
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(reinterpret_cast<__m512i>(to_bfloat16(v)), 16));
  };
  return reinterpret_cast<Vector>(_mm512_inserti64x4(_mm512_castsi256_si512(halves(first)), halves(second), 1));
}
#endif

// exp(x) within 2 units in the last place of float32 for -87 <= x <= 88, held there outside. NaN stays NaN.
inline Vector exponential(Vector x) {
  const Vector low = splat(-87.0f), high = splat(88.0f);
  x = select(x < low, low, x);
  x = select(x > high, high, x);
  // x = n ln 2 + r, |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to a whole number. ln 2 in two parts keeps r exact.
  const Vector magic = splat(12582912.0f);
  const Vector shifted = fused(x, 1.44269504f, magic);
  const Vector n = shifted - magic;
  const Vector r = fused(n, 2.12194440e-4f, fused(n, -0.693359375f, x));
  Vector p = splat(1 / 720.0f);
  p = fused(p, r, 1 / 120.0f);
  p = fused(p, r, 1 / 24.0f);
  p = fused(p, r, 1 / 6.0f);
  p = fused(p, r, 0.5f);
  p = fused(p, r, 1.0f);
  p = fused(p, r, 1.0f);
  const Integers power = (bits_of(shifted) - 0x4b400000 + 127) << 23;
  return select(x == x, p * floats_of(power), x);
}

inline Vector absolute(Vector x) { return floats_of(bits_of(x) & 0x7fffffff); }

// 0 where the exponential is held: a huge x times what would be left there is not small.
inline Vector sigmoid(Vector x) { return select(x < splat(-87.0f), Vector{}, 1.0f / (1.0f + exponential(-x))); }

}  // namespace
}  // namespace fuseline
