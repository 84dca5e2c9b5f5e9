// The table of the CUDA operators, and how onnxruntime gets it. What each computes is defined in kernels/bodies.py and
// kernels/device_bodies.py.
#include <cuda_fp16.h>
#include <math.h>
#include <stdio.h>

#include <new>

#include "nodes.h"
#include "onnxruntime_domain.h"

#define FUSELINE_EXPORT __attribute__((visibility("default")))
#ifndef FUSELINE_PROVIDER
#define FUSELINE_PROVIDER "CUDAExecutionProvider"  // whose memory and stream they use; tests compile them for the CPU's
#endif

namespace fuseline::cuda {
namespace {

constexpr int kAbi = 1;  // ABI of kernels/cuda/__init__.py

// --- the table -----------------------------------------------------------------------------------------------------------

struct Row {
  const char* name;
  Slot inputs[kMostInputs], outputs[kMostOutputs];
  Attributes attributes;
  OrtStatus* (*compute)(const Node& node, OrtKernelContext* context);
};

#define FUSELINE_CACHED(type) \
  {"qkv", type}, {"past_key", type}, {"past_value", type}, {"position", kInt64}, {"beam_table", kInt64}
#define FUSELINE_PRESENT(type) {{"mixed", type}, {"present_key", type}, {"present_value", type}}
#define FUSELINE_SOURCE(type, stored) {"query", type}, {"key", stored}, {"value", stored}
#define FUSELINE_FOUND {{"values", kFloat}, {"indices", kInt64}, {"logsumexp", kFloat}}
#define FUSELINE_ADDED(type) {{"x", type}, {"residual", type}, {"scale", type}, {"bias", type}}, {{"y", type}, {"sum", type}}
constexpr Slot kLengths = {"lengths", kInt64}, kDistances = {"distance_bias", kFloat};
constexpr Slot kMixed = {"mixed", kFloat}, kHalfMixed = {"mixed", kFloat16};

constexpr Row kRows[] = {
    {"CachedSelfAttention", {FUSELINE_CACHED(kFloat)}, FUSELINE_PRESENT(kFloat), Attributes::kHeads, compute_self_attention<float>},
    {"BiasedCachedSelfAttention", {FUSELINE_CACHED(kFloat), kDistances}, FUSELINE_PRESENT(kFloat), Attributes::kHeads,
     compute_self_attention<float>},
    {"Float16CachedSelfAttention", {FUSELINE_CACHED(kFloat16)}, FUSELINE_PRESENT(kFloat16), Attributes::kHeads,
     compute_self_attention<__half>},
    {"Float16BiasedCachedSelfAttention", {FUSELINE_CACHED(kFloat16), kDistances}, FUSELINE_PRESENT(kFloat16), Attributes::kHeads,
     compute_self_attention<__half>},
    {"CrossAttention", {FUSELINE_SOURCE(kFloat, kFloat)}, {kMixed}, Attributes::kHeads, compute_cross_attention<float, float>},
    {"PaddedCrossAttention", {FUSELINE_SOURCE(kFloat, kFloat), kLengths}, {kMixed}, Attributes::kHeads,
     compute_cross_attention<float, float>},
    {"HalfCrossAttention", {FUSELINE_SOURCE(kFloat, kFloat16)}, {kMixed}, Attributes::kHeads, compute_cross_attention<float, __half>},
    {"HalfPaddedCrossAttention", {FUSELINE_SOURCE(kFloat, kFloat16), kLengths}, {kMixed}, Attributes::kHeads,
     compute_cross_attention<float, __half>},
    {"Float16CrossAttention", {FUSELINE_SOURCE(kFloat16, kFloat16)}, {kHalfMixed}, Attributes::kHeads,
     compute_cross_attention<__half, __half>},
    {"Float16PaddedCrossAttention", {FUSELINE_SOURCE(kFloat16, kFloat16), kLengths}, {kHalfMixed}, Attributes::kHeads,
     compute_cross_attention<__half, __half>},
    {"RMSNorm", {{"x", kFloat}, {"scale", kFloat}}, {{"y", kFloat}}, Attributes::kEpsilon, compute_norm<float>},
    {"Float16RMSNorm", {{"x", kFloat16}, {"scale", kFloat16}}, {{"y", kFloat16}}, Attributes::kEpsilon, compute_norm<__half>},
    {"AddLayerNorm", FUSELINE_ADDED(kFloat), Attributes::kEpsilon, compute_norm<float>},
    {"Float16AddLayerNorm", FUSELINE_ADDED(kFloat16), Attributes::kEpsilon, compute_norm<__half>},
    {"TopCandidates", {{"logits", kFloat}}, FUSELINE_FOUND, Attributes::kK, compute_top_candidates<float>},
    {"Float16TopCandidates", {{"logits", kFloat16}}, FUSELINE_FOUND, Attributes::kK, compute_top_candidates<__half>},
};
constexpr size_t kOperators = sizeof kRows / sizeof kRows[0];
#undef FUSELINE_CACHED
#undef FUSELINE_PRESENT
#undef FUSELINE_SOURCE
#undef FUSELINE_FOUND
#undef FUSELINE_ADDED

// --- as onnxruntime sees it ----------------------------------------------------------------------------------------------

const Operator& self(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

OrtStatus* read_attributes(const OrtKernelInfo* info, Node* node) {
  switch (node->op.attributes) {
    case Attributes::kEpsilon:
      TRY(read_attribute(info, *node, "epsilon", &node->epsilon));
      return node->epsilon >= 0 && node->epsilon < INFINITY ? nullptr : refuse(*node, "epsilon must not be negative, and finite");
    case Attributes::kHeads:
      TRY(read_attribute(info, *node, "heads", &node->heads));
      TRY(read_attribute(info, *node, "scale", &node->scale));
      return node->heads >= 1 && fabsf(node->scale) < INFINITY ? nullptr : refuse(*node, "heads must be at least 1 and scale finite");
    case Attributes::kK:
      TRY(read_attribute(info, *node, "k", &node->k));
      return node->k >= 1 ? nullptr : refuse(*node, "k must be at least 1");
  }
  return nullptr;
}

OrtStatus* create(const OrtCustomOp* custom, const OrtApi* table, const OrtKernelInfo* info, void** kernel) {
  const Api api(table);
  *kernel = nullptr;
  Node* const node = new (std::nothrow) Node(api, self(custom));
  if (node == nullptr) return api.error("there is not enough memory");
  size_t size = sizeof node->name;
  if (OrtStatus* status = api.node_name(info, node->name, &size)) {  // a longer name than there is room for
    api.release(status);
    snprintf(node->name, sizeof node->name, "%s", node->op.name);
  }
  OrtStatus* const status = read_attributes(info, node);
  if (status != nullptr)
    delete node;
  else
    *kernel = node;
  return status;
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const Node& node = *static_cast<const Node*>(kernel);
  return node.op.compute(node, context);
}

class Table {
 public:
  Table() {
    for (size_t i = 0; i < kOperators; ++i) fill(kRows[i], &all_[i]);
  }
  const Operator* begin() const { return all_; }
  const Operator* end() const { return all_ + kOperators; }

 private:
  static void fill(const Row& row, Operator* op) {
    op->name = row.name;
    while (op->input_count < kMostInputs && row.inputs[op->input_count].name != nullptr) ++op->input_count;
    while (op->output_count < kMostOutputs && row.outputs[op->output_count].name != nullptr) ++op->output_count;
    for (size_t i = 0; i < kMostInputs; ++i) op->inputs[i] = row.inputs[i];
    for (size_t i = 0; i < kMostOutputs; ++i) op->outputs[i] = row.outputs[i];
    op->attributes = row.attributes;
    op->compute = row.compute;
    answer_alike(op);
    op->GetName = [](const OrtCustomOp* o) { return self(o).name; };
    op->GetExecutionProviderType = [](const OrtCustomOp*) { return FUSELINE_PROVIDER; };
    op->GetInputType = [](const OrtCustomOp* o, size_t index) { return self(o).inputs[index].type; };
    op->GetInputTypeCount = [](const OrtCustomOp* o) { return self(o).input_count; };
    op->GetOutputType = [](const OrtCustomOp* o, size_t index) { return self(o).outputs[index].type; };
    op->GetOutputTypeCount = [](const OrtCustomOp* o) { return self(o).output_count; };
    op->KernelDestroy = [](void* kernel) { delete static_cast<Node*>(kernel); };
    op->GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return kRequired; };
    op->GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return kRequired; };
    op->CreateKernelV2 = create;
    op->KernelComputeV2 = cuda::compute;
  }

  Operator all_[kOperators] = {};
};

const Table& table_of_operators() {
  static const Table table;
  return table;
}

}  // namespace
}  // namespace fuseline::cuda

extern "C" FUSELINE_EXPORT int fuseline_cuda_abi(void) { return fuseline::cuda::kAbi; }

// What onnxruntime looks for in a library of operators.
extern "C" FUSELINE_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  return fuseline::add_operators(options, base, fuseline::cuda::table_of_operators());
}
