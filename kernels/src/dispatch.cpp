// The C interface: checks the arguments and calls the function of the instruction set in use.
#include <atomic>
#include <cfloat>
#include <cstring>
#include <initializer_list>

#include "attention.h"
#include "beam_candidates.h"
#include "convolutions.h"
#include "cpu.h"
#include "fuseline_kernels.h"
#include "layer_norm.h"
#include "linear.h"
#include "memory.h"
#include "resizing.h"
#include "sizes.h"
#include "top_candidates.h"

namespace fuseline {
namespace {

// One instruction set: what it is called and its function for every operator.
struct Isa {
  const char* name;
  bool (*usable)();
  TopCandidates* top_candidates;
  PrepareRows* prepare_rows;
  LinearBlocks* linear_blocks;
  LayerNorm* layer_norm;
  RmsNorm* rms_norm;
  SelfAttention* self_attention;
  CrossAttention* cross_attention;
  SourcesAttention* sources_attention;
  EncoderAttention* encoder_attention;
  ToHalves* to_halves;
  Convolution* convolution;
  BottleneckParts bottleneck;
  Resizing resizing;
};

#ifdef FUSELINE_X86
// Tiles in plain code are for CPUs without any of this.
void encoder_attention_amx(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch) {
  (cpu().avx512bf16 ? encoder_attention_avx512bf16 : encoder_attention_avx512)(a, first, last, scratch);
}
#endif

const Isa kIsas[] = {
    {"scalar", [] { return true; }, top_candidates_scalar, prepare_rows_scalar, linear_blocks_scalar, layer_norm_scalar,
     rms_norm_scalar, self_attention_scalar, cross_attention_scalar, sources_attention_scalar, encoder_attention_scalar,
     to_halves_scalar, convolution_scalar, {prepare_rows_scalar, widen_scalar, depthwise_scalar, narrow_scalar},
     {resize_rows_scalar, resize_columns_scalar}},
#ifdef FUSELINE_X86
    {"avx2", [] { return cpu().avx2; }, top_candidates_avx2, prepare_rows_avx2, linear_blocks_avx2, layer_norm_avx2,
     rms_norm_avx2, self_attention_avx2, cross_attention_avx2, sources_attention_avx2, encoder_attention_avx2,
     to_halves_avx2, convolution_avx2, {prepare_rows_avx2, widen_avx2, depthwise_avx2, narrow_avx2},
     {resize_rows_avx2, resize_columns_avx2}},
    {"avx512", [] { return cpu().avx512; }, top_candidates_avx512, prepare_rows_avx512, linear_blocks_avx512, layer_norm_avx512,
     rms_norm_avx512, self_attention_avx512, cross_attention_avx512, sources_attention_avx512, encoder_attention_avx512,
     to_halves_avx512, convolution_avx512, {read_rows_avx512, widen_avx512, depthwise_avx512, narrow_avx512},
     {resize_rows_avx512, resize_columns_avx512}},
    {"avx512bf16", [] { return cpu().avx512bf16; }, top_candidates_avx512, prepare_rows_avx512bf16, linear_blocks_avx512bf16,
     layer_norm_avx512, rms_norm_avx512, self_attention_avx512, cross_attention_avx512, sources_attention_avx512,
     encoder_attention_avx512bf16, to_halves_avx512, convolution_avx512,
     {read_rows_avx512, widen_avx512, depthwise_avx512, narrow_avx512},
     {resize_rows_avx512, resize_columns_avx512}},
    {"amx", [] { return cpu().amx; }, top_candidates_avx512, prepare_rows_amx, linear_blocks_amx, layer_norm_avx512,
     rms_norm_avx512, self_attention_avx512, cross_attention_avx512, sources_attention_avx512, encoder_attention_amx,
     to_halves_avx512, convolution_avx512, {read_rows_avx512, widen_avx512, depthwise_avx512, narrow_amx},
     {resize_rows_avx512, resize_columns_avx512}},
#endif
#ifdef FUSELINE_ARM
    {"neon", [] { return cpu().neon; }, top_candidates_neon, prepare_rows_neon, linear_blocks_neon, layer_norm_neon,
     rms_norm_neon, self_attention_neon, cross_attention_neon, sources_attention_neon, encoder_attention_neon,
     to_halves_neon, convolution_neon, {prepare_rows_neon, widen_neon, depthwise_neon, narrow_neon},
     {resize_rows_neon, resize_columns_neon}},
#endif
#ifdef FUSELINE_ARM_BF16
    {"neonbf16", [] { return cpu().neonbf16; }, top_candidates_neon, prepare_rows_neonbf16, linear_blocks_neonbf16, layer_norm_neon,
     rms_norm_neon, self_attention_neon, cross_attention_neon, sources_attention_neon, encoder_attention_neonbf16,
     to_halves_neon, convolution_neon, {prepare_rows_neon, widen_neon, depthwise_neon, narrow_neon},
     {resize_rows_neon, resize_columns_neon}},
#endif
};

const Isa* widest() {
  const Isa* best = kIsas;
  for (const Isa& isa : kIsas)
    if (isa.usable()) best = &isa;
  return best;
}

std::atomic<const Isa*>& in_use() {
  static std::atomic<const Isa*> isa{widest()};
  return isa;
}

struct Names {
  char text[64] = "";
  Names() {
    for (const Isa& isa : kIsas) {
      if (!isa.usable()) continue;
      if (text[0] != '\0') std::strcat(text, " ");
      std::strcat(text, isa.name);
    }
  }
};

constexpr int64_t kLine = 64;  // bytes

bool quantized(const fuseline_linear& l) { return l.format == FUSELINE_INT8 || l.format == FUSELINE_INT4; }

bool prepares(const fuseline_linear& l) { return quantized(l) || l.format == FUSELINE_BFLOAT16 || l.rows >= kManyRows; }

char* aligned(void* memory) { return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory) + kLine - 1) / kLine * kLine); }

