// Attention inside onnxruntime: takes tensors apart, checks their shapes, and calls the C interface.
#include <string.h>

#include "onnxruntime_attention.h"
#include "onnxruntime_loops.h"
#include "onnxruntime_operators.h"

namespace fuseline {
namespace {

constexpr char kSourceLengths[] =
    "lengths must have a row for each input, with a number of positions that each of its sources has";

constexpr char kStarts[] = "starts must rise from 0 to the number of positions, a start for each source and the end of the last one";
constexpr char kQkv[] = "qkv must be query, key and value of all heads side by side, for each position of each input";
constexpr char kWindows[] = "windows must have every position of an input exactly once";
constexpr char kWeights[] = "weights must have a row for each input, with a finite number that is not negative for each source";

// What binding in place saves: where the caches are not the same memory, all of it is copied.
void copy_cache(const Tensor& past, void* present) {
  const int64_t bytes = times(past.shape.elements(), sizeof(float));
  if (past.data != present && bytes > 0) memmove(present, past.data, static_cast<size_t>(bytes));
}

// Several sources: flat, or a part for each.
OrtStatus* attend_to_sources(const Node& node, const Call& call, bool separate) {
  Tensor query, key, value, lengths, starts, weights;
  TRY(take(node, call, 0, &query));
  TRY(take(node, call, 1, &key));
  TRY(take(node, call, 2, &value));
  TRY(take(node, call, 3, &lengths));
  TRY(take(node, call, 4, &starts));
  TRY(take(node, call, 5, &weights));
  const bool halves = node.op.of.format == FUSELINE_HALF;
  if (!attend(node.heads, query.shape, key.shape, value.shape, halves))
    return refuse(node, kQueriesAndKeys);
  if (starts.shape.rank != 1 || starts.shape.of[0] < 2) return refuse(node, kStarts);
  const int64_t inputs = key.shape.of[0], queries = query.shape.of[0], width = query.shape.of[1], sources = starts.shape.of[0] - 1;
  if (!same(lengths.shape, {inputs, sources})) return refuse(node, kSourceLengths);
  if (!same(weights.shape, {inputs, sources})) return refuse(node, kWeights);
  void *mixed = nullptr, *share = nullptr;
  TRY(make(node, call, 0, Shape{2, {queries, separate ? times(sources, width) : width}}, &mixed));
  TRY(make(node, call, 1, Shape{3, {queries, node.heads, sources}}, &share));
  fuseline_sources_attention a{};
  a.format = halves ? FUSELINE_HALF : FUSELINE_FLOAT;
  a.separate = separate;
  a.inputs = inputs;
  a.queries = queries;
  a.sources = sources;
  a.positions = key.shape.of[halves ? 2 : 1];
  a.heads = node.heads;
  a.head_size = width / node.heads;
  a.scale = node.scale;
  a.query = static_cast<const float*>(query.data);
  a.key = key.data;
  a.value = value.data;
  a.lengths = static_cast<const int64_t*>(lengths.data);
  a.starts = static_cast<const int64_t*>(starts.data);
  a.weights = static_cast<const float*>(weights.data);
  a.mixed = static_cast<float*>(mixed);
  a.share = static_cast<float*>(share);
  if (queries == 0) return nullptr;
  switch (fuseline_sources_attention_begin(&a)) {
    case FUSELINE_OK: break;
    case FUSELINE_BAD_STARTS: return refuse(node, kStarts);
    case FUSELINE_OUT_OF_RANGE: return refuse(node, kSourceLengths);
    case FUSELINE_BAD_WEIGHT: return refuse(node, kWeights);
    default: return refuse(node, kNoQueries);
  }
  const auto floats = [&](int64_t jobs) { return times(fuseline_sources_attention_scratch(&a), jobs); };
  const int64_t bytes = times(fuseline_sources_attention_positions(&a), width, halves ? 4 : 8);
  return in_parts(node, call, inputs * node.heads, bytes, floats, [&](int64_t first, int64_t last, float* scratch) {
    fuseline_sources_attention_part(&a, first, last, scratch);
  });
}

// Whether qkv is [inputs, positions, query, key and value of all heads side by side].
bool is_qkv(const Node& node, const Shape& qkv) {
  return qkv.rank == 3 && qkv.of[2] >= 1 && qkv.of[2] % 3 == 0 && qkv.of[2] / 3 % node.heads == 0;
}

// An encoder's attention of either form, all but its output.
OrtStatus* attend_to_each_other(const Node& node, const Call& call, const Tensor& qkv, fuseline_encoder_attention* a) {
  const int64_t inputs = qkv.shape.of[0], positions = qkv.shape.of[1], width = qkv.shape.of[2] / 3;
  void* mixed = nullptr;
  TRY(make(node, call, 0, Shape{3, {inputs, positions, width}}, &mixed));
  a->format = node.op.of.format;
  a->inputs = inputs;
  a->positions = positions;
  a->heads = node.heads;
  a->head_size = width / node.heads;
  a->scale = node.scale;
  a->qkv = static_cast<const float*>(qkv.data);
  a->mixed = static_cast<float*>(mixed);
  if (inputs == 0 || positions == 0) return nullptr;
  switch (fuseline_encoder_attention_begin(a)) {
    case FUSELINE_OK: break;
    case FUSELINE_OUT_OF_RANGE: return refuse(node, a->windows > 0 ? kWindows : kLengths);
    case FUSELINE_NO_MEMORY: return no_memory(node);
    default: return refuse(node, "the sizes of qkv are more than memory has");
  }
  const auto floats = [&](int64_t) { return fuseline_encoder_attention_scratch(a); };
  const int64_t seen = a->windows > 0 ? positions / a->windows : positions;
  const int64_t bytes = times(inputs, positions, seen, width);  // each query reads keys and values, from a cache mostly
  return in_parts(node, call, fuseline_encoder_attention_jobs(a), bytes, floats, [&](int64_t first, int64_t last, float* scratch) {
    fuseline_encoder_attention_part(a, first, last, scratch);
  });
}

// Turns the first pairs of every head of query and key by the angles of its row's position. Body: Rotary.
void rotate(const float* qkv, const float* cosines, const float* sines, int64_t heads, int64_t size, int64_t pairs, float* out) {
  for (int64_t head = 0; head < 2 * heads; ++head, qkv += size, out += size) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float even = qkv[2 * i], odd = qkv[2 * i + 1];
      out[2 * i] = even * cosines[i] - odd * sines[i];
      out[2 * i + 1] = odd * cosines[i] + even * sines[i];
    }
    for (int64_t i = 2 * pairs; i < size; ++i) out[i] = qkv[i];
  }
  memcpy(out, qkv, static_cast<size_t>(heads * size) * sizeof(float));
}

}  // namespace

