// The floors of a machine: how fast it reads memory, and how many multiply-adds a second it can do.
// usage: floors read BYTES THREADS SECONDS | floors fma THREADS SECONDS | floors dot THREADS SECONDS
// Prints one number: bytes or multiply-adds a second, the best of the rounds that fit into the time. GCC or Clang.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

typedef uint64_t words __attribute__((vector_size(64)));
typedef float floats __attribute__((vector_size(64)));

static const words *memory;
static size_t vectors;
static int threads;
static char kind;
static long repeats = 2000000;
static volatile uint64_t sink;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void read_part(long part) {
  size_t begin = vectors / threads * part, end = part == threads - 1 ? vectors : vectors / threads * (part + 1);
  words a = {0}, b = {0}, c = {0}, d = {0};
  for (size_t i = begin; i + 4 <= end; i += 4) {
    a ^= memory[i];
    b ^= memory[i + 1];
    c ^= memory[i + 2];
    d ^= memory[i + 3];
  }
  a ^= b ^ c ^ d;
  sink ^= a[0] ^ a[7];
}

// 24 sums at once: more than two units with a latency of 4 or 5 need, and as many as registers hold.
#define SUMS 24
static void multiply_add(void) {
  floats sum[SUMS], x, y;
  for (int k = 0; k < 16; k++) x[k] = 0.999f, y[k] = 1e-3f;
  for (int s = 0; s < SUMS; s++) sum[s] = y * (float)s;
  for (long i = 0; i < repeats; i++) {
    __asm__ volatile("" : "+x"(x), "+x"(y));
#pragma GCC unroll 24
    for (int s = 0; s < SUMS; s++) sum[s] = sum[s] * x + y;
  }
  for (int s = 1; s < SUMS; s++) sum[0] += sum[s];
  sink ^= (uint64_t)sum[0][0];
}

static void dot(void) {
#if defined(__AVX512VNNI__)
  __m512i sum[SUMS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-2);
  for (int s = 0; s < SUMS; s++) sum[s] = _mm512_set1_epi32(s);
  for (long i = 0; i < repeats; i++) {
    __asm__ volatile("" : "+x"(x), "+x"(y));
#pragma GCC unroll 24
    for (int s = 0; s < SUMS; s++) sum[s] = _mm512_dpbusd_epi32(sum[s], x, y);
  }
  for (int s = 1; s < SUMS; s++) sum[0] = _mm512_add_epi32(sum[0], sum[s]);
  sink ^= (uint64_t)_mm512_reduce_add_epi32(sum[0]);
#endif
}

static void *work(void *part) {
  if (kind == 'r') read_part((long)part);
  if (kind == 'f') multiply_add();
  if (kind == 'd') dot();
  return NULL;
}

// One round on all threads; threads are made anew, which costs some 0.02 ms of a round of 4 ms or more.
static double round_seconds(void) {
  pthread_t ids[256];
  double began = now();
  for (long t = 1; t < threads; t++) pthread_create(&ids[t], NULL, work, (void *)t);
  work((void *)0);
  for (long t = 1; t < threads; t++) pthread_join(ids[t], NULL);
  return now() - began;
}

int main(int count, char **words_given) {
  if (count < 4) return 2;
  kind = words_given[1][0];
  int shift = kind == 'r';
  if (count < 4 + shift) return 2;
  threads = atoi(words_given[2 + shift]);
  if (threads < 1 || threads > 256) return 2;
  double seconds = atof(words_given[3 + shift]), work_done = 0, best = 1e30, began;
  if (kind == 'r') {
    vectors = strtoull(words_given[2], NULL, 10) / sizeof(words);
    void *filled = aligned_alloc(4096, (vectors * sizeof(words) + 4095) / 4096 * 4096);
    if (!filled) return 3;
    memset(filled, 1, vectors * sizeof(words));
    memory = filled;
    work_done = (double)vectors * sizeof(words);
  } else if (kind == 'f') {
    work_done = (double)repeats * SUMS * 16 * threads;
  } else {
#if !defined(__AVX512VNNI__)
    return 4;  // no instruction here does it
#endif
    work_done = (double)repeats * SUMS * 64 * threads;
  }
  round_seconds();
  for (began = now(); now() - began < seconds;) {
    double took = round_seconds();
    if (took < best) best = took;
  }
  if (best > 1e29) best = round_seconds();
  printf("%.6g\n", work_done / best);
  return 0;
}
