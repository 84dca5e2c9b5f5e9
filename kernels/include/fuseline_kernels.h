/* The whole interface of the kernel library, in C.
 *
 * Every function may be called from several threads at once and none keeps what it is given; only a guard is kept until it is
 * ended. A function that can fail
 * returns a fuseline_status, checks its arguments before it touches memory, and leaves the results alone if it fails.
 * Dimensions: B inputs of a call (photos, texts), R rows, V vocabulary, K candidates of a row. */
#ifndef FUSELINE_KERNELS_H
#define FUSELINE_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises whenever a function here changes its meaning or its arguments, and when one is taken away. */
#define FUSELINE_KERNELS_ABI 10

#ifdef _WIN32
#define FUSELINE_EXPORT __declspec(dllexport)
#else
#define FUSELINE_EXPORT __attribute__((visibility("default")))
#endif

/* --- the library and the CPU ------------------------------------------------------------------------------------- */

typedef enum fuseline_status {
  FUSELINE_OK = 0,
  FUSELINE_BAD_ARGUMENT = 1, /* a null pointer, a negative size, or sizes that do not go together */
  FUSELINE_UNKNOWN_ISA = 2,  /* no instruction set of this name is compiled into the library */
  FUSELINE_ABSENT_ISA = 3,   /* this CPU, or its operating system, does not offer the instruction set */
  FUSELINE_OVERRUN = 4,      /* more positions than the cache has room for */
  FUSELINE_OUT_OF_RANGE = 5, /* a beam table that points to a row, or a token to one, that is not there, a length of more
                                positions than there are, or windows that have not every position once */
  FUSELINE_BAD_SCALE = 6,    /* a weight's scale that is zero or not finite */
  FUSELINE_NO_MEMORY = 7,    /* not enough memory */
  FUSELINE_BAD_STARTS = 8,   /* sources that do not lie one after the other, from the first position to the last */
  FUSELINE_BAD_WEIGHT = 9    /* a source's weight that is negative or not finite */
} fuseline_status;

/* FUSELINE_KERNELS_ABI of the library that was loaded, to be compared with that of the header. */
FUSELINE_EXPORT int32_t fuseline_abi(void);

/* The instruction set in use: "scalar", "avx2" (with FMA and F16C), "avx512" (F, BW, VL, DQ and VNNI), "avx512bf16" (and BF16),
 * "amx" (avx512, and AMX for 8-bit integers and bfloat16), "neon" (with dot product) or "neonbf16" (and BF16). The library begins
 * with the widest that the CPU and its operating system offer. */
FUSELINE_EXPORT const char* fuseline_isa(void);

/* The instruction sets that can be used here, widest last, with a space between them: "scalar avx2". */
FUSELINE_EXPORT const char* fuseline_available_isas(void);

/* Uses another instruction set from now on, in the whole process. */
FUSELINE_EXPORT fuseline_status fuseline_use_isa(const char* name);

/* What the CPU has and the operating system lets programs use, with a space between: "avx2 fma avx512f avx512vnni",
 * or "asimd asimddp" on ARM.
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

/* The K best continuations of B inputs' hypotheses: what a step of beam search goes on with.
 *
 * logits: float32[B * beams, V], as in fuseline_top_candidates, the rows of one input together; the log-probability of a
 * token is its logit less the row's logsumexp, or where `normalized` is not 0 its logit itself. scores: float32[B, beams],
 * the sum of each hypothesis so far. A row offers k of its tokens, 1 <= k <= V, and K = min(keep, beams * k), keep >= 1.
 * sums, logprobs: float32[B, K], tokens, rows: int64[B, K], written whole, contiguous: best sum first, of equal ones the
 * lower row and in it the larger logit first; a sum that is NaN is worse than any other. best_values: float32[k] and
 * best_indices: int64[k] are scratch. */
FUSELINE_EXPORT fuseline_status fuseline_beam_candidates(const float* logits, int64_t inputs, int64_t beams,
                                                         int64_t vocab, int64_t row_stride, const float* scores,
                                                         int32_t normalized, int64_t k, int64_t keep, float* sums,
                                                         float* logprobs, int64_t* tokens, int64_t* rows,
                                                         float* best_values, int64_t* best_indices);

/* --- linear layers ----------------------------------------------------------------------------------------------- */

