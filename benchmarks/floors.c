// The floors of a machine: how fast it reads memory, and how many multiply-adds a second it can do.
// usage: floors read BYTES THREADS SECONDS | floors fma THREADS SECONDS | floors dot THREADS SECONDS | floors bf16 THREADS SECONDS
// Prints one number: bytes or multiply-adds a second, the best of the rounds that fit into the time. GCC or Clang.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint64_t words __attribute__((vector_size(64)));

// Sums at once: more than two units with a latency of 4 or 5 need, and not more than registers hold.
#if defined(__AVX512F__)
#define FLOATS 16
#define SUMS 24
#elif defined(__AVX__)
#define FLOATS 8
#define SUMS 12
#else
#define FLOATS 4
#define SUMS 12
#endif
#if defined(__aarch64__)
#define REGISTER "+w"
#else
#define REGISTER "+x"
#endif
typedef float floats __attribute__((vector_size(4 * FLOATS)));

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

static void multiply_add(void) {
  floats sum[SUMS], x, y;
  for (int k = 0; k < FLOATS; k++) x[k] = 0.999f, y[k] = 1e-3f;
  for (int s = 0; s < SUMS; s++) sum[s] = y * (float)s;
  for (long i = 0; i < repeats; i++) {
    __asm__ volatile("" : REGISTER(x), REGISTER(y));
#pragma GCC unroll 24
    for (int s = 0; s < SUMS; s++) sum[s] = sum[s] * x + y;
  }
  for (int s = 1; s < SUMS; s++) sum[0] += sum[s];
  sink ^= (uint64_t)sum[0][0];
}

// Written out, since of sums that the compiler keeps (GCC 12) some go to the stack and back each time, which takes 1.7 times as long.
#define IN_REGISTERS(instruction)                                                                                   \
  for (long i = 0; i < repeats; i++)                                                                                \
    __asm__ volatile(".irp sum,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"                     \
                     instruction " %%zmm30, %%zmm31, %%zmm\\sum\n.endr" ::: ALL_SUMS)
#define ALL_SUMS                                                                                                    \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",        \
      "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23"

#define OF_AVX2 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"
#if defined(__AVX512VNNI__)
#define DOT_SUMS SUMS
#else
#define DOT_SUMS 10
#endif

// With AVX2 pairs of products are added up in 16 bits, and two of these as well before they are widened, as where they fit our kernels do.
static void dot(void) {
#if defined(__AVX512VNNI__)
  IN_REGISTERS("vpdpbusd");
#elif defined(__AVX2__)
  for (long i = 0; i < repeats; i++)
    __asm__ volatile(".irp sum,0,1,2,3,4,5,6,7,8,9\n"
                     "vpmaddubsw %%ymm14, %%ymm15, %%ymm10\n"
                     "vpmaddubsw %%ymm13, %%ymm14, %%ymm11\n"
                     "vpaddw %%ymm11, %%ymm10, %%ymm10\n"
                     "vpmaddwd %%ymm12, %%ymm10, %%ymm10\n"
                     "vpaddd %%ymm10, %%ymm\\sum, %%ymm\\sum\n.endr" ::: OF_AVX2);
#endif
}

static void bfloat16(void) {
#if defined(__AVX512BF16__)
  IN_REGISTERS("vdpbf16ps");
#endif
}

static void *work(void *part) {
  if (kind == 'r') read_part((long)part);
  if (kind == 'f') multiply_add();
  if (kind == 'd') dot();
  if (kind == 'b') bfloat16();
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
    work_done = (double)repeats * SUMS * FLOATS * threads;
  } else {
    int there = 0;  // whether an instruction here does it
#if defined(__AVX512VNNI__) || defined(__AVX2__)
    there |= kind == 'd';
#endif
#if defined(__AVX512BF16__)
    there |= kind == 'b';
#endif
    if (!there) return 4;
    work_done = (double)repeats * (kind == 'd' ? DOT_SUMS * 64 : SUMS * 32) * threads;
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