OrtStatus* compute_rotary(const Node& node, const Call& call) {
  Tensor qkv, cosines, sines, position, rows;
  TRY(take(node, call, 0, &qkv));
  TRY(take(node, call, 1, &cosines));
  TRY(take(node, call, 2, &sines));
  TRY(take(node, call, 3, &position));
  TRY(take(node, call, 4, &rows));
  if (qkv.shape.rank < 2 || cosines.shape.rank != 2 || !sines.shape.is(2, cosines.shape.of) || !same(position.shape, {1}) ||
      rows.shape.rank < 1)
    return refuse(node, "qkv, cosines, sines, position or rows has another shape than it must have");
  const int64_t width = qkv.shape.last(), inputs = rows.shape.of[0], pairs = cosines.shape.of[1];
  const int64_t n = width < 1 ? 0 : qkv.shape.elements() / width;
  if (width < 1 || width % 3 != 0 || width / 3 % node.heads != 0 || (inputs == 0 ? n != 0 : n % inputs != 0))
    return refuse(node, "qkv must be query, key and value of all heads side by side, as many for each of the rows");
  const int64_t size = width / 3 / node.heads, tokens = inputs == 0 ? 0 : n / inputs;
  if (pairs > size / 2) return refuse(node, "cosines and sines must be for at most the pairs that a head has");
  const int64_t start = *static_cast<const int64_t*>(position.data);
  if (n > 0 && (start < 0 || tokens > cosines.shape.of[0] || start > cosines.shape.of[0] - tokens))
    return refuse(node, "there are no cosines and sines for some of the positions");
  void* rotated = nullptr;
  TRY(make(node, call, 0, qkv.shape, &rotated));
  if (n == 0) return nullptr;
  return in_parts(node, call, n, times(n, width, 8), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t at = (start + row % tokens) * pairs;
      rotate(static_cast<const float*>(qkv.data) + row * width, static_cast<const float*>(cosines.data) + at,
             static_cast<const float*>(sines.data) + at, node.heads, size, pairs, static_cast<float*>(rotated) + row * width);
    }
  });
}