/* How weights lie. Of 16 outputs all weights lie together, a block, so that a block is one stream; where there are fewer
 * outputs or inputs than that, weights are zeros. kernels/bodies.py defines what is computed. */
typedef enum fuseline_format {
  FUSELINE_FLOAT = 0, /* float32[blocks, inputs, 16] */
  FUSELINE_HALF = 1,  /* float16[blocks, inputs, 16] */
  FUSELINE_INT8 = 2,  /* uint8[blocks, inputs / 4, 16, 4], zero point 128; scale: float32[outputs] */
  FUSELINE_INT4 = 3,  /* uint8[blocks, inputs / 8, 16, 4], a byte the codes of inputs i and i + 4 of 8, the first in the
                         low bits, zero point 8; scale: float16[blocks, groups, 16] */
  FUSELINE_BFLOAT16 = 4 /* bfloat16[blocks, inputs / 2, 16, 2] */
} fuseline_format;

typedef enum fuseline_activation {
  FUSELINE_NO_ACTIVATION = 0,
  FUSELINE_RELU = 1,
  FUSELINE_GELU = 2,
  FUSELINE_GELU_TANH = 3,
  FUSELINE_QUICK_GELU = 4,
  FUSELINE_SILU = 5,
  FUSELINE_RELU6 = 6
} fuseline_activation;

/* y = activation(x @ weight + bias) * factor + residual. In 8 and 4 bits each row of x is quantized first, by a scale of its own;
 * in bfloat16 x is rounded to it, and products are summed up as float32, where what is less than 2^-126 may count as 0. */
typedef struct fuseline_linear {
  int32_t format;
  int32_t activation;
  int64_t rows, inputs, outputs;
  int64_t padded; /* inputs as the weights have them: rounded up to 2 (bfloat16), 4 (8 bits) or to whole groups (4 bits) */
  int64_t groups; /* 4 bits: weight scales of an output; each is for a multiple of 32 inputs. Else 1. */
  const float* x;        /* [rows, inputs] */
  const void* weight;
  const void* scale;     /* NULL for floats */
  const float* bias;     /* [outputs] */
  const float* factor;   /* [rows, outputs] or NULL */
  const float* residual; /* [rows, outputs] or NULL */
  float* y;              /* [rows, outputs]; may be the residual's or the factor's memory, not x's */
} fuseline_linear;

/* Blocks of 16 outputs, which may be computed in any order and at once. */
FUSELINE_EXPORT int64_t fuseline_linear_blocks(const fuseline_linear* layer);
/* Bytes of scratch memory that a call needs, aligned for int64. */
FUSELINE_EXPORT int64_t fuseline_linear_scratch(const fuseline_linear* layer);
/* Checks the scales of 8 and 4 bits, which are read for it; their sizes must go together. To be asked once for weights that
 * do not change: what the functions below compute with bad scales is of no use, but does no harm. */
FUSELINE_EXPORT fuseline_status fuseline_linear_scales(const fuseline_linear* layer);
/* Checks sizes and pointers. */
FUSELINE_EXPORT fuseline_status fuseline_linear_begin(const fuseline_linear* layer);
/* Rows that are best prepared together. */
#define FUSELINE_LINEAR_ROWS 42
/* Prepares the rows [first, last) of x in scratch, in any order and at once. */
FUSELINE_EXPORT void fuseline_linear_rows(const fuseline_linear* layer, void* scratch, int64_t first, int64_t last);
/* Computes the outputs of the blocks [first, last), when all rows are prepared. */
FUSELINE_EXPORT void fuseline_linear_part(const fuseline_linear* layer, void* scratch, int64_t first, int64_t last);

/* --- embeddings -------------------------------------------------------------------------------------------------- */

/* Rows of a table that lies as the weights of a linear layer with `width` inputs and `vocabulary` outputs, so that one
 * tensor can be the embedding and the head: the row of a token is what the layer multiplies for that output. */
typedef struct fuseline_embedding {
  int32_t format; /* FUSELINE_FLOAT, FUSELINE_HALF or FUSELINE_INT8 */
  int64_t tokens, vocabulary, width;
  const int64_t* ids; /* [tokens] */
  const void* weight;
  const void* scale; /* float32[vocabulary] in 8 bits, else NULL */
  float* embedded;   /* [tokens, width] */
} fuseline_embedding;