// The parts of scratch memory, widest type first so that all are aligned.
Prepared prepared(const fuseline_linear& l, void* scratch) {
  Prepared x{};
  x.padded = l.padded;
  if (!quantized(l)) {
    x.floats = reinterpret_cast<float*>(aligned(scratch));
    return x;
  }
  x.groups = l.groups;
  x.grouped = l.rows >= kManyRows && (l.groups == 1 || l.padded / l.groups % 64 == 0);
  x.scales = static_cast<float*>(scratch);
  x.sums = reinterpret_cast<int32_t*>(x.scales + l.rows);
  // Where lines of the cache begin, so that what is read a line at a time is one.
  x.codes = reinterpret_cast<int8_t*>(aligned(x.sums + l.rows * l.groups));
  if (l.format == FUSELINE_INT8) {
    x.multiplied = reinterpret_cast<Multiplied*>(x.codes + (l.rows + kTileRows) * l.padded);
    x.apart = reinterpret_cast<Apart*>(x.multiplied + l.rows);
  }
  return x;
}

// Whether the bytes of all that a layer reads and writes can be counted.
bool counts(const fuseline_linear& l) {
  const int64_t most = kMostBytes / 64, blocks_of = l.outputs < most ? fuseline_linear_blocks(&l) * kBlockOutputs : INT64_MAX;
  if (l.inputs > most || l.padded > most || l.groups > most || l.rows > most) return false;
  return times(l.rows, l.inputs) <= most && times(l.rows, l.outputs) <= most && times(l.rows + kTileRows, l.padded) <= most &&
         times(l.rows, l.groups) <= most && times(l.inputs < l.padded ? l.padded : l.inputs, blocks_of) <= most;
}

bool fits(const fuseline_linear& l) {
  if (l.rows < 0 || l.inputs < 1 || l.outputs < 1 || l.groups < 1) return false;
  if (!counts(l)) return false;
  if (l.activation < FUSELINE_NO_ACTIVATION || l.activation > FUSELINE_RELU6) return false;
  if (l.format == FUSELINE_INT8) return l.groups == 1 && l.padded == (l.inputs + 3) / 4 * 4;
  if (l.format == FUSELINE_INT4)
    return l.padded % (32 * l.groups) == 0 && l.padded >= l.inputs && l.padded - l.inputs < l.padded / l.groups;
  if (l.format == FUSELINE_BFLOAT16) return l.padded == (l.inputs + 1) / 2 * 2;
  return l.format == FUSELINE_FLOAT || l.format == FUSELINE_HALF;
}

