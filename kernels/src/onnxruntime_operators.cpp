// The table of operators, and how onnxruntime gets it. What an operator computes is defined in kernels/bodies.py.
#include "onnxruntime_operators.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "onnxruntime_domain.h"

namespace fuseline {
namespace {

static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8 && sizeof(float) == 4, "sizes are counted in int64");

// --- the table: an operator is added here, and with its body in kernels/bodies.py ---------------------------------------

const char* wrong_sizes(const Node& node) {
  return node.vocabulary >= 1 && node.width >= 1 ? nullptr : "vocabulary and width must be at least 1";
}
const char* wrong_epsilon(const Node& node) {
  return node.epsilon >= 0 && node.epsilon < INFINITY ? nullptr : "epsilon must not be negative, and finite";
}
const char* wrong_heads(const Node& node) {
  return node.heads >= 1 && fabsf(node.scale) < INFINITY ? nullptr : "heads must be at least 1 and scale finite";
}
const char* wrong_strides(const Node& node) { return node.strides >= 1 ? nullptr : "strides must be at least 1"; }
constexpr Attributes kNone = {{}, nullptr};
constexpr Attributes kSizes = {{{"vocabulary", &Node::vocabulary, nullptr, nullptr}, {"width", &Node::width, nullptr, nullptr}},
                               wrong_sizes};
constexpr Attributes kEpsilon = {{{"epsilon", nullptr, &Node::epsilon, nullptr}}, wrong_epsilon};
constexpr Attributes kOnlyHeads = {{{"heads", &Node::heads, nullptr, nullptr}}, wrong_heads};
constexpr Attributes kHeads = {{{"heads", &Node::heads, nullptr, nullptr}, {"scale", nullptr, &Node::scale, nullptr}}, wrong_heads};
constexpr Attribute kStrides = {"strides", nullptr, nullptr, &Node::strides};
constexpr Attributes kOnlyStrides = {{kStrides}, wrong_strides};
constexpr Attribute kGroups = {"group", &Node::group, nullptr, nullptr};
constexpr Attributes kGroup = {{kGroups, kStrides}, wrong_strides};
constexpr Attributes kChannels = {{{"channels", &Node::channels, nullptr, nullptr}, kGroups, kStrides}, wrong_strides};

constexpr Slot kX = {"x", kFloat}, kScale = {"scale", kFloat}, kBias = {"bias", kFloat}, kQuery = {"query", kFloat};
constexpr Slot kKey = {"key", kFloat}, kValue = {"value", kFloat}, kHalfKey = {"key", kFloat16}, kHalfValue = {"value", kFloat16};
constexpr Slot kQkv = {"qkv", kFloat}, kPastKey = {"past_key", kFloat}, kPastValue = {"past_value", kFloat};
constexpr Slot kPosition = {"position", kInt64}, kTable = {"beam_table", kInt64}, kLengths = {"lengths", kInt64};
constexpr Slot kDistances = {"distance_bias", kFloat}, kPlaces = {"place_bias", kFloat};
constexpr Slot kWindows = {"windows", kInt64}, kRegions = {"regions", kInt64};
constexpr Slot kCosines = {"cosines", kFloat}, kSines = {"sines", kFloat}, kRows = {"rows", kInt64};
constexpr Slot kStarts = {"starts", kInt64}, kWeights = {"weights", kFloat};
constexpr Slot kExpand = {"expand", kUint8}, kExpandScale = {"expand_scale", kFloat}, kExpandBias = {"expand_bias", kFloat};
constexpr Slot kDepthwise = {"depthwise", kFloat}, kDepthwiseBias = {"depthwise_bias", kFloat};
constexpr Slot kProject = {"project", kUint8}, kProjectScale = {"project_scale", kFloat}, kProjectBias = {"project_bias", kFloat};
#define FUSELINE_BOTTLENECK \
  {kX, kExpand, kExpandScale, kExpandBias, kDepthwise, kDepthwiseBias, kProject, kProjectScale, kProjectBias}
#define FUSELINE_PRESENT {"mixed", "present_key", "present_value"}

constexpr Definition kOthers[] = {
    {"LayerNorm", {kX, kScale, kBias}, {"y"}, &kEpsilon, compute_layer_norm, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"RMSNorm", {kX, kScale}, {"y"}, &kEpsilon, compute_rms_norm, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"Rotary", {kQkv, kCosines, kSines, kPosition, kRows}, {"rotated"}, &kOnlyHeads, compute_rotary, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"CachedSelfAttention", {kQkv, kPastKey, kPastValue, kPosition, kTable}, FUSELINE_PRESENT, &kHeads,
     compute_cached_self_attention, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"BiasedCachedSelfAttention", {kQkv, kPastKey, kPastValue, kPosition, kTable, kDistances}, FUSELINE_PRESENT, &kHeads,
     compute_cached_self_attention, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"CrossAttention", {kQuery, kKey, kValue}, {"mixed"}, &kHeads, compute_cross_attention, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"HalfCrossAttention", {kQuery, kHalfKey, kHalfValue}, {"mixed"}, &kHeads, compute_cross_attention, FUSELINE_HALF, 0,
     Second::kNone, 0},
    {"PaddedCrossAttention", {kQuery, kKey, kValue, kLengths}, {"mixed"}, &kHeads, compute_cross_attention, FUSELINE_FLOAT, 0,
     Second::kNone, 0},
    {"HalfPaddedCrossAttention", {kQuery, kHalfKey, kHalfValue, kLengths}, {"mixed"}, &kHeads, compute_cross_attention,
     FUSELINE_HALF, 0, Second::kNone, 0},
    {"CrossAttentionFlat", {kQuery, kKey, kValue, kLengths, kStarts, kWeights}, {"mixed", "share"}, &kHeads, compute_flat_attention,
     FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"HalfCrossAttentionFlat", {kQuery, kHalfKey, kHalfValue, kLengths, kStarts, kWeights}, {"mixed", "share"}, &kHeads,
     compute_flat_attention, FUSELINE_HALF, 0, Second::kNone, 0},
    {"CrossAttentionSeparate", {kQuery, kKey, kValue, kLengths, kStarts, kWeights}, {"parts", "share"}, &kHeads,
     compute_separate_attention, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"HalfCrossAttentionSeparate", {kQuery, kHalfKey, kHalfValue, kLengths, kStarts, kWeights}, {"parts", "share"}, &kHeads,
     compute_separate_attention, FUSELINE_HALF, 0, Second::kNone, 0},
    {"SelfAttention", {kQkv, kLengths}, {"mixed"}, &kHeads, compute_encoder_attention, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"BiasedSelfAttention", {kQkv, kLengths, kDistances}, {"mixed"}, &kHeads, compute_encoder_attention, FUSELINE_FLOAT, 0,
     Second::kNone, 0},
    {"WindowSelfAttention", {kQkv, kWindows, kRegions, kPlaces}, {"mixed"}, &kHeads, compute_window_attention, FUSELINE_FLOAT, 0,
     Second::kNone, 0},
    {"BFloat16SelfAttention", {kQkv, kLengths}, {"mixed"}, &kHeads, compute_encoder_attention, FUSELINE_BFLOAT16, 0, Second::kNone, 0},
    {"BFloat16BiasedSelfAttention", {kQkv, kLengths, kDistances}, {"mixed"}, &kHeads, compute_encoder_attention, FUSELINE_BFLOAT16, 0,
     Second::kNone, 0},
    {"BFloat16WindowSelfAttention", {kQkv, kWindows, kRegions, kPlaces}, {"mixed"}, &kHeads, compute_window_attention,
     FUSELINE_BFLOAT16, 0, Second::kNone, 0},
    {"ConvRelu6", {kX, {"weight", kFloat}, kBias}, {"y"}, &kOnlyStrides, compute_convolution, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"Int8SeparableConv", {kX, kDepthwise, kDepthwiseBias, kProject, kProjectScale, kProjectBias}, {"y"}, &kGroup, compute_bottleneck,
     FUSELINE_INT8, 0, Second::kNone, 3},
    {"Int8InvertedBottleneck", FUSELINE_BOTTLENECK, {"y"}, &kChannels, compute_bottleneck, FUSELINE_INT8, 0, Second::kNone, 1},
    {"Int8InvertedBottleneckAdd", FUSELINE_BOTTLENECK, {"y"}, &kChannels, compute_bottleneck, FUSELINE_INT8, 0, Second::kResidual, 1},
    {"DecoderLayer", {}, {}, &kNone, nullptr, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"EncoderLayer", {}, {}, &kNone, nullptr, FUSELINE_FLOAT, 0, Second::kNone, 0},
    {"Projections", {}, {}, &kNone, nullptr, FUSELINE_FLOAT, 0, Second::kNone, 0},
};
#undef FUSELINE_PRESENT
#undef FUSELINE_BOTTLENECK

// Linear layers come in all formats and endings, embeddings in the formats that tables have.
struct Format {
  const char* name;
  int32_t format;
  int weight, scale;  // types; a scale that is none has kAnyType
  bool embeds;
};
constexpr Format kFormats[] = {
    {"Float", FUSELINE_FLOAT, kFloat, kAnyType, true},
    {"Half", FUSELINE_HALF, kFloat16, kAnyType, true},
    {"Int8", FUSELINE_INT8, kUint8, kFloat, true},
    {"Int4", FUSELINE_INT4, kUint8, kFloat16, false},
    {"BFloat16", FUSELINE_BFLOAT16, kBFloat16, kAnyType, false},
};
struct Ending {
  const char* name;
  int32_t activation;
  Second second;
  const char* input;
};
constexpr Ending kEndings[] = {
    {"", FUSELINE_NO_ACTIVATION, Second::kNone, nullptr},
    {"Relu", FUSELINE_RELU, Second::kNone, nullptr},
    {"Gelu", FUSELINE_GELU, Second::kNone, nullptr},
    {"GeluTanh", FUSELINE_GELU_TANH, Second::kNone, nullptr},
    {"QuickGelu", FUSELINE_QUICK_GELU, Second::kNone, nullptr},
    {"Silu", FUSELINE_SILU, Second::kNone, nullptr},
    {"Relu6", FUSELINE_RELU6, Second::kNone, nullptr},
    {"Add", FUSELINE_NO_ACTIVATION, Second::kResidual, "residual"},
    {"Mul", FUSELINE_NO_ACTIVATION, Second::kFactor, "factor"},
};

template <class Row, size_t N>
constexpr size_t count(const Row (&)[N]) {
  return N;
}
constexpr size_t kMostOperators = count(kFormats) * (count(kEndings) + 1) + count(kOthers);

// --- as onnxruntime sees it ----------------------------------------------------------------------------------------------

const Operator& self(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

OrtStatus* create(const OrtCustomOp* custom, const OrtApi* table, const OrtKernelInfo* info, void** kernel) {
  const Operator& op = self(custom);
  const Api api(table);
  *kernel = nullptr;
  if (op.is_layer()) return create_layer(api, op, info, kernel);
  Owned<Node> node = own<Node>(api, op);
  if (node == nullptr) return api.error("there is not enough memory");
  read_name(info, node.get());
  TRY(read_attributes(info, node.get()));
  for (size_t index = 0; index < op.inputs; ++index) TRY(read_constant(info, index, node.get(), index));
  *kernel = node.release();
  return nullptr;
}

OrtStatus* run_node(void* kernel, OrtKernelContext* context) {
  const Node& node = *static_cast<const Node*>(kernel);
  return node.op.of.compute(node, Call{context});
}

void destroy_node(void* kernel) { Destroy()(static_cast<Node*>(kernel)); }

class Table {
 public:
  Table() {
    for (const Format& format : kFormats)
      for (const Ending& ending : kEndings) add_linear(format, ending);
    for (const Format& format : kFormats)
      if (format.embeds) add_embedding(format);
    for (const Definition& definition : kOthers) add(definition, "", "");
    describe();
  }

  const Operator* begin() const { return all_; }
  const Operator* end() const { return all_ + count_; }
  const char* text() const { return text_; }

 private:
  void add_linear(const Format& format, const Ending& ending) {
    Definition d = {"Linear", {kX, {"weight", format.weight}}, {"y"}, &kNone, compute_linear, format.format, ending.activation,
                    ending.second, 1};
    size_t at = 2;
    if (format.scale != kAnyType) d.inputs[at++] = {"scale", format.scale};
    d.inputs[at++] = kBias;
    if (ending.second != Second::kNone) d.inputs[at++] = {ending.input, kFloat};
    add(d, format.name, ending.name);
  }

  void add_embedding(const Format& format) {
    Definition d = {"Embedding", {{"ids", kInt64}, {"weight", format.weight}}, {"embedded"}, &kSizes, compute_embedding,
                    format.format, 0, Second::kNone, 0};
    if (format.scale != kAnyType) d.inputs[2] = {"scale", format.scale};
    add(d, format.name, "");
  }

  void add(const Definition& definition, const char* before, const char* after) {
    Operator& op = all_[count_++];
    op.of = definition;
    snprintf(op.name, sizeof op.name, "%s%s%s", before, definition.name, after);
    while (op.inputs < kMostInputs && op.of.inputs[op.inputs].name != nullptr) ++op.inputs;
    while (op.outputs < kMostOutputs && op.of.outputs[op.outputs] != nullptr) ++op.outputs;
    answer_alike(&op);
    op.GetName = [](const OrtCustomOp* o) -> const char* { return self(o).name; };
    op.GetExecutionProviderType = [](const OrtCustomOp*) { return "CPUExecutionProvider"; };
    op.GetInputType = [](const OrtCustomOp* o, size_t index) { return self(o).type_of_input(index); };
    op.GetInputTypeCount = [](const OrtCustomOp* o) { return self(o).is_layer() ? 1 : self(o).inputs; };  // of any number
    op.GetOutputType = [](const OrtCustomOp*, size_t) { return kFloat; };
    op.GetOutputTypeCount = [](const OrtCustomOp* o) { return self(o).is_layer() ? 1 : self(o).outputs; };
    op.KernelDestroy = op.is_layer() ? destroy_layer : destroy_node;
    op.GetInputCharacteristic = [](const OrtCustomOp* o, size_t) { return self(o).is_layer() ? kVariadic : kRequired; };
    op.GetOutputCharacteristic = op.GetInputCharacteristic;
    op.CreateKernelV2 = create;
    op.KernelComputeV2 = op.is_layer() ? compute_layer : run_node;
  }

  // As fuseline_operators says.
  void describe() {
    for (const Operator& op : *this) {
      if (op.is_layer()) continue;
      say("%s", op.name);
      const char* before = "<";
      for (const Attribute& attribute : op.of.attributes->all) {
        if (attribute.name == nullptr) continue;
        say("%s%s: %s", before, attribute.name, attribute.whole != nullptr ? "int" : attribute.number != nullptr ? "float" : "ints");
        before = ", ";
      }
      say("%s", before[0] == '<' ? "" : ">");
      for (size_t i = 0; i < op.inputs; ++i) {
        const int type = op.type_of_input(i);
        say("%s%s: %s", i == 0 ? "(" : ", ", op.of.inputs[i].name,
            type == kFloat ? "float32" : type == kFloat16 ? "float16" : type == kBFloat16 ? "bfloat16" : type == kUint8 ? "uint8" : "int64");
      }
      for (size_t i = 0; i < op.outputs; ++i) say("%s%s", i == 0 ? ") => (" : ", ", op.of.outputs[i]);
      say("%s", ")\n");
    }
  }

  template <class... Words>
  void say(const char* format, Words... words) {
    const int said = snprintf(text_ + length_, sizeof text_ - length_, format, words...);
    length_ += static_cast<size_t>(said) < sizeof text_ - length_ ? static_cast<size_t>(said) : 0;
  }

  Operator all_[kMostOperators] = {};
  size_t count_ = 0;
  char text_[kMostOperators * 160] = "";
  size_t length_ = 0;
};

const Table& table_of_operators() {
  static const Table table;
  return table;
}

OrtStatus* read_both(const OrtKernelInfo* info, const Node& node, const char* name, int64_t* into) {
  int64_t numbers[2] = {};
  size_t size = 2;
  OrtStatus* const status = node.api.attribute(info, name, numbers, &size);
  if (status != nullptr) node.api.release(status);
  if (status != nullptr || size != 2 || numbers[0] != numbers[1]) {
    char text[80];
    snprintf(text, sizeof text, "the attribute %s must be two numbers that are the same", name);
    return refuse(node, text);
  }
  *into = numbers[0];
  return nullptr;
}

}  // namespace

const Operator* find_step(const char* name) {
  for (const Operator& op : table_of_operators())
    if (strcmp(op.name, name) == 0) return op.is_layer() ? nullptr : &op;
  return nullptr;
}

OrtStatus* read_attributes(const OrtKernelInfo* info, Node* node) {
  const Attributes& attributes = *node->op.of.attributes;
  for (const Attribute& each : attributes.all) {
    if (each.name == nullptr) continue;
    if (each.whole != nullptr) TRY(read_attribute(info, *node, each.name, &(node->*each.whole)));
    if (each.number != nullptr) TRY(read_attribute(info, *node, each.name, &(node->*each.number)));
    if (each.both != nullptr) TRY(read_both(info, *node, each.name, &(node->*each.both)));
  }
  const char* const wrong = attributes.wrong == nullptr ? nullptr : attributes.wrong(*node);
  return wrong == nullptr ? nullptr : refuse(*node, wrong);
}

Ahead weights_of(const Node& node) {
  if (node.op.of.weights == 0) return {};
  const Tensor& weight = node.constants[node.op.of.weights];
  const int64_t bytes = weight.type == kFloat ? 4 : weight.type == kFloat16 || weight.type == kBFloat16 ? 2 : 1;
  return {static_cast<const char*>(weight.data), weight.data == nullptr ? 0 : times(weight.shape.elements(), bytes)};
}

}  // namespace fuseline

const char* fuseline_operators(void) { return fuseline::table_of_operators().text(); }

// What onnxruntime looks for in a library of operators.
extern "C" FUSELINE_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  return fuseline::add_operators(options, base, fuseline::table_of_operators());
}