/* Checks sizes, pointers, tokens and, in 8 bits, their scales, and writes the rows. */
FUSELINE_EXPORT fuseline_status fuseline_embed(const fuseline_embedding* embedding);

/* --- norms ------------------------------------------------------------------------------------------------------- */

/* Each row less its mean, over the square root of its variance and epsilon, times scale, plus bias (Ba, Kiros, Hinton,
 * arXiv:1607.06450). A row with NaN or infinity becomes NaN. */
typedef struct fuseline_layer_norm {
  int64_t rows, width;
  float epsilon;
  const float* x;     /* [rows, width] */
  const float* scale; /* [width] */
  const float* bias;  /* [width] */
  float* y;           /* as x; may be x's memory */
} fuseline_layer_norm;

/* Checks sizes and pointers. */
FUSELINE_EXPORT fuseline_status fuseline_layer_norm_begin(const fuseline_layer_norm* norm);
/* The rows [first, last), in any order and at once. */
FUSELINE_EXPORT void fuseline_layer_norm_part(const fuseline_layer_norm* norm, int64_t first, int64_t last);

/* Each row over the square root of its mean square and epsilon, times scale (Zhang, Sennrich, arXiv:1910.07467). */
typedef struct fuseline_rms_norm {
  int64_t rows, width;
  float epsilon;
  const float* x;     /* [rows, width] */
  const float* scale; /* [width] */
  float* y;           /* as x; may be x's memory */
} fuseline_rms_norm;

/* Checks sizes and pointers. */
FUSELINE_EXPORT fuseline_status fuseline_rms_norm_begin(const fuseline_rms_norm* norm);
/* The rows [first, last), in any order and at once. */
FUSELINE_EXPORT void fuseline_rms_norm_part(const fuseline_rms_norm* norm, int64_t first, int64_t last);

/* --- convolutions ------------------------------------------------------------------------------------------------ */

/* All have as many zeros around an image as SAME padding (TensorFlow's) asks for: of height h and stride s there are
 * ceil(h / s) rows of results, and of an odd number of zeros the odd one comes after the image. All end in ReLU6, the part of a
 * number from 0 to 6. kernels/bodies.py defines what is computed. */

/* A convolution from planes, as photos have them, to rows of channels. */
typedef struct fuseline_convolution {
  int64_t images, channels, height, width, outputs, kernel, stride;
  const float* x;      /* [images, channels, height, width] */
  const float* weight; /* [channels, kernel, kernel, outputs] */
  const float* bias;   /* [outputs] */
  float* y;            /* [images, rows, columns, outputs] */
} fuseline_convolution;

/* Checks sizes and pointers. */
FUSELINE_EXPORT fuseline_status fuseline_convolution_begin(const fuseline_convolution* convolution);
/* How many rows of results an image has; as many jobs are there of each. */
FUSELINE_EXPORT int64_t fuseline_convolution_rows(const fuseline_convolution* convolution);
/* How many float32 of scratch memory a part needs, however many jobs it does. */
FUSELINE_EXPORT int64_t fuseline_convolution_scratch(const fuseline_convolution* convolution);
/* The jobs [first, last) of images * rows, in any order and at once. scratch: of the calling thread's own. */
FUSELINE_EXPORT void fuseline_convolution_part(const fuseline_convolution* convolution, int64_t first, int64_t last,
                                               float* scratch);

/* An inverted bottleneck (Sandler et al., arXiv:1801.04381) of rows of channels: a linear layer widens the channels of each
 * position, a convolution of each channel alone follows, and a linear layer narrows them again. Both layers have weights in 8 bits
 * (FUSELINE_INT8); the first reads each position in steps of its own, the second in 127 steps from 0 to 6. Without `expand` it
 * is a depthwise separable convolution. */
typedef struct fuseline_bottleneck {
  int64_t images, height, width, channels, middle, outputs, kernel, stride; /* middle: channels of the convolution */
  const float* x;              /* [images, height, width, channels] */
  const void* expand;          /* weights of channels x middle, or NULL, where middle is channels */
  const float* expand_scale;   /* [middle] */
  const float* expand_bias;    /* [middle] */
  const float* depthwise;      /* [kernel, kernel, middle] */
  const float* depthwise_bias; /* [middle] */
  const void* project;         /* weights of middle x outputs */
  const float* project_scale;  /* [outputs] */
  const float* project_bias;   /* [outputs] */
  int32_t adds;                /* not 0: x is added, of as many channels as outputs, with stride 1 */
  float* y;                    /* [images, rows, columns, outputs]; not x's memory */
} fuseline_bottleneck;

