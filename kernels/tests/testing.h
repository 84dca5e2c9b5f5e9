// What the tests of the kernels share: random numbers, memory whose end is guarded, and failures that say which case it was.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace testing {

constexpr double kUnit = 0x1p-24;     // half a unit in the last place of a float32 near 1
constexpr double kLeast = 0x1p-149;   // the least float32 above zero

// The case that is being computed, for the message of a failure or a crash.
extern char now[256];
extern int failures;

#define NOW(...) std::snprintf(testing::now, sizeof testing::now, __VA_ARGS__)

// Counts a failure and prints the first few of them.
__attribute__((format(printf, 2, 3))) void expect(bool holds, const char* format, ...);

// A number that must be within `tolerance` of the exact one, or not finite where the exact one is not.
inline bool near(float found, double exact, double tolerance) {
  return std::isfinite(exact) ? std::fabs(found - exact) <= tolerance : !std::isfinite(found);
}

inline bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

inline double half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(fraction + 1024, exponent - 25);
  return (half & 0x8000) != 0 ? -size : size;
}

// The nearest bfloat16, of two equally near ones the even.
inline double to_bfloat16(double x) {
  int exponent;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1, std::max(exponent, -125) - 8), rounded = std::nearbyint(x / unit) * unit;
  return std::isfinite(x) ? (std::fabs(rounded) >= 0x1p128 ? std::copysign(INFINITY, x) : rounded) : x;
}

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}

  int64_t whole(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(bits_() % static_cast<uint64_t>(most - least + 1));
  }
  double unit() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }
  bool chance(double p) { return unit() < p; }
  // Roughly normal, of variance 1.
  float normal() {
    double total = -6;
    for (int i = 0; i < 12; ++i) total += unit();
    return static_cast<float>(total);
  }
  uint16_t half() {  // any finite float16, denormal ones included
    const auto found = static_cast<uint16_t>(bits_());
    return (found & 0x7c00) == 0x7c00 ? static_cast<uint16_t>(found & ~0x4000) : found;
  }

 private:
  std::mt19937_64 bits_;
};

// n elements, filled with zeros. Reading or writing beyond them ends the program: there is a page without access behind,
// or, where AddressSanitizer watches, its own guard on both sides.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t n) : size_(static_cast<size_t>(n)) {
#ifdef __SANITIZE_ADDRESS__
    data_ = new T[size_]();
#else
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (size_ * sizeof(T) + page - 1) / page * page + page;
    memory_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED || mprotect(memory_ + mapped_ - page, page, PROT_NONE) != 0) std::abort();
    data_ = reinterpret_cast<T*>(memory_ + mapped_ - page) - size_;
#endif
  }
  ~Buffer() {
#ifdef __SANITIZE_ADDRESS__
    delete[] data_;
#else
    munmap(memory_, mapped_);
#endif
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() { return data_; }
  int64_t size() const { return static_cast<int64_t>(size_); }
  T& operator[](int64_t i) { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }

 private:
  T* data_;
  size_t size_;
  char* memory_ = nullptr;
  size_t mapped_ = 0;
};

// job(first, last) over [0, total): at once, or one by one, every other of them on a second thread.
template <class Job>
void in_parts(int64_t total, int threads, const Job& job) {
  if (threads == 1) return job(0, total);
  std::vector<std::thread> all;
  for (int64_t t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      for (int64_t i = t; i < total; i += threads) job(i, i + 1);
    });
  for (std::thread& each : all) each.join();
}

// Each computes some hundred random cases on the instruction set in use.
void test_linear(Random& random, int cases);
void test_layer_norm(Random& random, int cases);
void test_convolutions(Random& random, int cases);
void test_resizing(Random& random, int cases);
void test_attention(Random& random, int cases);
void test_encoder_attention(Random& random, int cases);
void test_sources_attention(Random& random, int cases);
void test_top_candidates(Random& random, int cases);
// What threads that work together do is the same on all of them.
void test_team(Random& random, int cases);
// Files that are cut short while they are read.
void test_guard(int cases);
// The operators behind the interface of onnxruntime.
void test_onnxruntime(Random& random);

}  // namespace testing