// Whether the bytes of all that a convolution reads and writes can be counted.
bool counts(const fuseline_convolution& c) {
  const int64_t most = kMostBytes / 256, around = 2 * kMostKernel;
  for (const int64_t size : {c.images, c.channels, c.height, c.width, c.outputs})
    if (size > most) return false;
  const int64_t area = times(c.height + around, c.width + around);
  return times(c.images + 1, area, c.channels) <= most && times(c.images + 1, area, c.outputs) <= most &&
         times(c.channels, c.kernel, c.kernel, c.outputs) <= most;
}

// Whether the bytes of a bias for so many distances, in both directions, can be counted.
bool counts(int64_t heads, int64_t distances) { return distances >= 1 && times(heads, distances, 16) <= kMostBytes; }

// Whether each input has a length that it can have.
bool within(const int64_t* lengths, int64_t inputs, int64_t positions) {
  for (int64_t i = 0; i < inputs; ++i)
    if (lengths[i] < 0 || lengths[i] > positions) return false;
  return true;
}

// Whether each source begins where the one before ends, and the last one ends with the positions.
bool rise(const int64_t* starts, int64_t sources, int64_t positions) {
  for (int64_t m = 0; m < sources; ++m)
    if (starts[m + 1] < starts[m]) return false;
  return starts[0] == 0 && starts[sources] == positions;
}

// Whether each input has a length that it can have of each source, of starts that rise.
bool within(const int64_t* lengths, const int64_t* starts, int64_t inputs, int64_t sources) {
  for (int64_t i = 0; i < inputs * sources; ++i) {
    const int64_t m = i % sources;
    if (lengths[i] < 0 || lengths[i] > starts[m + 1] - starts[m]) return false;
  }
  return true;
}

// Whether an encoder's attention has what goes with lengths, or with windows, in sizes whose bytes can be counted.
bool lengths_fit(const fuseline_encoder_attention& a) {
  if (a.places != nullptr || a.regions != nullptr || a.place_bias != nullptr) return false;
  return a.distance_bias == nullptr || counts(a.heads, a.distances);
}
bool windows_fit(const fuseline_encoder_attention& a) {
  constexpr int64_t kCounted = 1 << 24;  // that regions are numbered with
  const int64_t each = encoder_positions(a);
  if (a.lengths != nullptr || a.distance_bias != nullptr || a.positions % a.windows != 0) return false;
  if (a.regions != nullptr && each > kCounted) return false;
  return a.place_bias == nullptr || times(a.heads, each, each, 4) <= kMostBytes;
}

// Whether each of n positions is in one place.
fuseline_status each_once(const int64_t* places, int64_t n) {
  const Memory seen = memory_of(n);
  if (seen == nullptr) return FUSELINE_NO_MEMORY;
  auto* const found = static_cast<unsigned char*>(seen.get());
  std::memset(found, 0, static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    if (places[i] < 0 || places[i] >= n || found[places[i]] != 0) return FUSELINE_OUT_OF_RANGE;
    found[places[i]] = 1;
  }
  return FUSELINE_OK;
}

bool are_weights(const float* weights, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (!(weights[i] >= 0 && weights[i] <= FLT_MAX)) return false;
  return true;
}

bool present(const fuseline_linear& l) {
  return l.x != nullptr && l.weight != nullptr && l.bias != nullptr && l.y != nullptr && (l.scale != nullptr || !quantized(l));
}

}  // namespace
}  // namespace fuseline

using namespace fuseline;

int32_t fuseline_abi(void) { return FUSELINE_KERNELS_ABI; }

const char* fuseline_isa(void) { return in_use().load()->name; }

const char* fuseline_available_isas(void) {
  static const Names names;
  return names.text;
}

fuseline_status fuseline_use_isa(const char* name) {
  if (name == nullptr) return FUSELINE_BAD_ARGUMENT;
  for (const Isa& isa : kIsas) {
    if (std::strcmp(isa.name, name) != 0) continue;
    if (!isa.usable()) return FUSELINE_ABSENT_ISA;
    in_use().store(&isa);
    return FUSELINE_OK;
  }
  return FUSELINE_UNKNOWN_ISA;
}