/* Checks sizes and pointers. */
FUSELINE_EXPORT fuseline_status fuseline_bottleneck_begin(const fuseline_bottleneck* bottleneck);
/* Checks the scales, as fuseline_linear_scales. */
FUSELINE_EXPORT fuseline_status fuseline_bottleneck_scales(const fuseline_bottleneck* bottleneck);
/* Bytes of scratch memory that an image needs, and that each thread needs of its own for _convolve; aligned for int64. */
FUSELINE_EXPORT int64_t fuseline_bottleneck_scratch(const fuseline_bottleneck* bottleneck);
FUSELINE_EXPORT int64_t fuseline_bottleneck_own(const fuseline_bottleneck* bottleneck);
/* An image is computed in three steps, one after the other: all jobs of _read, which may be none, all of _convolve, and all of
 * _project. Those of a step may be done in any order and at once, and images too, with scratch memory for each. */
FUSELINE_EXPORT int64_t fuseline_bottleneck_read_jobs(const fuseline_bottleneck* bottleneck);
FUSELINE_EXPORT void fuseline_bottleneck_read(const fuseline_bottleneck* bottleneck, void* scratch, int64_t image, int64_t first,
                                              int64_t last);
FUSELINE_EXPORT int64_t fuseline_bottleneck_convolve_jobs(const fuseline_bottleneck* bottleneck);
FUSELINE_EXPORT void fuseline_bottleneck_convolve(const fuseline_bottleneck* bottleneck, void* scratch, void* own, int64_t image,
                                                  int64_t first, int64_t last);
FUSELINE_EXPORT int64_t fuseline_bottleneck_project_jobs(const fuseline_bottleneck* bottleneck);
FUSELINE_EXPORT void fuseline_bottleneck_project(const fuseline_bottleneck* bottleneck, void* scratch, int64_t image, int64_t first,
                                                 int64_t last);

/* --- photos ------------------------------------------------------------------------------------------------------ */

enum { FUSELINE_TRIANGLE = 0, FUSELINE_CUBIC = 1 }; /* Pillow's BILINEAR and BICUBIC */

/* A photo, or the part of it between two columns and two rows, made larger or smaller: to the bit what Pillow makes along the rows
 * first and then along the columns. Sides have at most 2^24 pixels. */
typedef struct fuseline_resizing {
  int64_t height, width;
  const uint8_t* pixels; /* [height, width, 3] */
  float left, upper, right, lower;
  int64_t rows, columns;
  int32_t filter;
  uint8_t* results; /* [rows, columns, 3] */
} fuseline_resizing;

FUSELINE_EXPORT fuseline_status fuseline_resize(const fuseline_resizing* resizing);

/* --- attention --------------------------------------------------------------------------------------------------- */

/* Queries of T tokens a row over a cache of fixed capacity, through the beam table: position p of row r lies in row
 * beam_table[r, p] of the cache. Causal: token t sees the positions up to position + t. */
typedef struct fuseline_self_attention {
  int64_t rows, tokens, heads, head_size, capacity, position;
  float scale;
  const float* qkv;          /* [rows * tokens, 3 * heads * head_size] */
  const int64_t* beam_table; /* [rows, capacity] */
  const float* distance_bias; /* [heads, distances] or NULL: what a score gets for a position so far back, and all further ones */
  int64_t distances;
  float* key;                /* [capacity, rows, heads * head_size]; the step's positions are written by begin */
  float* value;
  float* mixed; /* [rows * tokens, heads * head_size] */
} fuseline_self_attention;

/* Checks sizes, pointers and the table, and writes keys and values of the step into the cache. */
FUSELINE_EXPORT fuseline_status fuseline_self_attention_begin(const fuseline_self_attention* attention);
/* How many float32 of scratch memory a part needs. */
FUSELINE_EXPORT int64_t fuseline_self_attention_scratch(const fuseline_self_attention* attention);
/* The queries [first, last) of rows * tokens. scratch: of the calling thread's own. */
FUSELINE_EXPORT void fuseline_self_attention_part(const fuseline_self_attention* attention, int64_t first, int64_t last,
                                                  float* scratch);

