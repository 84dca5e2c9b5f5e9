// The operators as onnxruntime calls them, by a small onnxruntime of our own, which can do what the real one cannot be made to:
// fail at any place, have no memory, leave an output out. That nothing of a kernel is left behind AddressSanitizer sees.
#include "../src/onnxruntime_api.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "fuseline_kernels.h"
#include "testing.h"

struct OrtStatus {
  std::string text;
};
struct OrtCustomOpDomain {
  std::vector<const OrtCustomOp*> operators;
};
struct OrtSessionOptions {
  std::vector<OrtCustomOpDomain*> domains;
};
struct OrtValue {
  std::vector<int64_t> sizes;
  std::vector<float> numbers;
  std::vector<int64_t> integers{};  // in their place, where there are some
  std::vector<uint8_t> codes{};     // likewise
};
struct OrtTensorTypeAndShapeInfo {
  const OrtValue* of;
};
struct OrtKernelInfo {
  std::string steps;
  std::vector<const OrtValue*> constants;
  size_t outputs;
};
struct OrtKernelContext {
  std::vector<const OrtValue*> inputs;
  std::vector<OrtValue> outputs;
  int64_t absent = -1;  // an output without a name
};

extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const struct OrtApiBase* base);

namespace testing {

// Calls of malloc by the kernels until one has no memory; none below zero. CMakeLists.txt puts this in the place of malloc, but not
// in programs that are linked statically, where nothing calls it.
std::atomic<int64_t> mallocs_left{-1};

extern "C" void* __real_malloc(size_t bytes) __attribute__((weak));
extern "C" void* __wrap_malloc(size_t bytes) {
  if (mallocs_left.load() >= 0 && mallocs_left.fetch_sub(1) == 0) return nullptr;
  return __real_malloc(bytes);
}

namespace {

std::atomic<int> statuses{0}, domains{0};
int failing_add = -1;  // which operator cannot be added

OrtStatus* failed(const char* text) {
  ++statuses;
  return new OrtStatus{text};
}

template <class Function>
OrtFunction entry(Function* function) {
  return reinterpret_cast<OrtFunction>(function);
}

OrtApi made_api() {
  OrtApi api{};
  const auto set = [&](int place, auto function) { api.entries[place] = entry(+function); };
  set(0, [](int, const char* text) { return failed(text); });
  set(93, [](OrtStatus* status) { delete status, --statuses; });
  set(26, [](const char*, OrtCustomOpDomain** out) -> OrtStatus* { return ++domains, *out = new OrtCustomOpDomain, nullptr; });
  set(27, [](OrtCustomOpDomain* domain, const OrtCustomOp* op) -> OrtStatus* {
    if (static_cast<int>(domain->operators.size()) == failing_add) return failed("cannot be added");
    return domain->operators.push_back(op), nullptr;
  });
  set(28, [](OrtSessionOptions* options, OrtCustomOpDomain* domain) -> OrtStatus* {
    return options->domains.push_back(domain), nullptr;
  });
  set(101, [](OrtCustomOpDomain* domain) { delete domain, --domains; });
  // Tensors.
  set(51, [](OrtValue* value, void** out) -> OrtStatus* {
    if (!value->codes.empty()) return *out = value->codes.data(), nullptr;
    if (value->integers.empty()) return *out = value->numbers.data(), nullptr;
    return *out = value->integers.data(), nullptr;
  });
  set(65, [](const OrtValue* value, OrtTensorTypeAndShapeInfo** out) -> OrtStatus* {
    return *out = new OrtTensorTypeAndShapeInfo{value}, nullptr;
  });
  set(99, [](OrtTensorTypeAndShapeInfo* info) { delete info; });
  set(60, [](const OrtTensorTypeAndShapeInfo* info, int* out) -> OrtStatus* {
    const OrtValue& value = *info->of;
    return *out = !value.codes.empty() ? fuseline::kUint8 : value.integers.empty() ? fuseline::kFloat : fuseline::kInt64, nullptr;
  });
  set(61, [](const OrtTensorTypeAndShapeInfo* info, size_t* out) -> OrtStatus* { return *out = info->of->sizes.size(), nullptr; });
  set(62, [](const OrtTensorTypeAndShapeInfo* info, int64_t* out, size_t count) -> OrtStatus* {
    return std::copy_n(info->of->sizes.data(), count, out), nullptr;
  });
  // What a kernel is made of.
  set(85, [](const OrtKernelInfo*, const char* name, float* out) -> OrtStatus* {
    return *out = std::string(name) == "scale" ? 0.5f : 1e-5f, nullptr;
  });
  set(86, [](const OrtKernelInfo*, const char*, int64_t* out) -> OrtStatus* { return *out = 4, nullptr; });
  set(87, [](const OrtKernelInfo* info, const char*, char* out, size_t* size) -> OrtStatus* {
    if (info->steps.size() >= *size) return failed("no room");
    return *size = info->steps.size() + 1, std::memcpy(out, info->steps.c_str(), *size), nullptr;
  });
  set(163, [](const OrtKernelInfo*, const char*, int64_t* out, size_t* size) -> OrtStatus* {
    return *size = 2, out[0] = out[1] = 1, nullptr;
  });
  set(230, [](const OrtKernelInfo* info, size_t* out) -> OrtStatus* { return *out = info->constants.size(), nullptr; });
  set(231, [](const OrtKernelInfo* info, size_t* out) -> OrtStatus* { return *out = info->outputs, nullptr; });
  set(244, [](const OrtKernelInfo*, char* out, size_t* size) -> OrtStatus* { return *size = 2, std::memcpy(out, "N", 2), nullptr; });
  set(249, [](const OrtKernelInfo* info, size_t index, int* constant, const OrtValue** out) -> OrtStatus* {
    return *out = info->constants[index], *constant = *out != nullptr, nullptr;
  });
  // A run.
  set(90, [](const OrtKernelContext* context, size_t index, const OrtValue** out) -> OrtStatus* {
    return *out = context->inputs[index], nullptr;
  });
  set(91, [](OrtKernelContext* context, size_t index, const int64_t* sizes, size_t rank, OrtValue** out) -> OrtStatus* {
    if (static_cast<int64_t>(index) == context->absent) return *out = nullptr, nullptr;
    OrtValue& value = context->outputs[index];
    value.sizes.assign(sizes, sizes + rank);
    int64_t count = 1;
    for (const int64_t size : value.sizes) count *= size;
    value.numbers.assign(static_cast<size_t>(count), 0);
    return *out = &value, nullptr;
  });
  set(274, [](const OrtKernelContext*, void (*job)(void*, size_t), size_t jobs, size_t, void* of) -> OrtStatus* {
    in_parts(static_cast<int64_t>(jobs), 3, [&](int64_t first, int64_t last) {
      for (; first < last; ++first) job(of, static_cast<size_t>(first));
    });
    return nullptr;
  });
  return api;
}

const OrtApi* api() {
  static const OrtApi made = made_api();
  return &made;
}

const OrtApiBase kBase{[](uint32_t version) { return version == fuseline::kApiVersion ? api() : nullptr; }, nullptr};

const OrtCustomOp* find(const char* name) {
  OrtSessionOptions options;
  expect(RegisterCustomOps(&options, &kBase) == nullptr && options.domains.size() == 1, "the operators are not registered");
  for (const OrtCustomOp* op : options.domains.at(0)->operators)
    if (std::string(op->GetName(op)) == name) return op;
  expect(false, "there is no %s", name);
  return nullptr;
}

OrtValue random_tensor(Random& random, std::vector<int64_t> sizes) {
  OrtValue value{std::move(sizes), {}};
  int64_t count = 1;
  for (const int64_t size : value.sizes) count *= size;
  for (int64_t i = 0; i < count; ++i) value.numbers.push_back(random.normal());
  return value;
}

// A failed registration gives a status to each who asks, leaves nothing behind, and does not keep the next from going well.
void test_registration() {
  NOW("a registration that fails");
  for (const int place : {0, 5}) {
    failing_add = place;
    OrtSessionOptions options;
    OrtStatus *one = RegisterCustomOps(&options, &kBase), *other = RegisterCustomOps(&options, &kBase);
    expect(one != nullptr && other != nullptr && one != other, "there are no two statuses");
    expect(domains == 0 && options.domains.empty(), "a domain is left");
    for (OrtStatus* each : {one, other}) delete each, --statuses;
  }
  failing_add = -1;
  NOW("registrations at once");
  std::vector<OrtSessionOptions> options(8);
  in_parts(8, 8, [&](int64_t first, int64_t) {
    expect(RegisterCustomOps(&options[static_cast<size_t>(first)], &kBase) == nullptr, "one fails");
  });
  for (const OrtSessionOptions& each : options) expect(each.domains == options[0].domains, "there are several domains");
  expect(domains == 1 && statuses == 0, "%d domains, %d statuses", domains.load(), statuses.load());
  NOW("another onnxruntime");
  const OrtApiBase older{[](uint32_t) -> const OrtApi* { return nullptr; }, nullptr};
  expect(RegisterCustomOps(options.data(), &older) == nullptr, "an older onnxruntime is not left alone");
  static const OrtApi copy = *api();
  const OrtApiBase second{[](uint32_t) { return &copy; }, nullptr};
  OrtStatus* const status = RegisterCustomOps(options.data(), &second);
  expect(status != nullptr, "sessions of one onnxruntime would have operators of another");
  delete status, --statuses;
}

struct Case {
  const char* name;
  const char* steps;
  std::vector<OrtValue> inputs;
  size_t outputs;
};

// Makes a kernel, with its inputs from the second on as constants or not, runs it and destroys it. Whether all went well.
bool run(const Case& c, bool constants, int64_t absent, std::vector<OrtValue>* outputs) {
  const OrtCustomOp* op = find(c.name);
  OrtKernelInfo info{c.steps, {}, c.outputs};
  OrtKernelContext context{{}, std::vector<OrtValue>(c.outputs), absent};
  for (const OrtValue& each : c.inputs) {
    context.inputs.push_back(&each);
    info.constants.push_back(constants && &each != c.inputs.data() ? &each : nullptr);
  }
  void* kernel = nullptr;
  OrtStatus* status = op->CreateKernelV2(op, api(), &info, &kernel);
  expect((status == nullptr) == (kernel != nullptr), "a kernel and no status, or neither");
  if (status == nullptr) {
    status = op->KernelComputeV2(kernel, &context);
    op->KernelDestroy(kernel);
  }
  *outputs = context.outputs;
  const bool well = status == nullptr;
  if (!well) expect(status->text.size() > 10, "no sentence but %s", status->text.c_str()), delete status, --statuses;
  expect(statuses == 0, "%d statuses are left", statuses.load());
  return well;
}

std::vector<Case> cases(Random& random) {
  const auto tensor = [&](std::vector<int64_t> sizes) { return random_tensor(random, std::move(sizes)); };
  std::vector<Case> all;
  all.push_back({"LayerNorm", "", {tensor({40, 700}), tensor({700}), tensor({700})}, 1});
  all.push_back({"FloatLinearGelu", "", {tensor({5, 200}), tensor({9, 200, 16}), tensor({140})}, 1});
  all.push_back({"CrossAttention", "", {tensor({12, 64}), tensor({2, 130, 64}), tensor({2, 130, 64})}, 1});
  const OrtValue lengths{{2, 3}, {}, {50, 39, 41, 7, 0, 1}}, starts{{4}, {}, {0, 50, 89, 130}}, weights{{2, 3}, {1, 0.5f, 0, 0.25f, 1, 1}};
  for (const char* name : {"CrossAttentionFlat", "CrossAttentionSeparate"})
    all.push_back({name, "", {tensor({12, 64}), tensor({2, 130, 64}), tensor({2, 130, 64}), lengths, starts, weights}, 2});
  all.push_back({"DecoderLayer",  // whose shares leave it
                 "LayerNorm 0 1 2 > 11;FloatLinear 11 3 4 > 12;CrossAttentionFlat 12 5 5 6 7 8 > 13 10;FloatLinearAdd 13 3 4 0 > 9",
                 {tensor({8, 192}), tensor({192}), tensor({192}), tensor({12, 192, 16}), tensor({192}), tensor({2, 130, 192}), lengths,
                  starts, weights},
                 2});
  // What says how many channels there are is 4. Large enough for a team.
  const OrtValue expand{{1, 1, 16, 4}, {}, {}, std::vector<uint8_t>(64, 131)}, project{{1, 1, 16, 4}, {}, {}, std::vector<uint8_t>(64, 125)};
  all.push_back({"Int8InvertedBottleneckAdd", "",
                 {tensor({1, 80, 80, 4}), expand, tensor({4}), tensor({4}), tensor({3, 3, 4}), tensor({4}), project, tensor({4}), tensor({4})},
                 1});
  all.push_back({"Int8SeparableConv", "", {tensor({1, 80, 80, 4}), tensor({3, 3, 4}), tensor({4}), project, tensor({4}), tensor({4})}, 1});
  all.push_back({"ConvRelu6", "", {tensor({2, 3, 21, 40}), tensor({3, 3, 3, 40}), tensor({40})}, 1});
  all.push_back({"RMSNorm", "", {tensor({40, 700}), tensor({700})}, 1});
  all.push_back({"FloatLinearMul", "", {tensor({5, 200}), tensor({9, 200, 16}), tensor({140}), tensor({5, 140})}, 1});
  all.push_back({"DecoderLayer",  // a gated network, whose two layers share what they read
                 "RMSNorm 0 1 > 6;FloatLinearSilu 6 2 3 > 7;FloatLinearMul 6 2 3 7 > 8;FloatLinearAdd 8 2 3 0 > 5;RMSNorm 5 1 > 4",
                 {tensor({8, 192}), tensor({192}), tensor({12, 192, 16}), tensor({192})}, 2});
  all.push_back({"DecoderLayer",  // large enough for several threads in every step
                 "LayerNorm 0 1 2 > 8;FloatLinear 8 3 4 > 9;CrossAttention 9 5 5 > 10;FloatLinearAdd 10 3 4 0 > 7;LayerNorm 7 1 2 > 6",
                 {tensor({8, 192}), tensor({192}), tensor({192}), tensor({12, 192, 16}), tensor({192}), tensor({2, 60, 192})},
                 2});
  all.push_back({"DecoderLayer", "LayerNorm 0 1 2 > 4;LayerNorm 4 1 2 > 3", {tensor({2, 8}), tensor({8}), tensor({8})}, 1});
  const OrtValue some{{2, 1}, {}, {70, 41}};
  all.push_back({"EncoderLayer",  // whose every step is worth several threads
                 "LayerNorm 0 1 2 > 9;FloatLinear 9 3 4 > 10;SelfAttention 10 5 > 11;FloatLinearAdd 11 6 7 0 > 12;LayerNorm 12 1 2 > 8",
                 {tensor({2, 70, 64}), tensor({64}), tensor({64}), tensor({12, 64, 16}), tensor({192}), some, tensor({4, 64, 16}),
                  tensor({64})},
                 1});
  // Of rows that go in several turns, and of some that do not.
  const OrtValue codes{{1, 320, 16, 4}, {}, {}, std::vector<uint8_t>(20480, 140)};
  all.push_back({"Projections", "Int8Linear 0 1 2 3 > 4;Int8Linear 0 1 2 3 > 5", {tensor({900, 1280}), codes, tensor({16}), tensor({16})}, 2});
  all.push_back({"EncoderLayer", "LayerNorm 0 4 5 > 8;Int8Linear 8 1 2 3 > 6;Int8Linear 8 1 2 3 > 7",
                 {tensor({100, 1280}), codes, tensor({16}), tensor({16}), tensor({1280}), tensor({1280})}, 2});
  all.push_back({"EncoderLayer", "RMSNorm 0 4 > 7;Int8Linear 7 1 2 3 > 5;Int8LinearRelu 7 1 2 3 > 6",
                 {tensor({100, 1280}), codes, tensor({16}), tensor({16}), tensor({1280})}, 2});
  return all;
}

void test_kernels(Random& random) {
  for (const Case& c : cases(random)) {
    NOW("%s %s", c.name, c.steps);
    std::vector<OrtValue> expected, found;
    expect(run(c, true, -1, &expected), "it does not run");
    expect(run(c, false, -1, &found), "it does not run without constants");
    for (size_t i = 0; i < c.outputs; ++i) expect(found[i].numbers == expected[i].numbers, "constants change the numbers");
    for (size_t i = 0; i < c.outputs; ++i)
      expect(!run(c, true, static_cast<int64_t>(i), &found), "an output that is not there is not missed");
    bool well = false;
    for (int64_t mallocs = 0; !well; ++mallocs) {  // each in turn has no memory
      NOW("%s %s, without memory after %ld", c.name, c.steps, static_cast<long>(mallocs));
      mallocs_left = mallocs;
      well = run(c, mallocs % 2 == 0, -1, &found);
      expect(well == (mallocs_left >= 0), "no memory, and no word of it");
      mallocs_left = -1;
      for (size_t i = 0; well && i < c.outputs; ++i) expect(found[i].numbers == expected[i].numbers, "other numbers");
      if (mallocs > 1000) expect(false, "it takes memory for ever"), well = true;
    }
  }
}

void test_layers_that_are_none() {
  OrtValue value{{8}, std::vector<float>(8)};
  for (const char* steps : {"", ";", "LayerNorm 0 0 0 > 1;LayerNorm 0 0 0", "LayerNorm 0 0 0 > 2;LayerNorm 2 0 0 > 2"}) {
    NOW("the steps %s", steps);
    std::vector<OrtValue> outputs;
    expect(!run({"DecoderLayer", steps, {value}, 1}, false, -1, &outputs), "they are some");
  }
}

}  // namespace

void test_onnxruntime(Random& random) {
  test_registration();
  test_kernels(random);
  test_layers_that_are_none();
}

}  // namespace testing
