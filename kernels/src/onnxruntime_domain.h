// How onnxruntime gets a table of operators and asks for their attributes, on every device.
#pragma once

#include <pthread.h>
#include <stdio.h>

#include "onnxruntime_tensors.h"

namespace fuseline {

// What all operators answer alike.
inline void answer_alike(OrtCustomOp* op) {
  op->version = kApiVersion;
  op->GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };  // the provider's own
  op->GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
  op->GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op->GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
  op->GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
  op->GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op->GetEndVersion = [](const OrtCustomOp*) { return 1; };
}

template <class Node, class Number>
OrtStatus* read_attribute(const OrtKernelInfo* info, const Node& node, const char* name, Number* into) {
  OrtStatus* const status = node.api.attribute(info, name, into);
  if (status == nullptr) return nullptr;
  node.api.release(status);
  char text[80];
  snprintf(text, sizeof text, "the attribute %s is missing, or of another type than it must have", name);
  return refuse(node, text);
}

class Locked {
 public:
  explicit Locked(pthread_mutex_t* mutex) : mutex_(mutex) { pthread_mutex_lock(mutex_); }
  ~Locked() { pthread_mutex_unlock(mutex_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  pthread_mutex_t* const mutex_;
};

// The operators for one onnxruntime, made once and kept: sessions refer to them as long as they live. Where that fails whoever
// asks has a status of their own to release, and the next one tries again. A library has one table.
template <class Table>
OrtStatus* domain(const OrtApi* ort, const Table& operators, OrtCustomOpDomain** out) {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static const OrtApi* made_for = nullptr;
  static OrtCustomOpDomain* made = nullptr;
  const Locked locked(&mutex);
  const Api api(ort);
  if (made != nullptr && made_for != ort) return api.error("the operators of fuseline belong to another onnxruntime of this process");
  if (made == nullptr) {
    OrtCustomOpDomain* begun = nullptr;
    TRY(api.create_domain("fuseline", &begun));
    for (const auto& op : operators)
      if (OrtStatus* status = api.add(begun, &op)) {
        api.release(begun);
        return status;
      }
    made = begun;
    made_for = ort;
  }
  *out = made;
  return nullptr;
}

// What RegisterCustomOps does. Where onnxruntime is too old there are no operators, and the bodies run.
template <class Table>
OrtStatus* add_operators(OrtSessionOptions* options, const OrtApiBase* base, const Table& operators) {
  const OrtApi* ort = base->GetApi(kApiVersion);
  if (ort == nullptr) return nullptr;
  OrtCustomOpDomain* made = nullptr;
  TRY(domain(ort, operators, &made));
  return Api(ort).add(options, made);
}

}  // namespace fuseline