/* Queries of each input's rows over that input's keys and values: all of them, or the first lengths[b]. What lies beyond is
 * not read, and the result does not depend on how much of it there is; of no positions it is zeros. */
typedef struct fuseline_cross_attention {
  int32_t format; /* of keys and values: FUSELINE_FLOAT or FUSELINE_HALF */
  int64_t inputs, queries, positions, heads, head_size; /* queries: of all inputs */
  float scale;
  const float* query; /* [queries, heads * head_size] */
  const void* key;    /* floats: [inputs, positions, heads * head_size], halves: [inputs, heads, positions, head_size] */
  const void* value;
  const int64_t* lengths; /* [inputs] or NULL */
  float* mixed; /* as query */
} fuseline_cross_attention;

/* Checks sizes, pointers and lengths. */
FUSELINE_EXPORT fuseline_status fuseline_cross_attention_begin(const fuseline_cross_attention* attention);
/* How many float32 of scratch memory a part needs for each of its jobs. */
FUSELINE_EXPORT int64_t fuseline_cross_attention_scratch(const fuseline_cross_attention* attention);
/* The jobs [first, last) of inputs * heads. scratch: of the calling thread's own. */
FUSELINE_EXPORT void fuseline_cross_attention_part(const fuseline_cross_attention* attention, int64_t first,
                                                   int64_t last, float* scratch);

/* Queries of each input's rows over that input's keys and values from several sources (Libovicky and Helcl, arXiv:1811.04716).
 * Source m has the positions [starts[m], starts[m + 1]), and an input the first lengths[b, m] of them. With the scores s of a query:
 *   flat      one softmax over all positions, whose scores get the logarithm of their source's weight;
 *   separate  softmax(s) v of each source alone, times the source's weight.
 * Only the ratios of an input's weights count for flat and for share. A source is absent for an input with length 0 or weight 0:
 * it is not read, nothing depends on what lies there, and its share and its part are zeros. Without any source flat is zeros. */
typedef struct fuseline_sources_attention {
  int32_t format;   /* of keys and values: FUSELINE_FLOAT or FUSELINE_HALF */
  int32_t separate; /* 0: flat */
  int64_t inputs, queries, sources, positions, heads, head_size; /* queries: of all inputs; positions: of all sources */
  float scale;
  const float* query; /* [queries, heads * head_size] */
  const void* key;    /* as fuseline_cross_attention */
  const void* value;
  const int64_t* lengths; /* [inputs, sources] */
  const int64_t* starts;  /* [sources + 1], from 0 to positions, not falling */
  const float* weights;   /* [inputs, sources], finite and not negative */
  float* mixed; /* flat: as query; separate: [queries, sources, heads * head_size] */
  float* share; /* [queries, heads, sources]: what a source would have of one softmax over all positions, weights and all */
} fuseline_sources_attention;

/* Checks sizes, pointers, starts, lengths and weights. */
FUSELINE_EXPORT fuseline_status fuseline_sources_attention_begin(const fuseline_sources_attention* attention);
/* How many positions are read, of all inputs. */
FUSELINE_EXPORT int64_t fuseline_sources_attention_positions(const fuseline_sources_attention* attention);
/* How many float32 of scratch memory a part needs for each of its jobs. */
FUSELINE_EXPORT int64_t fuseline_sources_attention_scratch(const fuseline_sources_attention* attention);
/* The jobs [first, last) of inputs * heads. scratch: of the calling thread's own. */
FUSELINE_EXPORT void fuseline_sources_attention_part(const fuseline_sources_attention* attention, int64_t first, int64_t last,
                                                     float* scratch);

/* An encoder's self-attention, without all scores in memory (Dao et al., arXiv:2205.14135). One of two forms:
 *   lengths  each of the first lengths[b] positions of an input attends to all of them. What lies beyond is not read, its results
 *            are zeros, and the others do not depend on how much of it there is, nor on other inputs.
 *   windows  each position attends to those of its window that have its region (Liu et al., arXiv:2103.14030).
 * In bfloat16 queries, keys and values are rounded to the nearest, and so are the exponentials of scores less the largest one that was
 * seen up to then, which sums of values are made of; their own sum is of the exponentials as they are. All sums are float32. */