OrtStatus* compute_cached_self_attention(const Node& node, const Call& call) {
  Cached in;
  const bool biased = node.op.inputs > 5;
  TRY(read_cached([&](size_t index, Tensor* into) { return take(node, call, index, into); }, biased, &in));
  if (const char* wrong = in.wrong(node.heads, biased)) return refuse(node, wrong);
  const int64_t start = *static_cast<const int64_t*>(in.position.data), n = in.queries(), width = in.width();
  if (start < 0) return refuse(node, "position must not be negative");
  if (in.tokens() > in.capacity() || start > in.capacity() - in.tokens()) return refuse(node, kBeyondCache);
  void *mixed = nullptr, *present_key = nullptr, *present_value = nullptr;
  TRY(make(node, call, 0, Shape{2, {n, width}}, &mixed));
  TRY(make(node, call, 1, in.key.shape, &present_key));
  TRY(make(node, call, 2, in.value.shape, &present_value));
  copy_cache(in.key, present_key);
  copy_cache(in.value, present_value);
  if (n == 0) return nullptr;
  fuseline_self_attention a{};
  a.rows = in.rows();
  a.tokens = in.tokens();
  a.heads = node.heads;
  a.head_size = width / node.heads;
  a.capacity = in.capacity();
  a.position = start;
  a.scale = node.scale;
  a.qkv = static_cast<const float*>(in.qkv.data);
  a.beam_table = static_cast<const int64_t*>(in.table.data);
  a.distance_bias = static_cast<const float*>(in.bias.data);
  a.distances = in.distances();
  a.key = static_cast<float*>(present_key);
  a.value = static_cast<float*>(present_value);
  a.mixed = static_cast<float*>(mixed);
  switch (fuseline_self_attention_begin(&a)) {
    case FUSELINE_OK: break;
    case FUSELINE_OUT_OF_RANGE: return refuse(node, "beam_table points to a row that the cache does not have");
    default: return refuse(node, "the sizes of qkv, cache and beam_table are more than memory has");
  }
  const auto floats = [&](int64_t) { return fuseline_self_attention_scratch(&a); };
  return in_parts(node, call, n, times(n, a.position + a.tokens, width, 8), floats, [&](int64_t first, int64_t last, float* scores) {
    fuseline_self_attention_part(&a, first, last, scores);
  });
}