const char* fuseline_cpu_features(void) { return cpu().features; }

fuseline_status fuseline_top_candidates(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride,
                                        int64_t k, float* values, int64_t* indices, float* logsumexp) {
  if (rows < 0 || k < 1 || vocab < k || (rows > 1 && row_stride < vocab)) return FUSELINE_BAD_ARGUMENT;
  if (times(rows, rows > 1 ? row_stride : vocab, 8) > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  if (rows == 0) return FUSELINE_OK;
  if (logits == nullptr || values == nullptr || indices == nullptr || logsumexp == nullptr)
    return FUSELINE_BAD_ARGUMENT;
  in_use().load()->top_candidates(logits, rows, vocab, row_stride, k, values, indices, logsumexp);
  return FUSELINE_OK;
}

fuseline_status fuseline_beam_candidates(const float* logits, int64_t inputs, int64_t beams, int64_t vocab,
                                         int64_t row_stride, const float* scores, int32_t normalized, int64_t k,
                                         int64_t keep, float* sums, float* logprobs, int64_t* tokens, int64_t* rows,
                                         float* best_values, int64_t* best_indices) {
  if (inputs < 0 || beams < 1 || keep < 1 || k < 1 || vocab < k || (times(inputs, beams) > 1 && row_stride < vocab))
    return FUSELINE_BAD_ARGUMENT;
  if (times(inputs, beams, times(inputs, beams) > 1 ? row_stride : vocab, 8) > kMostBytes || times(beams, k) > kMostBytes)
    return FUSELINE_BAD_ARGUMENT;
  if (inputs == 0) return FUSELINE_OK;
  if (logits == nullptr || scores == nullptr || sums == nullptr || logprobs == nullptr || tokens == nullptr ||
      rows == nullptr || best_values == nullptr || best_indices == nullptr)
    return FUSELINE_BAD_ARGUMENT;
  TopCandidates* top_candidates = in_use().load()->top_candidates;
  const int64_t most = keep < beams * k ? keep : beams * k;
  for (int64_t input = 0; input < inputs; ++input) {
    const int64_t first = input * most;
    Continuations best{sums + first, logprobs + first, tokens + first, rows + first, most};
    for (int64_t row = input * beams; row < (input + 1) * beams; ++row) {
      float logsumexp;
      top_candidates(logits + row * row_stride, 1, vocab, vocab, k, best_values, best_indices, &logsumexp);
      for (int64_t i = 0; i < k; ++i) {
        const float logprob = normalized != 0 ? best_values[i] : best_values[i] - logsumexp;
        best.offer(logprob + scores[row], logprob, best_indices[i], row);
      }
    }
  }
  return FUSELINE_OK;
}

int64_t fuseline_linear_blocks(const fuseline_linear* layer) { return (layer->outputs + kBlockOutputs - 1) / kBlockOutputs; }

int64_t fuseline_linear_scratch(const fuseline_linear* layer) {
  if (!prepares(*layer)) return 0;
  if (!quantized(*layer)) return kLine + (layer->rows + kTileRows) * (layer->inputs < layer->padded ? layer->padded : layer->inputs) * 4;
  const int64_t of_row = int64_t{sizeof(Multiplied)} + most_apart(layer->padded) * int64_t{sizeof(Apart)};
  const int64_t apart = layer->format == FUSELINE_INT8 ? layer->rows * of_row : 0;
  return layer->rows * 4 * (1 + layer->groups) + kLine + (layer->rows + kTileRows) * layer->padded + apart;
}

fuseline_status fuseline_linear_scales(const fuseline_linear* layer) {
  if (!fits(*layer)) return FUSELINE_BAD_ARGUMENT;
  if (!quantized(*layer)) return FUSELINE_OK;
  if (layer->scale == nullptr) return FUSELINE_BAD_ARGUMENT;
  for (int64_t o = 0; o < layer->outputs; ++o)
    for (int64_t g = 0; g < layer->groups; ++g) {
      const int64_t at = (o / kBlockOutputs * layer->groups + g) * kBlockOutputs + o % kBlockOutputs;
      const bool good = layer->format == FUSELINE_INT8 ? usable(static_cast<const float*>(layer->scale)[o])
                                                       : usable(static_cast<const uint16_t*>(layer->scale)[at]);
      if (!good) return FUSELINE_BAD_SCALE;
    }
  return FUSELINE_OK;
}

fuseline_status fuseline_linear_begin(const fuseline_linear* layer) {
  if (!fits(*layer)) return FUSELINE_BAD_ARGUMENT;
  if (layer->rows == 0) return FUSELINE_OK;
  return present(*layer) ? FUSELINE_OK : FUSELINE_BAD_ARGUMENT;
}

void fuseline_linear_rows(const fuseline_linear* layer, void* scratch, int64_t first, int64_t last) {
  if (prepares(*layer)) in_use().load()->prepare_rows(*layer, prepared(*layer, scratch), first, last);
}

void fuseline_linear_part(const fuseline_linear* layer, void* scratch, int64_t first, int64_t last) {
  in_use().load()->linear_blocks(*layer, prepared(*layer, scratch), first, last);
}

fuseline_status fuseline_layer_norm_begin(const fuseline_layer_norm* n) {
  if (n->rows < 0 || n->width < 1 || times(n->rows, n->width, 4) > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  if (n->rows == 0) return FUSELINE_OK;
  const bool there = n->x != nullptr && n->scale != nullptr && n->bias != nullptr && n->y != nullptr;
  return there ? FUSELINE_OK : FUSELINE_BAD_ARGUMENT;
}

void fuseline_layer_norm_part(const fuseline_layer_norm* norm, int64_t first, int64_t last) {
  in_use().load()->layer_norm(*norm, first, last);
}

fuseline_status fuseline_rms_norm_begin(const fuseline_rms_norm* n) {
  if (n->rows < 0 || n->width < 1 || times(n->rows, n->width, 4) > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  if (n->rows == 0) return FUSELINE_OK;
  return n->x != nullptr && n->scale != nullptr && n->y != nullptr ? FUSELINE_OK : FUSELINE_BAD_ARGUMENT;
}

void fuseline_rms_norm_part(const fuseline_rms_norm* norm, int64_t first, int64_t last) {
  in_use().load()->rms_norm(*norm, first, last);
}

fuseline_status fuseline_self_attention_begin(const fuseline_self_attention* a) {
  if (a->rows < 0 || a->tokens < 1 || a->heads < 1 || a->head_size < 1 || a->capacity < 0 || a->position < 0)
    return FUSELINE_BAD_ARGUMENT;
  if (a->position > a->capacity - a->tokens) return FUSELINE_OVERRUN;
  if (times(a->heads, a->head_size, a->rows, a->capacity, 16) > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  if (a->distance_bias != nullptr && !counts(a->heads, a->distances)) return FUSELINE_BAD_ARGUMENT;
  if (a->rows == 0) return FUSELINE_OK;
  if (a->qkv == nullptr || a->beam_table == nullptr || a->key == nullptr || a->value == nullptr || a->mixed == nullptr)
    return FUSELINE_BAD_ARGUMENT;
  const int64_t width = a->heads * a->head_size;
  for (int64_t r = 0; r < a->rows; ++r)
    for (int64_t p = 0; p < a->position + a->tokens; ++p) {
      const int64_t from = a->beam_table[r * a->capacity + p];
      if (from < 0 || from >= a->rows) return FUSELINE_OUT_OF_RANGE;
    }
  for (int64_t n = 0; n < a->rows * a->tokens; ++n) {
    const int64_t row = n / a->tokens, position = a->position + n % a->tokens;
    const float* qkv = a->qkv + n * 3 * width;
    const int64_t at = (position * a->rows + row) * width;
    std::memcpy(a->key + at, qkv + width, static_cast<size_t>(width) * sizeof(float));
    std::memcpy(a->value + at, qkv + 2 * width, static_cast<size_t>(width) * sizeof(float));
  }
  return FUSELINE_OK;
}

int64_t fuseline_self_attention_scratch(const fuseline_self_attention* a) { return whole(a->position + a->tokens); }

void fuseline_self_attention_part(const fuseline_self_attention* a, int64_t first, int64_t last, float* scratch) {
  in_use().load()->self_attention(*a, first, last, scratch);
}

fuseline_status fuseline_cross_attention_begin(const fuseline_cross_attention* a) {
  const bool sizes = a->inputs >= 0 && a->queries >= 0 && a->positions >= 1 && a->heads >= 1 && a->head_size >= 1;
  if (a->format != FUSELINE_FLOAT && a->format != FUSELINE_HALF) return FUSELINE_BAD_ARGUMENT;
  if (!sizes || times(a->inputs, a->heads, a->head_size, a->positions, 16) > kMostBytes ||
      times(a->queries, a->heads, a->head_size, 4) > kMostBytes)
    return FUSELINE_BAD_ARGUMENT;
  if (a->inputs == 0 ? a->queries != 0 : a->queries % a->inputs != 0) return FUSELINE_BAD_ARGUMENT;
  if (a->queries == 0) return FUSELINE_OK;
  const bool there = a->query != nullptr && a->key != nullptr && a->value != nullptr && a->mixed != nullptr;
  if (!there) return FUSELINE_BAD_ARGUMENT;
  return a->lengths == nullptr || within(a->lengths, a->inputs, a->positions) ? FUSELINE_OK : FUSELINE_OUT_OF_RANGE;
}

int64_t fuseline_cross_attention_scratch(const fuseline_cross_attention* a) {
  return whole(a->positions * (a->queries < 4 * a->inputs ? 1 : 4));
}

void fuseline_cross_attention_part(const fuseline_cross_attention* a, int64_t first, int64_t last, float* scratch) {
  if (first < last) in_use().load()->cross_attention(*a, first, last, scratch);
}

fuseline_status fuseline_sources_attention_begin(const fuseline_sources_attention* a) {
  if (a->sources < 1 || times(a->inputs < 1 ? 1 : a->inputs, a->sources, 64) > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  if (times(a->queries < 0 ? 0 : a->queries, a->heads, times(a->sources, a->head_size, 4)) > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  fuseline_cross_attention one{};
  one.format = a->format;
  one.inputs = a->inputs;
  one.queries = a->queries;
  one.positions = a->positions;
  one.heads = a->heads;
  one.head_size = a->head_size;
  one.query = a->query;
  one.key = a->key;
  one.value = a->value;
  one.mixed = a->mixed;
  const fuseline_status status = fuseline_cross_attention_begin(&one);
  if (status != FUSELINE_OK || a->queries == 0) return status;
  if (a->lengths == nullptr || a->starts == nullptr || a->weights == nullptr || a->share == nullptr) return FUSELINE_BAD_ARGUMENT;
  if (!rise(a->starts, a->sources, a->positions)) return FUSELINE_BAD_STARTS;
  if (!within(a->lengths, a->starts, a->inputs, a->sources)) return FUSELINE_OUT_OF_RANGE;
  return are_weights(a->weights, a->inputs * a->sources) ? FUSELINE_OK : FUSELINE_BAD_WEIGHT;
}

int64_t fuseline_sources_attention_positions(const fuseline_sources_attention* a) {
  int64_t read = 0;
  for (int64_t i = 0; i < a->inputs * a->sources; ++i) read += a->weights[i] > 0 ? a->lengths[i] : 0;
  return read;
}

int64_t fuseline_sources_attention_scratch(const fuseline_sources_attention* a) {
  const int64_t found = a->separate ? times(a->sources, kFoundNumbers) : 0;
  return whole(a->positions * (a->queries < 4 * a->inputs ? 1 : 4)) + found + whole(a->sources);
}

void fuseline_sources_attention_part(const fuseline_sources_attention* a, int64_t first, int64_t last, float* scratch) {
  if (first < last) in_use().load()->sources_attention(*a, first, last, scratch);
}

fuseline_status fuseline_encoder_attention_begin(const fuseline_encoder_attention* a) {
  if (a->format != FUSELINE_FLOAT && a->format != FUSELINE_BFLOAT16) return FUSELINE_BAD_ARGUMENT;
  if (a->inputs < 0 || a->positions < 0 || a->heads < 1 || a->head_size < 1 || a->windows < 0) return FUSELINE_BAD_ARGUMENT;
  if (a->positions > kMostBytes || a->head_size > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  if (times(a->inputs, a->positions + kBlockQueries, a->heads, times(a->head_size + kBlockOutputs, 64)) > kMostBytes)
    return FUSELINE_BAD_ARGUMENT;
  if (!(windowed(*a) ? windows_fit(*a) : lengths_fit(*a))) return FUSELINE_BAD_ARGUMENT;
  if (a->inputs == 0 || a->positions == 0) return FUSELINE_OK;
  if (a->qkv == nullptr || a->mixed == nullptr || (windowed(*a) ? a->places : a->lengths) == nullptr) return FUSELINE_BAD_ARGUMENT;
  if (windowed(*a)) return each_once(a->places, a->positions);
  return within(a->lengths, a->inputs, a->positions) ? FUSELINE_OK : FUSELINE_OUT_OF_RANGE;
}

int64_t fuseline_encoder_attention_scratch(const fuseline_encoder_attention* a) {
  EncoderParts parts;
  return encoder_parts(*a, nullptr, &parts);
}

int64_t fuseline_encoder_attention_jobs(const fuseline_encoder_attention* a) {
  return a->inputs * encoder_windows(*a) * a->heads * encoder_blocks(*a);
}

void fuseline_encoder_attention_part(const fuseline_encoder_attention* a, int64_t first, int64_t last, float* scratch) {
  in_use().load()->encoder_attention(*a, first, last, scratch);
}

fuseline_status fuseline_convolution_begin(const fuseline_convolution* c) {
  if (c->images < 0 || c->channels < 1 || c->height < 1 || c->width < 1 || c->outputs < 1) return FUSELINE_BAD_ARGUMENT;
  if (c->kernel < 1 || c->kernel > kMostKernel || c->stride < 1 || c->stride > kMostKernel || !counts(*c)) return FUSELINE_BAD_ARGUMENT;
  if (c->images == 0) return FUSELINE_OK;
  return c->x != nullptr && c->weight != nullptr && c->bias != nullptr && c->y != nullptr ? FUSELINE_OK : FUSELINE_BAD_ARGUMENT;
}

int64_t fuseline_convolution_rows(const fuseline_convolution* c) { return Side(c->height, c->kernel, c->stride).results; }

int64_t fuseline_convolution_scratch(const fuseline_convolution* c) {
  return c->channels * c->kernel * (c->width + c->kernel + c->stride);
}

void fuseline_convolution_part(const fuseline_convolution* c, int64_t first, int64_t last, float* scratch) {
  in_use().load()->convolution(*c, first, last, scratch);
}

void fuseline_bottleneck_read(const fuseline_bottleneck* b, void* scratch, int64_t image, int64_t first, int64_t last) {
  bottleneck_read(in_use().load()->bottleneck, *b, scratch, image, first, last);
}

void fuseline_bottleneck_convolve(const fuseline_bottleneck* b, void* scratch, void* own, int64_t image, int64_t first, int64_t last) {
  bottleneck_convolve(in_use().load()->bottleneck, *b, scratch, own, image, first, last);
}

void fuseline_bottleneck_project(const fuseline_bottleneck* b, void* scratch, int64_t image, int64_t first, int64_t last) {
  bottleneck_project(in_use().load()->bottleneck, *b, scratch, image, first, last);
}

namespace fuseline {
Resizing resizing_in_use() { return in_use().load()->resizing; }
}  // namespace fuseline

fuseline_status fuseline_to_halves(const fuseline_halves* c) {
  if (c->inputs < 0 || c->positions < 0 || c->heads < 1 || c->head_size < 1) return FUSELINE_BAD_ARGUMENT;
  if (times(c->inputs, c->positions, c->heads, c->head_size, 4) > kMostBytes) return FUSELINE_BAD_ARGUMENT;
  if (c->inputs == 0 || c->positions == 0) return FUSELINE_OK;
  if (c->floats == nullptr || c->halves == nullptr) return FUSELINE_BAD_ARGUMENT;
  in_use().load()->to_halves(*c);
  return FUSELINE_OK;
}