typedef struct fuseline_encoder_attention {
  int32_t format;             /* FUSELINE_FLOAT or FUSELINE_BFLOAT16 */
  int64_t inputs, positions, heads, head_size;
  float scale;
  const float* qkv;           /* [inputs, positions, 3 * heads * head_size] */
  const int64_t* lengths;     /* [inputs]; NULL where there are windows */
  const float* distance_bias; /* [heads, 2 * distances - 1] or NULL: what a score gets for a position less the query's, the
                                 nearest there is to it; distance 0 is in the middle. Not with windows */
  int64_t distances;
  float* mixed;               /* [inputs, positions, heads * head_size] */
  int64_t windows;            /* of an input, all of P = positions / windows; 0 where there are lengths */
  const int64_t* places;      /* [windows, P]: the positions of each window, every one in exactly one place */
  const int64_t* regions;     /* [windows, P] or NULL where all of a window see each other */
  const float* place_bias;    /* [heads, P, P] or NULL: what a score gets, by the places of the query and of the other position
                                 in their window. Only with windows */
} fuseline_encoder_attention;

/* Checks sizes, pointers, and lengths or places. */
FUSELINE_EXPORT fuseline_status fuseline_encoder_attention_begin(const fuseline_encoder_attention* attention);
/* How many float32 of scratch memory a part needs, however many jobs it does. */
FUSELINE_EXPORT int64_t fuseline_encoder_attention_scratch(const fuseline_encoder_attention* attention);
/* How many jobs there are: blocks of the queries of each head of each input or window. */
FUSELINE_EXPORT int64_t fuseline_encoder_attention_jobs(const fuseline_encoder_attention* attention);
/* The jobs [first, last), in any order and at once. scratch: of the calling thread's own. */
FUSELINE_EXPORT void fuseline_encoder_attention_part(const fuseline_encoder_attention* attention, int64_t first, int64_t last,
                                                     float* scratch);

/* An input's keys or values as halves, in the order in which cross-attention reads them. */
typedef struct fuseline_halves {
  int64_t inputs, positions, heads, head_size;
  const float* floats; /* [inputs, positions, heads * head_size] */
  uint16_t* halves;    /* [inputs, heads, positions, head_size] */
} fuseline_halves;

/* Makes the halves, each the nearest, of two equally near ones the even; what is too large becomes infinite. */
FUSELINE_EXPORT fuseline_status fuseline_to_halves(const fuseline_halves* conversion);

/* --- onnxruntime ------------------------------------------------------------------------------------------------- */

/* The operators that RegisterCustomOps gives onnxruntime, one a line, but for the layer, which takes anything:
 * `CrossAttention<heads: int, scale: float>(query: float32, key: float32, value: float32) => (mixed)`. */
FUSELINE_EXPORT const char* fuseline_operators(void);

/* --- files that are cut short -------------------------------------------------------------------------------------- */

/* Memory that files are mapped to: the addresses [begin, end). */
typedef struct fuseline_range {
  uint64_t begin, end;
  int32_t writable; /* not 0 where the mapping may be written */
} fuseline_range;

/* While there is a guard, reading a page of its ranges that the file no longer has (it was truncated) gives zeros, where it
 * would end the process by SIGBUS, and breaks the guard. The first guard of a process sets a handler for SIGBUS, which stays; all
 * that is not in a guarded range it passes on to the one before. Windows truncates no file that is mapped: there a guard does
 * nothing. */
typedef struct fuseline_guard fuseline_guard;

/* Guards `count` ranges, at least 1, that are copied. */
FUSELINE_EXPORT fuseline_status fuseline_guard_begin(const fuseline_range* ranges, int64_t count, fuseline_guard** guard);
/* 1 once zeros were read for what was gone, else 0. */
FUSELINE_EXPORT int32_t fuseline_guard_broken(const fuseline_guard* guard);
/* Ends a guard, once: its ranges are as all other memory again when this returns. */
FUSELINE_EXPORT void fuseline_guard_end(fuseline_guard* guard);

#ifdef __cplusplus
}
#endif

#endif