OrtStatus* compute_cross_attention(const Node& node, const Call& call) {
  Tensor query, key, value, lengths;
  TRY(take(node, call, 0, &query));
  TRY(take(node, call, 1, &key));
  TRY(take(node, call, 2, &value));
  const bool halves = node.op.of.format == FUSELINE_HALF, padded = node.op.inputs > 3;
  if (padded) TRY(take(node, call, 3, &lengths));
  if (!attend(node.heads, query.shape, key.shape, value.shape, halves))
    return refuse(node, kQueriesAndKeys);
  if (padded && !same(lengths.shape, {key.shape.of[0], 1})) return refuse(node, kLengths);
  void* mixed = nullptr;
  TRY(make(node, call, 0, query.shape, &mixed));
  fuseline_cross_attention a{};
  a.format = halves ? FUSELINE_HALF : FUSELINE_FLOAT;
  a.inputs = key.shape.of[0];
  a.queries = query.shape.of[0];
  a.positions = key.shape.of[halves ? 2 : 1];
  a.heads = node.heads;
  a.head_size = query.shape.of[1] / node.heads;
  a.scale = node.scale;
  a.query = static_cast<const float*>(query.data);
  a.key = key.data;
  a.value = value.data;
  a.lengths = static_cast<const int64_t*>(lengths.data);
  a.mixed = static_cast<float*>(mixed);
  if (a.queries == 0) return nullptr;
  switch (fuseline_cross_attention_begin(&a)) {
    case FUSELINE_OK: break;
    case FUSELINE_OUT_OF_RANGE: return refuse(node, kLengths);
    default: return refuse(node, kNoQueries);
  }
  const auto floats = [&](int64_t jobs) { return times(fuseline_cross_attention_scratch(&a), jobs); };
  const int64_t bytes = times(key.shape.elements(), halves ? 4 : 8);
  return in_parts(node, call, a.inputs * a.heads, bytes, floats, [&](int64_t first, int64_t last, float* scores) {
    fuseline_cross_attention_part(&a, first, last, scores);
  });
}

OrtStatus* compute_flat_attention(const Node& node, const Call& call) { return attend_to_sources(node, call, false); }

OrtStatus* compute_separate_attention(const Node& node, const Call& call) { return attend_to_sources(node, call, true); }

OrtStatus* compute_encoder_attention(const Node& node, const Call& call) {
  Tensor qkv, lengths, bias;
  TRY(take(node, call, 0, &qkv));
  TRY(take(node, call, 1, &lengths));
  const bool biased = node.op.inputs > 2;
  if (biased) TRY(take(node, call, 2, &bias));
  if (!is_qkv(node, qkv.shape)) return refuse(node, kQkv);
  if (!same(lengths.shape, {qkv.shape.of[0], 1})) return refuse(node, kLengths);
  if (biased && (!is_distance_bias(node.heads, bias.shape) || bias.shape.of[1] % 2 == 0))
    return refuse(node, "distance_bias must have a row for each head, of an odd number of distances");
  fuseline_encoder_attention a{};
  a.lengths = static_cast<const int64_t*>(lengths.data);
  a.distance_bias = static_cast<const float*>(bias.data);
  a.distances = biased ? bias.shape.of[1] / 2 + 1 : 0;
  return attend_to_each_other(node, call, qkv, &a);
}

OrtStatus* compute_window_attention(const Node& node, const Call& call) {
  Tensor qkv, windows, regions, bias;
  TRY(take(node, call, 0, &qkv));
  TRY(take(node, call, 1, &windows));
  TRY(take(node, call, 2, &regions));
  TRY(take(node, call, 3, &bias));
  if (!is_qkv(node, qkv.shape)) return refuse(node, kQkv);
  if (windows.shape.rank != 2 || windows.shape.of[0] < 1 || windows.shape.elements() != qkv.shape.of[1]) return refuse(node, kWindows);
  if (!regions.shape.is(2, windows.shape.of)) return refuse(node, "regions must have one for each position of each window");
  if (!same(bias.shape, {node.heads, windows.shape.of[1], windows.shape.of[1]}))
    return refuse(node, "place_bias must have a number for each head and each two places in a window");
  fuseline_encoder_attention a{};
  a.windows = windows.shape.of[0];
  a.places = static_cast<const int64_t*>(windows.data);
  a.regions = static_cast<const int64_t*>(regions.data);
  a.place_bias = static_cast<const float*>(bias.data);
  return attend_to_each_other(node, call, qkv, &a);
}

}  // namespace fuseline
