// Norms inside onnxruntime: takes tensors apart, checks their shapes, and calls the C interface.
#include "onnxruntime_loops.h"
#include "onnxruntime_operators.h"

namespace fuseline {
namespace {

// Whether the layer behind does it: of few rows that would be one thread's.
bool leaves(const Call& call, int64_t rows) {
  return call.step != nullptr && call.step->leaves && rows > 2 * FUSELINE_LINEAR_ROWS;
}

}  // namespace

OrtStatus* compute_layer_norm(const Node& node, const Call& call) {
  Tensor x, scale, bias;
  TRY(take(node, call, 0, &x));
  TRY(take(node, call, 1, &scale));
  TRY(take(node, call, 2, &bias));
  if (x.shape.rank < 1 || !same(scale.shape, {x.shape.last()}) || !same(bias.shape, {x.shape.last()}))
    return refuse(node, "scale and bias do not fit x");
  void* y = nullptr;
  TRY(make(node, call, 0, x.shape, &y));
  fuseline_layer_norm n{};
  n.width = x.shape.last();
  if (n.width == 0) return nullptr;
  n.rows = x.shape.elements() / n.width;
  n.epsilon = node.epsilon;
  n.x = static_cast<const float*>(x.data);
  n.scale = static_cast<const float*>(scale.data);
  n.bias = static_cast<const float*>(bias.data);
  n.y = static_cast<float*>(y);
  if (fuseline_layer_norm_begin(&n) != FUSELINE_OK) return refuse(node, "x, scale and bias must have memory");
  if (leaves(call, n.rows)) {
    call.frame->left.kind = NormLeft::kLayerNorm;
    call.frame->left.layer_norm = n;
    return nullptr;
  }
  return in_parts(node, call, n.rows, times(x.shape.elements(), 4), [&](int64_t first, int64_t last) {
    if (first < last) fuseline_layer_norm_part(&n, first, last);
  });
}

OrtStatus* compute_rms_norm(const Node& node, const Call& call) {
  Tensor x, scale;
  TRY(take(node, call, 0, &x));
  TRY(take(node, call, 1, &scale));
  if (x.shape.rank < 1 || !same(scale.shape, {x.shape.last()})) return refuse(node, "scale does not fit x");
  void* y = nullptr;
  TRY(make(node, call, 0, x.shape, &y));
  fuseline_rms_norm n{};
  n.width = x.shape.last();
  if (n.width == 0) return nullptr;
  n.rows = x.shape.elements() / n.width;
  n.epsilon = node.epsilon;
  n.x = static_cast<const float*>(x.data);
  n.scale = static_cast<const float*>(scale.data);
  n.y = static_cast<float*>(y);
  if (fuseline_rms_norm_begin(&n) != FUSELINE_OK) return refuse(node, "x and scale must have memory");
  if (leaves(call, n.rows)) {
    call.frame->left.kind = NormLeft::kRmsNorm;
    call.frame->left.rms_norm = n;
    return nullptr;
  }
  return in_parts(node, call, n.rows, times(x.shape.elements(), 4), [&](int64_t first, int64_t last) {
    if (first < last) fuseline_rms_norm_part(&n, first, last);
  });
}

}  // namespace fuseline
