/* The whole interface of the kernel library, in C.
 *
 * Every function may be called from several threads at once and none keeps what it is given. A function that can fail
 * returns a fuseline_status, checks its arguments before it touches memory, and leaves the results alone if it fails.
 * Dimensions: R rows, V vocabulary, K candidates of a row. */
#ifndef FUSELINE_KERNELS_H
#define FUSELINE_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises whenever a function here changes its meaning or its arguments, and when one is taken away. */
#define FUSELINE_KERNELS_ABI 1

#define FUSELINE_EXPORT __attribute__((visibility("default")))

/* --- the library and the CPU ------------------------------------------------------------------------------------- */

typedef enum fuseline_status {
  FUSELINE_OK = 0,
  FUSELINE_BAD_ARGUMENT = 1, /* a null pointer, a negative size, or sizes that do not go together */
  FUSELINE_UNKNOWN_ISA = 2,  /* no instruction set of this name is compiled into the library */
  FUSELINE_ABSENT_ISA = 3    /* this CPU, or its operating system, does not offer the instruction set */
} fuseline_status;

/* FUSELINE_KERNELS_ABI of the library that was loaded, to be compared with that of the header. */
FUSELINE_EXPORT int32_t fuseline_abi(void);

/* The instruction set in use: "scalar", "avx2" (with FMA) or "avx512" (F, BW, VL and DQ). The library begins with the
 * widest that the CPU and its operating system offer. */
FUSELINE_EXPORT const char* fuseline_isa(void);

/* The instruction sets that can be used here, widest last, with a space between them: "scalar avx2". */
FUSELINE_EXPORT const char* fuseline_available_isas(void);

/* Uses another instruction set from now on, in the whole process. */
FUSELINE_EXPORT fuseline_status fuseline_use_isa(const char* name);

/* What the CPU has and the operating system lets programs use, with a space between: "avx2 fma avx512f avx512vnni".
 * More than an instruction set of this library needs may be named, less never. */
FUSELINE_EXPORT const char* fuseline_cpu_features(void);

/* --- search ------------------------------------------------------------------------------------------------------ */

/* The K largest logits of each row, largest first, and the logarithm of the sum of the exponentials of each row.
 *
 * logits: float32[R, V], V >= 1, the first of row r at logits + r * row_stride, row_stride >= V if R > 1. 1 <= K <= V.
 * values: float32[R, K], indices: int64[R, K] and logsumexp: float32[R], written whole, contiguous.
 * Of equal logits the lower index comes first. A NaN counts as -inf. Nothing needs to be aligned beyond its own type.
 * logsumexp is within 1e-5 and one rounding to float32 of the exact value; the time is one pass over the logits plus
 * a share for each candidate found, which grows with K: it is meant for some dozens. */
FUSELINE_EXPORT fuseline_status fuseline_top_candidates(const float* logits, int64_t rows, int64_t vocab,
                                                        int64_t row_stride, int64_t k, float* values,
                                                        int64_t* indices, float* logsumexp);

#ifdef __cplusplus
}
#endif

#endif
