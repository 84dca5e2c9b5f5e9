// Linear layers and embeddings inside onnxruntime: takes tensors apart, checks their shapes, and calls the C interface.
#include "onnxruntime_loops.h"
#include "onnxruntime_operators.h"

namespace fuseline {
namespace {

// Sizes of a layer from the shapes of its weights; false where they do not go together.
bool read_sizes(const Node& node, const Tensor& x, const Tensor& weight, const Tensor* scale, const Tensor& bias,
                fuseline_linear* l) {
  if (x.shape.rank < 1 || bias.shape.rank != 1 || weight.shape.rank < 3) return false;
  l->format = node.op.of.format;
  l->activation = node.op.of.activation;
  l->inputs = x.shape.last();
  l->outputs = bias.shape.of[0];
  l->padded = l->inputs;
  l->groups = 1;
  if (l->inputs < 1 || l->outputs < 1) return false;
  l->rows = x.shape.elements() / l->inputs;
  const int64_t blocks = fuseline_linear_blocks(l);
  if (l->format == FUSELINE_BFLOAT16) {
    l->padded = (l->inputs + 1) / 2 * 2;
    return same(weight.shape, {blocks, l->padded / 2, 16, 2});
  }
  if (!node.op.quantized()) return same(weight.shape, {blocks, l->inputs, 16});
  if (l->format == FUSELINE_INT8) {
    l->padded = (l->inputs + 3) / 4 * 4;
    return same(weight.shape, {blocks, l->padded / 4, 16, 4}) && same(scale->shape, {l->outputs});
  }
  if (scale->shape.rank != 3 || scale->shape.of[1] < 1) return false;
  l->groups = scale->shape.of[1];
  l->padded = weight.shape.of[1] * 8;
  return same(weight.shape, {blocks, l->padded / 8, 16, 4}) && same(scale->shape, {blocks, l->groups, 16});
}

// Whether weights and scales are those of a table of the node's size.
bool is_table(const Node& node, const Shape& weight, const Shape& scale) {
  const int64_t blocks = (node.vocabulary - 1) / 16 + 1;
  if (!node.op.quantized()) return same(weight, {blocks, node.width, 16});
  return same(weight, {blocks, (node.width - 1) / 4 + 1, 16, 4}) && same(scale, {node.vocabulary});
}

// in_parts of whole groups of `size`.
template <class Job>
OrtStatus* in_groups(const Node& node, const Call& call, int64_t total, int64_t size, int64_t bytes, const Job& job) {
  return in_parts(node, call, (total - 1) / size + 1, bytes, [&](int64_t first, int64_t last) {
    const int64_t end = last * size < total ? last * size : total;
    if (first * size < end) job(first * size, end);
  });
}

// How many rows to go through all blocks with before the next ones: what all blocks read of them is to stay in a near cache.
int64_t rows_together(const fuseline_linear& l) {
  constexpr int64_t kBytes = 1 << 20, kLeast = 4 * FUSELINE_LINEAR_ROWS;
  const bool quantized = l.format == FUSELINE_INT8 || l.format == FUSELINE_INT4;
  const int64_t bytes = quantized ? 1 : l.format == FUSELINE_BFLOAT16 ? 2 : 4, near = kBytes / (l.inputs * bytes), most = near < kLeast ? kLeast : near;
  const int64_t turns = (l.rows - 1) / most + 1, rows = (l.rows - 1) / turns + 1;  // as many each time
  return (rows - 1) / FUSELINE_LINEAR_ROWS * FUSELINE_LINEAR_ROWS + FUSELINE_LINEAR_ROWS;
}

// Norms rows of x, where that was left to be done.
void norm_rows(const NormLeft& left, int64_t first, int64_t last) {
  if (left.kind == NormLeft::kLayerNorm) fuseline_layer_norm_part(&left.layer_norm, first, last);
  if (left.kind == NormLeft::kRmsNorm) fuseline_rms_norm_part(&left.rms_norm, first, last);
}

// What one call of the loops below goes through: rows from `row` on, prepared at `place`.
OrtStatus* prepare(const Node& node, const Call& call, const fuseline_linear& l, int64_t row, const NormLeft& left, void* place) {
  // A few rows are one thread's: waking the others takes longer.
  const int64_t bytes = l.rows >= 16 ? times(l.rows, l.inputs, 4) : 0;
  return in_groups(node, call, l.rows, FUSELINE_LINEAR_ROWS, bytes, [&](int64_t first, int64_t last) {
    norm_rows(left, row + first, row + last);
    fuseline_linear_rows(&l, place, first, last);
  });
}

OrtStatus* multiply(const Node& node, const Call& call, const fuseline_linear& l, void* place) {
  constexpr int64_t kHalfBytes[] = {8, 4, 2, 1, 4};  // of a weight, doubled
  const int64_t passes = (l.rows + 7) / 8;           // a cached weight read again counts for less
  const int64_t bytes = times(times(l.padded, l.outputs, kHalfBytes[l.format]) / 2, passes);
  // In twos, as the kernels take them: one alone takes more than half the time.
  return in_groups(node, call, fuseline_linear_blocks(&l), l.rows >= 16 ? 2 : 1, bytes,
                   [&](int64_t first, int64_t last) { fuseline_linear_part(&l, place, first, last); });
}

// The rows of a layer, some after the others. Those that the next layer multiplies too are kept, each of them at a place of its own.
OrtStatus* compute_rows(const Node& node, const Call& call, fuseline_linear l) {
  constexpr int64_t kLine = 64;
  const int64_t all = l.rows, together = rows_together(l), turns = (all - 1) / together + 1;
  const bool keeps = call.step != nullptr && call.step->keeps;
  l.rows = together < all ? together : all;
  const int64_t size = fuseline_linear_scratch(&l), each = (size + kLine - 1) / kLine * kLine;
  KeptRows own;
  KeptRows& rows = call.frame == nullptr ? own : call.frame->kept;
  const bool kept = call.step != nullptr && call.step->kept && rows.padded == l.padded && rows.groups == l.groups;
  if (!kept) rows = {memory_of(keeps ? times(each, turns) : size), l.padded, l.groups};
  if (rows.memory == nullptr) return no_memory(node);
  NormLeft left;
  if (call.frame != nullptr) left = call.frame->left, call.frame->left = {};
  for (int64_t turn = 0; turn < turns; ++turn) {
    const int64_t row = turn * together;
    void* const place = static_cast<char*>(rows.memory.get()) + (keeps || kept ? turn * each : 0);
    l.rows = all - row < together ? all - row : together;
    if (!kept) TRY(prepare(node, call, l, row, left, place));
    TRY(multiply(node, call, l, place));
    l.x += l.rows * l.inputs;
    l.y += l.rows * l.outputs;
    if (l.factor != nullptr) l.factor += l.rows * l.outputs;
    if (l.residual != nullptr) l.residual += l.rows * l.outputs;
  }
  if (!keeps) rows = {};
  return nullptr;
}

}  // namespace

OrtStatus* compute_linear(const Node& node, const Call& call) {
  Tensor x, weight, scale, bias, second;
  const bool has_second = node.op.of.second != Second::kNone;
  size_t index = 0;
  TRY(take(node, call, index++, &x));
  TRY(take(node, call, index++, &weight));
  if (node.op.quantized()) TRY(take(node, call, index++, &scale));
  TRY(take(node, call, index++, &bias));
  if (has_second) TRY(take(node, call, index++, &second));
  fuseline_linear l{};
  if (!read_sizes(node, x, weight, &scale, bias, &l)) return refuse(node, "weights, scales and bias do not fit x");
  Shape shape = x.shape;
  shape.of[shape.rank - 1] = l.outputs;
  if (has_second && !second.shape.is(shape.rank, shape.of))
    return refuse(node, node.op.of.second == Second::kFactor ? "the factor has another shape than the result"
                                                             : "the residual has another shape than the result");
  void* y = nullptr;
  TRY(make(node, call, 0, shape, &y));
  l.x = static_cast<const float*>(x.data);
  l.weight = weight.data;
  l.scale = scale.data;
  l.bias = static_cast<const float*>(bias.data);
  (node.op.of.second == Second::kFactor ? l.factor : l.residual) = static_cast<const float*>(second.data);
  l.y = static_cast<float*>(y);
  if (l.rows == 0) return nullptr;
  if (fuseline_linear_begin(&l) != FUSELINE_OK)
    return refuse(node, "weights must have as many groups as x needs, each of a multiple of 32 inputs");
  if (!node.checked.load(std::memory_order_relaxed)) {
    if (fuseline_linear_scales(&l) != FUSELINE_OK) return refuse(node, "a scale of the weights is zero or not finite");
    // One that is no constant may be another next time, at the same place.
    if (!node.op.quantized() || node.constants[2].data != nullptr) node.checked.store(true, std::memory_order_relaxed);
  }
  return compute_rows(node, call, l);
}

OrtStatus* compute_embedding(const Node& node, const Call& call) {
  Tensor ids, weight, scale;
  TRY(take(node, call, 0, &ids));
  TRY(take(node, call, 1, &weight));
  if (node.op.quantized()) TRY(take(node, call, 2, &scale));
  if (!is_table(node, weight.shape, scale.shape)) return refuse(node, "weights and scales do not fit vocabulary and width");
  Shape shape = ids.shape;
  if (shape.rank == kMostDimensions) return refuse(node, "ids has too many dimensions");
  shape.of[shape.rank++] = node.width;
  void* embedded = nullptr;
  TRY(make(node, call, 0, shape, &embedded));
  fuseline_embedding e{};
  e.format = node.op.of.format;
  e.tokens = ids.shape.elements();
  e.vocabulary = node.vocabulary;
  e.width = node.width;
  e.ids = static_cast<const int64_t*>(ids.data);
  e.weight = weight.data;
  e.scale = scale.data;
  e.embedded = static_cast<float*>(embedded);
  switch (fuseline_embed(&e)) {
    case FUSELINE_OK: return nullptr;
    case FUSELINE_OUT_OF_RANGE: return refuse(node, "ids has a token that is not in the vocabulary");
    default: return refuse(node, "a scale of the weights is zero or not finite");
  }
}

}  // namespace fuseline
