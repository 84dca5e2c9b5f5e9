// Where the tensors of nodes and steps come from, and what is said where something is wrong.
#include "onnxruntime_operators.h"

#include <stdio.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace fuseline {
namespace {

constexpr int64_t kMostElements = kMostBytes / 8;  // of the widest type that an operator has

// Sizes and type of a tensor.
OrtStatus* describe(const Node& node, const OrtTensorTypeAndShapeInfo* info, Tensor* into) {
  TRY(node.api.rank(info, &into->shape.rank));
  if (into->shape.rank > kMostDimensions) return refuse(node, "an input has too many dimensions");
  TRY(node.api.dimensions(info, into->shape.of, into->shape.rank));
  TRY(node.api.type(info, &into->type));
  for (size_t i = 0; i < into->shape.rank; ++i)
    if (into->shape.of[i] < 0) return refuse(node, "an input has a negative size");
  return into->shape.elements() <= kMostElements ? nullptr : refuse(node, "an input has too many elements");
}

OrtStatus* read(const Node& node, const OrtValue* value, Tensor* into) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  if (OrtStatus* status = node.api.shape(value, &info)) {  // of a sequence, say
    node.api.release(status);
    return refuse(node, "an input is not a tensor");
  }
  OrtStatus* const status = describe(node, info, into);
  node.api.release(info);
  return status != nullptr ? status : node.api.data(value, &into->data);
}

// Of a node onnxruntime knows the types, of a step it does not.
OrtStatus* check_type(const Node& node, size_t index, const Tensor& tensor) {
  return tensor.type == node.op.type_of_input(index) ? nullptr : refuse(node, "an input has another type than it must have");
}

OrtStatus* input(const Node& node, const OrtKernelContext* context, size_t index, Tensor* into) {
  const OrtValue* value = nullptr;
  TRY(node.api.input(context, index, &value));
  return value == nullptr ? refuse(node, "an input is missing") : read(node, value, into);
}

OrtStatus* output(const Node& node, OrtKernelContext* context, size_t index, const Shape& shape, void** data) {
  if (shape.elements() > kMostElements) return no_memory(node);
  OrtValue* value = nullptr;
  TRY(node.api.output(context, index, shape.of, shape.rank, &value));
  // Of an output that the graph does not name.
  return value == nullptr ? refuse(node, "an output is missing; all of them must have names") : node.api.data(value, data);
}

// Memory for a value of a layer.
OrtStatus* make_value(const Node& node, const Call& call, size_t v, const Shape& shape) {
  Frame& frame = *call.frame;
  void* data = nullptr;
  if (v < frame.between) {
    TRY(output(node, call.context, v - frame.inputs, shape, &data));
  } else {
    if (shape.elements() > kMostElements) return no_memory(node);
    frame.owned[v] = frame.spare->take(times(shape.elements(), sizeof(float)));
    data = frame.owned[v].memory.get();
    if (data == nullptr) return no_memory(node);
  }
  frame.values[v] = {shape, kFloat, data};
  frame.known[v] = true;
  return nullptr;
}

// Some rows of a value, which the first ones have made memory for. shape: of these rows.
OrtStatus* make_rows(const Node& node, const Call& call, size_t v, const Shape& shape, void** data) {
  Frame& frame = *call.frame;
  Shape made = shape;
  if (!frame.part[v]) {
    made = frame.some.all;
    made.of[made.rank++] = shape.last();
  }
  if (!frame.known[v]) TRY(make_value(node, call, v, made));
  frame.values[v].shape = made;
  *data = static_cast<float*>(frame.values[v].data) + (frame.part[v] ? 0 : frame.some.first * shape.last());
  return nullptr;
}

// What those rows are of a value that has all.
void narrow(const SomeRows& rows, Tensor* value) {
  const int64_t width = value->shape.last();
  value->data = static_cast<float*>(value->data) + rows.first * width;
  value->shape = Shape{2, {rows.count, width}};
}

}  // namespace

OrtStatus* refuse(const Node& node, const char* reason) {
  char text[512];
  snprintf(text, sizeof text, "the node %s: %s", node.name, reason);
  return node.api.error(text);
}

#ifdef __SANITIZE_THREAD__

// onnxruntime is not compiled with ThreadSanitizer, which so cannot see how its threads hand on what there is to do, and that it
// is done.
OrtStatus* on_all_threads(const Node& node, const OrtKernelContext* context, void (*job)(void*, size_t), size_t jobs, void* of) {
  struct Seen {
    void (*job)(void*, size_t);
    void* of;
  } seen{job, of};
  const auto one = [](void* what, size_t index) {
    __tsan_acquire(what);
    const Seen& s = *static_cast<const Seen*>(what);
    s.job(s.of, index);
    __tsan_release(what);
  };
  __tsan_release(&seen);
  OrtStatus* const status = node.api.parallel_for(context, one, jobs, &seen);
  __tsan_acquire(&seen);
  return status;
}

#else

OrtStatus* on_all_threads(const Node& node, const OrtKernelContext* context, void (*job)(void*, size_t), size_t jobs, void* of) {
  return node.api.parallel_for(context, job, jobs, of);
}

#endif

OrtStatus* no_memory(const Node& node) { return refuse(node, "there is not enough memory"); }

OrtStatus* take(const Node& node, const Call& call, size_t index, Tensor* into) {
  if (node.constants[index].data != nullptr) {
    *into = node.constants[index];
    return nullptr;
  }
  if (call.step == nullptr) return input(node, call.context, index, into);
  Frame& frame = *call.frame;
  const size_t v = call.step->inputs[index];
  if (!frame.known[v]) TRY(input(node, call.context, v, &frame.values[v]));
  frame.known[v] = true;
  *into = frame.values[v];
  TRY(check_type(node, index, *into));
  if (frame.some.count > 0 && !frame.part[v]) narrow(frame.some, into);
  return nullptr;
}

OrtStatus* make(const Node& node, const Call& call, size_t index, const Shape& shape, void** data) {
  if (call.step == nullptr) return output(node, call.context, index, shape, data);
  const size_t v = call.step->outputs[index];
  if (call.frame->some.count > 0) return make_rows(node, call, v, shape, data);
  TRY(make_value(node, call, v, shape));
  *data = call.frame->values[v].data;
  return nullptr;
}

void read_name(const OrtKernelInfo* info, Node* node) {
  size_t size = sizeof node->name;
  if (OrtStatus* status = node->api.node_name(info, node->name, &size)) {  // a longer name than there is room for
    node->api.release(status);
    snprintf(node->name, sizeof node->name, "%s", node->op.name);
  }
}

OrtStatus* read_constant(const OrtKernelInfo* info, size_t input, Node* node, size_t index) {
  const OrtValue* value = nullptr;
  TRY(node->api.constant(info, input, &value));
  if (value == nullptr) return nullptr;
  TRY(read(*node, value, &node->constants[index]));
  return check_type(*node, index, node->constants[index]);
}

}  // namespace fuseline
