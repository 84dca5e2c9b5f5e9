// The few entries of onnxruntime's C interface that the operators use, declared here because its Python package brings no
// headers. OrtApi is a table of functions that only ever grows at its end, so an entry is known by its place; the places
// are those of ORT_API_VERSION 17 (onnxruntime 1.17), the first to have them all, and the same in every later one.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern "C" {

struct OrtStatus;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;

typedef void (*OrtFunction)(void);

struct OrtApi {
  OrtFunction entries[275];
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);  // null where this onnxruntime is older than the version
  const char* (*GetVersionString)(void);
};

// What an operator tells onnxruntime of itself (OrtCustomOp of version 17; later versions have more after these).
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, void*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
};

// onnxruntime knows entries by their places.
static_assert(sizeof(OrtApi) == 275 * sizeof(void*), "a table of functions and nothing between them");
static_assert(offsetof(OrtCustomOp, CreateKernel) == sizeof(void*) && offsetof(OrtCustomOp, KernelCompute) == 8 * sizeof(void*) &&
                  offsetof(OrtCustomOp, CreateKernelV2) == 17 * sizeof(void*) && sizeof(OrtCustomOp) == 22 * sizeof(void*),
              "the version, and after it 21 functions");

}  // extern "C"

namespace fuseline {

constexpr uint32_t kApiVersion = 17;
constexpr int kInvalidArgument = 2;                                  // OrtErrorCode
constexpr int kAnyType = 0, kFloat = 1, kUint8 = 2, kInt64 = 7, kFloat16 = 10, kBFloat16 = 16;  // ONNXTensorElementDataType
constexpr int kRequired = 0, kVariadic = 2;                          // OrtCustomOpInputOutputCharacteristic

// The entries, by name.
class Api {
 public:
  explicit Api(const OrtApi* api) : api_(api) {}

  OrtStatus* error(const char* message) const { return as<OrtStatus*(int, const char*)>(0)(kInvalidArgument, message); }
  OrtStatus* data(const OrtValue* value, void** out) const {
    return as<OrtStatus*(OrtValue*, void**)>(51)(const_cast<OrtValue*>(value), out);
  }
  OrtStatus* type(const OrtTensorTypeAndShapeInfo* info, int* out) const {
    return as<OrtStatus*(const OrtTensorTypeAndShapeInfo*, int*)>(60)(info, out);
  }
  OrtStatus* rank(const OrtTensorTypeAndShapeInfo* info, size_t* out) const {
    return as<OrtStatus*(const OrtTensorTypeAndShapeInfo*, size_t*)>(61)(info, out);
  }
  OrtStatus* dimensions(const OrtTensorTypeAndShapeInfo* info, int64_t* out, size_t count) const {
    return as<OrtStatus*(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)>(62)(info, out, count);
  }
  OrtStatus* shape(const OrtValue* value, OrtTensorTypeAndShapeInfo** out) const {
    return as<OrtStatus*(const OrtValue*, OrtTensorTypeAndShapeInfo**)>(65)(value, out);
  }
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, float* out) const {
    return as<OrtStatus*(const OrtKernelInfo*, const char*, float*)>(85)(info, name, out);
  }
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, int64_t* out) const {
    return as<OrtStatus*(const OrtKernelInfo*, const char*, int64_t*)>(86)(info, name, out);
  }
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, char* out, size_t* size) const {
    return as<OrtStatus*(const OrtKernelInfo*, const char*, char*, size_t*)>(87)(info, name, out, size);
  }
  // At most *size numbers.
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, int64_t* out, size_t* size) const {
    return as<OrtStatus*(const OrtKernelInfo*, const char*, int64_t*, size_t*)>(163)(info, name, out, size);
  }
  OrtStatus* input(const OrtKernelContext* context, size_t index, const OrtValue** out) const {
    return as<OrtStatus*(const OrtKernelContext*, size_t, const OrtValue**)>(90)(context, index, out);
  }
  OrtStatus* output(OrtKernelContext* context, size_t index, const int64_t* dims, size_t rank, OrtValue** out) const {
    return as<OrtStatus*(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**)>(91)(context, index, dims, rank,
                                                                                             out);
  }
  void release(OrtTensorTypeAndShapeInfo* info) const { as<void(OrtTensorTypeAndShapeInfo*)>(99)(info); }
  void release(OrtStatus* status) const { as<void(OrtStatus*)>(93)(status); }
  void release(OrtCustomOpDomain* domain) const { as<void(OrtCustomOpDomain*)>(101)(domain); }
  // What a GPU's provider puts its work into, CUDA's a cudaStream_t; null for the CPU.
  OrtStatus* stream(const OrtKernelContext* context, void** out) const {
    return as<OrtStatus*(const OrtKernelContext*, void**)>(193)(context, out);
  }
  OrtStatus* inputs(const OrtKernelInfo* info, size_t* out) const {
    return as<OrtStatus*(const OrtKernelInfo*, size_t*)>(230)(info, out);
  }
  OrtStatus* outputs(const OrtKernelInfo* info, size_t* out) const {
    return as<OrtStatus*(const OrtKernelInfo*, size_t*)>(231)(info, out);
  }
  OrtStatus* node_name(const OrtKernelInfo* info, char* out, size_t* size) const {
    return as<OrtStatus*(const OrtKernelInfo*, char*, size_t*)>(244)(info, out, size);
  }
  // The value of an input that never changes; null for all others.
  OrtStatus* constant(const OrtKernelInfo* info, size_t index, const OrtValue** out) const {
    int constant = 0;
    *out = nullptr;
    return as<OrtStatus*(const OrtKernelInfo*, size_t, int*, const OrtValue**)>(249)(info, index, &constant, out);
  }
  OrtStatus* parallel_for(const OrtKernelContext* context, void (*job)(void*, size_t), size_t jobs, void* of) const {
    return as<OrtStatus*(const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*)>(274)(context, job, jobs,
                                                                                                        jobs, of);
  }
  OrtStatus* create_domain(const char* name, OrtCustomOpDomain** out) const {
    return as<OrtStatus*(const char*, OrtCustomOpDomain**)>(26)(name, out);
  }
  OrtStatus* add(OrtCustomOpDomain* domain, const OrtCustomOp* op) const {
    return as<OrtStatus*(OrtCustomOpDomain*, const OrtCustomOp*)>(27)(domain, op);
  }
  OrtStatus* add(OrtSessionOptions* options, OrtCustomOpDomain* domain) const {
    return as<OrtStatus*(OrtSessionOptions*, OrtCustomOpDomain*)>(28)(options, domain);
  }

 private:
  template <class Function>
  Function* as(int entry) const {
    return reinterpret_cast<Function*>(api_->entries[entry]);
  }

  const OrtApi* api_;
};

}  // namespace fuseline
