// What the operators share as onnxruntime sees them: nodes of a graph, steps of a layer, and where their tensors come from.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include <atomic>

#include "memory.h"
#include "onnxruntime_api.h"
#include "sizes.h"
#include "team.h"

namespace fuseline {

constexpr size_t kMostDimensions = 8;

struct Shape {
  size_t rank = 0;
  int64_t of[kMostDimensions] = {};

  int64_t last() const { return of[rank - 1]; }
  // INT64_MAX where there are more than int64 counts; where one size is zero the others do not matter.
  int64_t elements() const {
    int64_t n = 1;
    for (size_t i = 0; i < rank; ++i) n = of[i] == 0 ? 0 : n == 0 ? 0 : times(n, of[i]);
    return n;
  }
  bool is(size_t n, const int64_t* sizes) const {
    for (size_t i = 0; i < n; ++i)
      if (of[i] != sizes[i]) return false;
    return rank == n;
  }
};

template <size_t N>
bool same(const Shape& shape, const int64_t (&sizes)[N]) {
  return shape.is(N, sizes);
}

struct Tensor {
  Shape shape;
  int type = 0;
  void* data = nullptr;
};

constexpr size_t kMostInputs = 5, kMostOutputs = 3;  // of an operator but a layer

// A node of a graph, or a step of a layer, between two runs.
struct Node {
  Node(const Api& api_, int kind_) : api(api_), kind(kind_) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const Api api;
  const int kind;  // see Operator
  int64_t heads = 0;
  float scale = 0;
  int64_t vocabulary = 0, width = 0;
  float epsilon = 0;
  char name[128] = "";
  Tensor constants[kMostInputs] = {};  // inputs that never change, as weights: asking for them costs a step a hundredth
  mutable std::atomic<bool> checked{false};  // whether its scales were seen to be good and are constants
};

// A node of a layer. inputs, outputs: the numbers of its values; ahead: the weights that it, or else the next that has some,
// reads; after: those that are read once it is done.
struct Step {
  Step(const Api& api, int kind) : node(api, kind) {}

  Node node;
  uint8_t inputs[kMostInputs] = {}, outputs[kMostOutputs] = {};
  Ahead ahead, after;
};

// The values of one run of a layer, by number: inputs of the layer, its outputs, then what lies between, which is ours.
constexpr size_t kMostValues = 128;
static_assert(kMostValues <= UINT8_MAX + 1, "a step has the numbers of its values in bytes");

struct Frame {
  Frame(size_t inputs_, size_t between_, size_t end_) : inputs(inputs_), between(between_), end(end_) {}
  ~Frame() {
    for (size_t v = between; v < end; ++v) drop(v);
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  void drop(size_t v) {
    free(values[v].data);
    values[v].data = nullptr;
  }

  const size_t inputs, between, end;
  Tensor values[kMostValues];
  bool known[kMostValues] = {};
};

// One run of a node, whose tensors onnxruntime has, or of a step, whose tensors are the layer's or in its frame.
struct Call {
  OrtKernelContext* context;
  const Step* step = nullptr;
  Frame* frame = nullptr;
  Team* team = nullptr;  // null where loops are for onnxruntime's pool
};

#define TRY(call)                                   \
  do {                                              \
    if (OrtStatus* status_ = (call)) return status_; \
  } while (false)

OrtStatus* refuse(const Node& node, const char* reason);
OrtStatus* no_memory(const Node& node);

// job(of, index) for each index below `jobs`, on onnxruntime's threads.
OrtStatus* on_all_threads(const Node& node, const OrtKernelContext* context, void (*job)(void*, size_t), size_t jobs, void* of);

// An input, and memory for an output of float32.
OrtStatus* take(const Node& node, const Call& call, size_t index, Tensor* into);
OrtStatus* make(const Node& node, const Call& call, size_t index, const Shape& shape, void** data);

// The operators (onnxruntime_operators.cpp): their number, counts of inputs and outputs, attributes, and a run.
extern const int kSteps;  // those that a layer can be made of are before it
const char* name_of(int kind);
size_t inputs_of(int kind);
size_t outputs_of(int kind);
int type_of_input(int kind, size_t index);
void read_name(const OrtKernelInfo* info, Node* node);
OrtStatus* read_attributes(const OrtKernelInfo* info, Node* node);
OrtStatus* read_constant(const OrtKernelInfo* info, size_t input, Node* node, size_t index);
OrtStatus* compute_node(const Node& node, const Call& call);
Ahead weights_of(const Node& node);           // nothing where they are no constant
constexpr int64_t kWorthSharing = 64 << 10;  // bytes to read that are worth a second thread

// Layers (onnxruntime_layers.cpp): as onnxruntime makes, runs and destroys their kernels.
OrtStatus* create_layer(const Api& api, int kind, const OrtKernelInfo* info, void** kernel);
OrtStatus* compute_layer(void* kernel, OrtKernelContext* context);
void destroy_layer(void* kernel);

}  // namespace fuseline
