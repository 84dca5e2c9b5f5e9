// Convolutions inside onnxruntime: takes tensors apart, checks their shapes, and calls the C interface.
#include "onnxruntime_loops.h"
#include "onnxruntime_operators.h"

namespace fuseline {
namespace {

bool is_layer(const Tensor& weight, const Tensor& scale, const Tensor& bias, int64_t inputs, int64_t outputs) {
  return same(weight.shape, {(outputs + 15) / 16, (inputs + 3) / 4, 16, 4}) && same(scale.shape, {outputs}) &&
         same(bias.shape, {outputs});
}

// The inputs of a bottleneck, in their order; those before `depthwise` are left out where nothing is widened.
struct Inputs {
  Tensor x, expand, expand_scale, expand_bias, depthwise, depthwise_bias, project, project_scale, project_bias;
};

OrtStatus* take_all(const Node& node, const Call& call, bool widens, Inputs* in) {
  size_t index = 0;
  TRY(take(node, call, index++, &in->x));
  if (widens)
    for (Tensor* each : {&in->expand, &in->expand_scale, &in->expand_bias}) TRY(take(node, call, index++, each));
  for (Tensor* each : {&in->depthwise, &in->depthwise_bias, &in->project, &in->project_scale, &in->project_bias})
    TRY(take(node, call, index++, each));
  return nullptr;
}

// Sizes from the shapes; false where they do not go together.
bool read_sizes(const Node& node, const Inputs& in, bool widens, fuseline_bottleneck* b) {
  if (in.x.shape.rank != 4 || in.depthwise.shape.rank != 3 || in.project_bias.shape.rank != 1) return false;
  b->images = in.x.shape.of[0];
  b->height = in.x.shape.of[1];
  b->width = in.x.shape.of[2];
  b->channels = in.x.shape.of[3];
  b->kernel = in.depthwise.shape.of[0];
  b->middle = in.depthwise.shape.of[2];
  b->outputs = in.project_bias.shape.of[0];
  b->stride = node.strides;
  b->adds = node.op.of.second == Second::kResidual;
  if (b->channels < 1 || b->middle < 1 || b->outputs < 1 || node.group != b->middle) return false;
  if (b->adds && (b->stride != 1 || b->channels != b->outputs)) return false;
  if (widens && node.channels != b->channels) return false;
  if (widens ? !is_layer(in.expand, in.expand_scale, in.expand_bias, b->channels, b->middle) : b->channels != b->middle) return false;
  return same(in.depthwise.shape, {b->kernel, b->kernel, b->middle}) && same(in.depthwise_bias.shape, {b->middle}) &&
         is_layer(in.project, in.project_scale, in.project_bias, b->middle, b->outputs);
}

void point_to(const Inputs& in, void* y, fuseline_bottleneck* b) {
  const auto floats = [](const Tensor& tensor) { return static_cast<const float*>(tensor.data); };
  b->x = floats(in.x);
  b->expand = in.expand.data;
  b->expand_scale = floats(in.expand_scale);
  b->expand_bias = floats(in.expand_bias);
  b->depthwise = floats(in.depthwise);
  b->depthwise_bias = floats(in.depthwise_bias);
  b->project = in.project.data;
  b->project_scale = floats(in.project_scale);
  b->project_bias = floats(in.project_bias);
  b->y = static_cast<float*>(y);
}

// Whether scales must be looked at no more: they are constants, and were good.
bool constant_scales(const Node& node, bool widens) {
  return (!widens || node.constants[2].data != nullptr) && node.constants[widens ? 7 : 4].data != nullptr;
}

OrtStatus* all_images(const Node& node, const fuseline_bottleneck& b, Team* team) {
  static constexpr Ahead kNothing;
  const auto share = [&](int64_t jobs, const auto& job) {
    if (jobs == 0) return;
    if (team == nullptr)
      job(0, jobs);
    else
      team->share(jobs, job, &kNothing);
  };
  const Memory scratch = memory_of(fuseline_bottleneck_scratch(&b));
  if (scratch == nullptr) return no_memory(node);
  std::atomic<bool> lacking{false};
  for (int64_t image = 0; image < b.images; ++image) {
    share(fuseline_bottleneck_read_jobs(&b),
          [&](int64_t first, int64_t last) { fuseline_bottleneck_read(&b, scratch.get(), image, first, last); });
    share(fuseline_bottleneck_convolve_jobs(&b), [&](int64_t first, int64_t last) {
      const Memory own = memory_of(fuseline_bottleneck_own(&b));
      if (own != nullptr)
        fuseline_bottleneck_convolve(&b, scratch.get(), own.get(), image, first, last);
      else
        lacking.store(true, std::memory_order_relaxed);
    });
    if (lacking) return no_memory(node);
    share(fuseline_bottleneck_project_jobs(&b),
          [&](int64_t first, int64_t last) { fuseline_bottleneck_project(&b, scratch.get(), image, first, last); });
  }
  return nullptr;
}

}  // namespace

OrtStatus* compute_convolution(const Node& node, const Call& call) {
  Tensor x, weight, bias;
  TRY(take(node, call, 0, &x));
  TRY(take(node, call, 1, &weight));
  TRY(take(node, call, 2, &bias));
  if (x.shape.rank != 4 || weight.shape.rank != 4 || bias.shape.rank != 1)
    return refuse(node, "x and weight must have four dimensions, and bias one");
  fuseline_convolution c{};
  c.images = x.shape.of[0];
  c.channels = x.shape.of[1];
  c.height = x.shape.of[2];
  c.width = x.shape.of[3];
  c.outputs = bias.shape.of[0];
  c.kernel = weight.shape.of[1];
  c.stride = node.strides;
  if (!same(weight.shape, {c.channels, c.kernel, c.kernel, c.outputs})) return refuse(node, "weight and bias do not fit x");
  c.x = static_cast<const float*>(x.data);
  c.weight = static_cast<const float*>(weight.data);
  c.bias = static_cast<const float*>(bias.data);
  float nowhere = 0;
  c.y = &nowhere;  // what is checked is all but this
  if (fuseline_convolution_begin(&c) != FUSELINE_OK) return refuse(node, "images, kernel or strides have sizes that it does not take");
  const int64_t rows = fuseline_convolution_rows(&c), columns = (c.width + c.stride - 1) / c.stride;
  void* y = nullptr;
  TRY(make(node, call, 0, {4, {c.images, rows, columns, c.outputs}}, &y));
  c.y = static_cast<float*>(y);
  const int64_t work = times(c.images * rows, columns, times(c.kernel, c.kernel, times(c.channels, c.outputs)));
  return in_parts(node, call, c.images * rows, work, [&](int64_t) { return fuseline_convolution_scratch(&c); },
                  [&](int64_t first, int64_t last, float* scratch) { fuseline_convolution_part(&c, first, last, scratch); });
}

OrtStatus* compute_bottleneck(const Node& node, const Call& call) {
  const bool widens = node.op.inputs > 6;
  Inputs in;
  TRY(take_all(node, call, widens, &in));
  fuseline_bottleneck b{};
  if (!read_sizes(node, in, widens, &b)) return refuse(node, "weights, scales, biases, channels, group and strides do not fit x");
  float nowhere = 0;
  point_to(in, &nowhere, &b);
  if (fuseline_bottleneck_begin(&b) != FUSELINE_OK) return refuse(node, "images, kernel or strides have sizes that it does not take");
  if (!node.checked.load(std::memory_order_relaxed)) {
    if (fuseline_bottleneck_scales(&b) != FUSELINE_OK) return refuse(node, "a scale of the weights is zero or not finite");
    if (constant_scales(node, widens)) node.checked.store(true, std::memory_order_relaxed);
  }
  void* y = nullptr;
  const int64_t rows = (b.height + b.stride - 1) / b.stride, columns = (b.width + b.stride - 1) / b.stride;
  TRY(make(node, call, 0, {4, {b.images, rows, columns, b.outputs}}, &y));
  b.y = static_cast<float*>(y);
  if (b.images == 0) return nullptr;
  if (call.team != nullptr) return all_images(node, b, call.team);
  if (times(in.x.shape.elements(), b.middle) < kWorthSharing) return all_images(node, b, nullptr);
  return with_team(node, call.context, [&](Team* team) { return all_images(node, b, team); });
}

}  // namespace fuseline
