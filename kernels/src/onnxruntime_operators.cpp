// The operators as onnxruntime sees them: takes tensors apart, checks their shapes, and calls the C interface, on
// onnxruntime's own threads. What an operator computes is defined in kernels/bodies.py.
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fuseline_kernels.h"
#include "onnxruntime_nodes.h"

namespace fuseline {
namespace {

// Runs job(first, last) over pieces of [0, total), on several threads where the work (bytes read) is worth waking them.
template <class Job>
OrtStatus* in_parts(const Node& node, const Call& call, int64_t total, int64_t bytes, const Job& job) {
  constexpr int64_t kPieceBytes = kWorthSharing / 2, kMostPieces = 16;
  int64_t pieces = bytes / kPieceBytes;
  pieces = pieces < kMostPieces ? pieces : kMostPieces;
  if (pieces < 2) {
    job(0, total);
    return nullptr;
  }
  if (call.team != nullptr) {
    call.team->share(total, job, &call.step->after);
    return nullptr;
  }
  struct Plan {
    const Job* job;
    int64_t total, size;
  } plan{&job, total, (total + pieces - 1) / pieces};
  plan.size += plan.size & 1;  // in twos, as the kernels take them
  const auto one = [](void* of, size_t index) {
    const Plan& p = *static_cast<const Plan*>(of);
    const int64_t first = static_cast<int64_t>(index) * p.size;
    (*p.job)(first, first + p.size < p.total ? first + p.size : p.total);
  };
  return on_all_threads(node, call.context, one, static_cast<size_t>((total + plan.size - 1) / plan.size), &plan);
}

// The same, of parts that need memory of their own: floats(jobs) numbers for so many jobs.
template <class Floats, class Job>
OrtStatus* in_parts(const Node& node, const Call& call, int64_t total, int64_t bytes, const Floats& floats, const Job& job) {
  std::atomic<bool> lacking{false};
  TRY(in_parts(node, call, total, bytes, [&](int64_t first, int64_t last) {
    if (first >= last) return;
    const Scratch memory(times(floats(last - first), sizeof(float)));
    if (memory.data != nullptr)
      job(first, last, static_cast<float*>(memory.data));
    else
      lacking.store(true, std::memory_order_relaxed);
  }));
  return lacking ? no_memory(node) : nullptr;
}

// Formats and endings of linear layers, by the parts of an operator's name.
constexpr const char* kFormats[] = {"Float", "Half", "Int8", "Int4"};  // in the order of fuseline_format
constexpr const char* kEndings[] = {"", "Relu", "Gelu", "GeluTanh", "QuickGelu", "Add"};  // and of fuseline_activation
constexpr int kEndingCount = 6, kAdd = 5;
constexpr int kLinears = 4 * kEndingCount;
constexpr int kEmbeddings = 3;  // of all formats but the last
constexpr int kLayerNorm = kLinears + kEmbeddings;
constexpr int kSelfAttention = kLayerNorm + 1, kCrossAttention = kSelfAttention + 1;
constexpr int kHalfCrossAttention = kCrossAttention + 1, kLayer = kHalfCrossAttention + 1, kOperators = kLayer + 1;

constexpr const char* kOthers[] = {"LayerNorm", "CachedSelfAttention", "CrossAttention", "HalfCrossAttention", "DecoderLayer"};

template <size_t N>
constexpr int length(const char* const (&)[N]) {
  return N;
}
static_assert(FUSELINE_FLOAT == 0 && FUSELINE_HALF == 1 && FUSELINE_INT8 == 2 && FUSELINE_INT4 == 3 && length(kFormats) == 4,
              "an operator's format is its place in kFormats");
static_assert(FUSELINE_NO_ACTIVATION == 0 && FUSELINE_RELU == 1 && FUSELINE_GELU == 2 && FUSELINE_GELU_TANH == 3 &&
                  FUSELINE_QUICK_GELU == 4 && kAdd == FUSELINE_QUICK_GELU + 1 && length(kEndings) == kEndingCount,
              "an operator's activation is its place in kEndings");
static_assert(kLayerNorm + length(kOthers) == kOperators, "every operator has a name");
static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8 && sizeof(float) == 4, "sizes are counted in int64");

bool embeds(int kind) { return kind >= kLinears && kind < kLayerNorm; }
int format_of(int kind) { return embeds(kind) ? kind - kLinears : kind / kEndingCount; }
int ending_of(int kind) { return kind % kEndingCount; }
bool ends_in_sum(int kind) { return kind < kLinears && ending_of(kind) == kAdd; }
bool quantized(int kind) { return format_of(kind) == FUSELINE_INT8 || format_of(kind) == FUSELINE_INT4; }

// Sizes of a layer from the shapes of its weights; false where they do not go together.
bool read_sizes(const Node& node, const Tensor& x, const Tensor& weight, const Tensor* scale, const Tensor& bias,
                fuseline_linear* l) {
  if (x.shape.rank < 1 || bias.shape.rank != 1 || weight.shape.rank < 3) return false;
  l->format = format_of(node.kind);
  l->activation = ends_in_sum(node.kind) ? FUSELINE_NO_ACTIVATION : ending_of(node.kind);
  l->inputs = x.shape.last();
  l->outputs = bias.shape.of[0];
  l->padded = l->inputs;
  l->groups = 1;
  if (l->inputs < 1 || l->outputs < 1) return false;
  l->rows = x.shape.elements() / l->inputs;
  const int64_t blocks = fuseline_linear_blocks(l);
  if (!quantized(node.kind)) return same(weight.shape, {blocks, l->inputs, 16});
  if (l->format == FUSELINE_INT8) {
    l->padded = (l->inputs + 3) / 4 * 4;
    return same(weight.shape, {blocks, l->padded / 4, 16, 4}) && same(scale->shape, {l->outputs});
  }
  if (scale->shape.rank != 3 || scale->shape.of[1] < 1) return false;
  l->groups = scale->shape.of[1];
  l->padded = weight.shape.of[1] * 8;
  return same(weight.shape, {blocks, l->padded / 8, 16, 4}) && same(scale->shape, {blocks, l->groups, 16});
}

OrtStatus* compute_linear(const Node& node, const Call& call) {
  Tensor x, weight, scale, bias, residual;
  size_t index = 0;
  TRY(take(node, call, index++, &x));
  TRY(take(node, call, index++, &weight));
  if (quantized(node.kind)) TRY(take(node, call, index++, &scale));
  TRY(take(node, call, index++, &bias));
  if (ends_in_sum(node.kind)) TRY(take(node, call, index++, &residual));
  fuseline_linear l{};
  if (!read_sizes(node, x, weight, &scale, bias, &l)) return refuse(node, "weights, scales and bias do not fit x");
  Shape shape = x.shape;
  shape.of[shape.rank - 1] = l.outputs;
  if (ends_in_sum(node.kind) && !residual.shape.is(shape.rank, shape.of))
    return refuse(node, "the residual has another shape than the result");
  void* y = nullptr;
  TRY(make(node, call, 0, shape, &y));
  l.x = static_cast<const float*>(x.data);
  l.weight = weight.data;
  l.scale = scale.data;
  l.bias = static_cast<const float*>(bias.data);
  l.residual = static_cast<const float*>(residual.data);
  l.y = static_cast<float*>(y);
  if (l.rows == 0) return nullptr;
  if (fuseline_linear_begin(&l) != FUSELINE_OK)
    return refuse(node, "weights must have as many groups as x needs, each of a multiple of 32 inputs");
  if (!node.checked.load(std::memory_order_relaxed)) {
    if (fuseline_linear_scales(&l) != FUSELINE_OK) return refuse(node, "a scale of the weights is zero or not finite");
    // One that is no constant may be another next time, at the same place.
    if (!quantized(node.kind) || node.constants[2].data != nullptr) node.checked.store(true, std::memory_order_relaxed);
  }
  const Scratch scratch(fuseline_linear_scratch(&l));
  if (scratch.data == nullptr) return no_memory(node);
  // A few rows are one thread's: waking the others takes longer.
  const int64_t rows_bytes = quantized(node.kind) && l.rows >= 16 ? times(x.shape.elements(), 4) : 0;
  TRY(in_parts(node, call, l.rows, rows_bytes,
               [&](int64_t first, int64_t last) { fuseline_linear_rows(&l, scratch.data, first, last); }));
  constexpr int64_t kHalfBytes[] = {8, 4, 2, 1};  // of a weight, doubled
  const int64_t passes = (l.rows + 7) / 8;         // a cached weight read again counts for less
  const int64_t bytes = times(times(l.padded, l.outputs, kHalfBytes[l.format]) / 2, passes);
  return in_parts(node, call, fuseline_linear_blocks(&l), bytes, [&](int64_t first, int64_t last) {
    if (first < last) fuseline_linear_part(&l, scratch.data, first, last);
  });
}

// Whether weights and scales are those of a table of the node's size.
bool is_table(const Node& node, const Shape& weight, const Shape& scale) {
  const int64_t blocks = (node.vocabulary - 1) / 16 + 1;
  if (!quantized(node.kind)) return same(weight, {blocks, node.width, 16});
  return same(weight, {blocks, (node.width - 1) / 4 + 1, 16, 4}) && same(scale, {node.vocabulary});
}

OrtStatus* compute_embedding(const Node& node, const Call& call) {
  Tensor ids, weight, scale;
  TRY(take(node, call, 0, &ids));
  TRY(take(node, call, 1, &weight));
  if (quantized(node.kind)) TRY(take(node, call, 2, &scale));
  if (!is_table(node, weight.shape, scale.shape)) return refuse(node, "weights and scales do not fit vocabulary and width");
  Shape shape = ids.shape;
  if (shape.rank == kMostDimensions) return refuse(node, "ids has too many dimensions");
  shape.of[shape.rank++] = node.width;
  void* embedded = nullptr;
  TRY(make(node, call, 0, shape, &embedded));
  fuseline_embedding e{};
  e.format = format_of(node.kind);
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
  return in_parts(node, call, n.rows, times(x.shape.elements(), 4), [&](int64_t first, int64_t last) {
    if (first < last) fuseline_layer_norm_part(&n, first, last);
  });
}

// What binding in place saves: where the caches are not the same memory, all of it is copied.
void copy_cache(const Tensor& past, void* present) {
  const int64_t bytes = times(past.shape.elements(), sizeof(float));
  if (past.data != present && bytes > 0) memmove(present, past.data, static_cast<size_t>(bytes));
}

OrtStatus* compute_self_attention(const Node& node, const Call& call) {
  Tensor qkv, key, value, position, table;
  TRY(take(node, call, 0, &qkv));
  TRY(take(node, call, 1, &key));
  TRY(take(node, call, 2, &value));
  TRY(take(node, call, 3, &position));
  TRY(take(node, call, 4, &table));
  if (key.shape.rank != 3 || table.shape.rank != 2 || qkv.shape.rank != 2 || !same(position.shape, {1}))
    return refuse(node, "qkv, cache, position or beam_table has another number of dimensions than it must have");
  const int64_t capacity = key.shape.of[0], rows = key.shape.of[1], width = key.shape.of[2], n = qkv.shape.of[0];
  if (!value.shape.is(3, key.shape.of) || !same(table.shape, {rows, capacity}) || qkv.shape.of[1] != times(3, width) ||
      width < 1 || width % node.heads != 0 || (rows == 0 ? n != 0 : n % rows != 0))
    return refuse(node, "the shapes of qkv, cache and beam_table do not go together");
  const int64_t start = *static_cast<const int64_t*>(position.data), tokens = rows == 0 ? 0 : n / rows;
  if (start < 0) return refuse(node, "position must not be negative");
  if (tokens > capacity || start > capacity - tokens)
    return refuse(node, "position and tokens are more than the cache's capacity");
  void *mixed = nullptr, *present_key = nullptr, *present_value = nullptr;
  TRY(make(node, call, 0, Shape{2, {n, width}}, &mixed));
  TRY(make(node, call, 1, key.shape, &present_key));
  TRY(make(node, call, 2, value.shape, &present_value));
  copy_cache(key, present_key);
  copy_cache(value, present_value);
  if (n == 0) return nullptr;
  fuseline_self_attention a{};
  a.rows = rows;
  a.tokens = tokens;
  a.heads = node.heads;
  a.head_size = width / node.heads;
  a.capacity = capacity;
  a.position = start;
  a.scale = node.scale;
  a.qkv = static_cast<const float*>(qkv.data);
  a.beam_table = static_cast<const int64_t*>(table.data);
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

// Whether queries [n, width] can attend to keys and values [photos, positions, width], or as halves [photos, heads, positions,
// head_size].
bool attend(const Node& node, const Shape& query, const Shape& key, const Shape& value, bool halves) {
  if (query.rank != 2 || query.of[1] < 1 || query.of[1] % node.heads != 0 || !value.is(key.rank, key.of)) return false;
  if (!halves) return key.rank == 3 && key.of[2] == query.of[1];
  return key.rank == 4 && key.of[1] == node.heads && key.of[3] == query.of[1] / node.heads;
}

OrtStatus* compute_cross_attention(const Node& node, const Call& call) {
  Tensor query, key, value;
  TRY(take(node, call, 0, &query));
  TRY(take(node, call, 1, &key));
  TRY(take(node, call, 2, &value));
  const bool halves = node.kind == kHalfCrossAttention;
  if (!attend(node, query.shape, key.shape, value.shape, halves))
    return refuse(node, "the shapes of query, key and value do not go together");
  void* mixed = nullptr;
  TRY(make(node, call, 0, query.shape, &mixed));
  fuseline_cross_attention a{};
  a.format = halves ? FUSELINE_HALF : FUSELINE_FLOAT;
  a.photos = key.shape.of[0];
  a.queries = query.shape.of[0];
  a.positions = key.shape.of[halves ? 2 : 1];
  a.heads = node.heads;
  a.head_size = query.shape.of[1] / node.heads;
  a.scale = node.scale;
  a.query = static_cast<const float*>(query.data);
  a.key = key.data;
  a.value = value.data;
  a.mixed = static_cast<float*>(mixed);
  if (a.queries == 0) return nullptr;
  if (fuseline_cross_attention_begin(&a) != FUSELINE_OK)
    return refuse(node, "every photo must have as many rows as the others, and positions to attend to");
  const auto floats = [&](int64_t jobs) { return times(fuseline_cross_attention_scratch(&a), jobs); };
  const int64_t bytes = times(key.shape.elements(), halves ? 4 : 8);
  return in_parts(node, call, a.photos * a.heads, bytes, floats, [&](int64_t first, int64_t last, float* scores) {
    fuseline_cross_attention_part(&a, first, last, scores);
  });
}

struct Operator : OrtCustomOp {
  int kind;
  char name[32];
};

const Operator& self(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

OrtStatus* create_node(const Api& api, int kind, const OrtKernelInfo* info, void** kernel) {
  Owned<Node> node = own<Node>(api, kind);
  if (node == nullptr) return api.error("there is not enough memory");
  read_name(info, node.get());
  TRY(read_attributes(info, node.get()));
  for (size_t index = 0; index < inputs_of(kind); ++index) TRY(read_constant(info, index, node.get(), index));
  *kernel = node.release();
  return nullptr;
}

OrtStatus* create(const OrtCustomOp* op, const OrtApi* table, const OrtKernelInfo* info, void** kernel) {
  const int kind = self(op).kind;
  *kernel = nullptr;
  return kind == kLayer ? create_layer(Api(table), kind, info, kernel) : create_node(Api(table), kind, info, kernel);
}

OrtStatus* run_node(void* kernel, OrtKernelContext* context) {
  return compute_node(*static_cast<const Node*>(kernel), Call{context});
}

void destroy_node(void* kernel) { Destroy()(static_cast<Node*>(kernel)); }

template <class Number>
OrtStatus* read_attribute(const OrtKernelInfo* info, const Node& node, const char* name, Number* into) {
  OrtStatus* const status = node.api.attribute(info, name, into);
  if (status == nullptr) return nullptr;
  node.api.release(status);
  char text[80];
  snprintf(text, sizeof text, "the attribute %s is missing, or of another type than it must have", name);
  return refuse(node, text);
}

struct Operators {
  Operator all[kOperators] = {};

  Operators() {
    for (int kind = 0; kind < kOperators; ++kind) {
      Operator& op = all[kind];
      op.kind = kind;
      if (kind < kLinears)
        snprintf(op.name, sizeof op.name, "%sLinear%s", kFormats[format_of(kind)], kEndings[ending_of(kind)]);
      else if (embeds(kind))
        snprintf(op.name, sizeof op.name, "%sEmbedding", kFormats[format_of(kind)]);
      else
        snprintf(op.name, sizeof op.name, "%s", kOthers[kind - kLayerNorm]);
      op.version = kApiVersion;
      op.GetName = [](const OrtCustomOp* o) { return self(o).name; };
      op.GetExecutionProviderType = [](const OrtCustomOp*) { return "CPUExecutionProvider"; };
      op.GetInputType = [](const OrtCustomOp* o, size_t index) { return type_of_input(self(o).kind, index); };
      op.GetInputTypeCount = [](const OrtCustomOp* o) { return inputs_of(self(o).kind); };
      op.GetOutputType = [](const OrtCustomOp*, size_t) { return kFloat; };
      op.GetOutputTypeCount = [](const OrtCustomOp* o) { return outputs_of(self(o).kind); };
      op.KernelDestroy = kind == kLayer ? destroy_layer : destroy_node;
      op.GetInputCharacteristic = [](const OrtCustomOp* o, size_t) { return self(o).kind == kLayer ? kVariadic : kRequired; };
      op.GetOutputCharacteristic = op.GetInputCharacteristic;
      op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };  // default
      op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
      op.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
      op.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
      op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
      op.CreateKernelV2 = create;
      op.KernelComputeV2 = kind == kLayer ? compute_layer : run_node;
      op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
      op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
    }
  }
};

const Operators& operators() {
  static const Operators all;
  return all;
}

struct Locked {
  Locked() { pthread_mutex_lock(&mutex); }
  ~Locked() { pthread_mutex_unlock(&mutex); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

  static pthread_mutex_t mutex;
};
pthread_mutex_t Locked::mutex = PTHREAD_MUTEX_INITIALIZER;

// The operators for one onnxruntime, made once and kept: sessions refer to them as long as they live. Where that fails whoever
// asks has a status of their own to release, and the next one tries again.
OrtStatus* domain(const OrtApi* table, OrtCustomOpDomain** out) {
  static const OrtApi* made_for = nullptr;
  static OrtCustomOpDomain* made = nullptr;
  const Locked locked;
  const Api api(table);
  if (made != nullptr && made_for != table) return api.error("the operators of fuseline belong to another onnxruntime of this process");
  if (made == nullptr) {
    OrtCustomOpDomain* begun = nullptr;
    TRY(api.create_domain("fuseline", &begun));
    for (const Operator& op : operators().all)
      if (OrtStatus* status = api.add(begun, &op)) {
        api.release(begun);
        return status;
      }
    made = begun;
    made_for = table;
  }
  *out = made;
  return nullptr;
}

}  // namespace

const int kSteps = kLayer;

const char* name_of(int kind) { return operators().all[kind].name; }

size_t inputs_of(int kind) {
  if (kind == kSelfAttention) return 5;
  if (kind == kLayer) return 1;  // of any number
  if (kind >= kLayerNorm) return 3;
  if (embeds(kind)) return quantized(kind) ? 3 : 2;
  return 3 + (quantized(kind) ? 1 : 0) + (ends_in_sum(kind) ? 1 : 0);
}

size_t outputs_of(int kind) { return kind == kSelfAttention ? 3 : 1; }

int type_of_input(int kind, size_t index) {
  if (kind == kLayer) return kAnyType;
  if (kind == kSelfAttention) return index >= 3 ? kInt64 : kFloat;
  if (kind >= kCrossAttention) return kind == kHalfCrossAttention && index > 0 ? kFloat16 : kFloat;
  if (kind == kLayerNorm) return kFloat;
  if (embeds(kind) && index == 0) return kInt64;
  if (index == 1) return quantized(kind) ? kUint8 : format_of(kind) == FUSELINE_HALF ? kFloat16 : kFloat;
  return index == 2 && format_of(kind) == FUSELINE_INT4 ? kFloat16 : kFloat;
}

void read_name(const OrtKernelInfo* info, Node* node) {
  size_t size = sizeof node->name;
  if (OrtStatus* status = node->api.node_name(info, node->name, &size)) {  // a longer name than there is room for
    node->api.release(status);
    snprintf(node->name, sizeof node->name, "%s", name_of(node->kind));
  }
}

OrtStatus* read_attributes(const OrtKernelInfo* info, Node* node) {
  if (node->kind < kLinears) return nullptr;
  if (embeds(node->kind)) {
    TRY(read_attribute(info, *node, "vocabulary", &node->vocabulary));
    TRY(read_attribute(info, *node, "width", &node->width));
    const bool good = node->vocabulary >= 1 && node->width >= 1;
    return good ? nullptr : refuse(*node, "vocabulary and width must be at least 1");
  }
  if (node->kind == kLayerNorm) {
    TRY(read_attribute(info, *node, "epsilon", &node->epsilon));
    const bool good = node->epsilon >= 0 && node->epsilon < INFINITY;
    return good ? nullptr : refuse(*node, "epsilon must not be negative, and finite");
  }
  TRY(read_attribute(info, *node, "heads", &node->heads));
  TRY(read_attribute(info, *node, "scale", &node->scale));
  const bool good = node->heads >= 1 && fabsf(node->scale) < INFINITY;
  return good ? nullptr : refuse(*node, "heads must be at least 1 and scale finite");
}

Ahead weights_of(const Node& node) {
  if (node.kind >= kLinears) return {};
  const Tensor& weight = node.constants[1];
  constexpr int64_t kBytes[] = {4, 2, 1, 1};
  return {static_cast<const char*>(weight.data),
          weight.data == nullptr ? 0 : times(weight.shape.elements(), kBytes[format_of(node.kind)])};
}

OrtStatus* compute_node(const Node& node, const Call& call) {
  if (node.kind == kSelfAttention) return compute_self_attention(node, call);
  if (node.kind >= kCrossAttention) return compute_cross_attention(node, call);
  if (node.kind == kLayerNorm) return compute_layer_norm(node, call);
  if (embeds(node.kind)) return compute_embedding(node, call);
  return compute_linear(node, call);
}

}  // namespace fuseline

// What onnxruntime looks for in a library of operators. Where it is too old there are none, and the bodies run.
extern "C" FUSELINE_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* table = base->GetApi(fuseline::kApiVersion);
  if (table == nullptr) return nullptr;
  OrtCustomOpDomain* made = nullptr;
  if (OrtStatus* status = fuseline::domain(table, &made)) return status;
  return fuseline::Api(table).add(options, made);
}
