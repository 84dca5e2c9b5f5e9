#include "onnxruntime.h"

#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "failure.h"

namespace embedded {
namespace {

constexpr uint32_t kVersion = 18;  // the first whose table has all entries; embedded graphs need 1.20
#if defined(_WIN32)
constexpr const char* kNames[] = {"onnxruntime.dll"};
#elif defined(__APPLE__)
constexpr const char* kNames[] = {"libonnxruntime.dylib"};
#else
constexpr const char* kNames[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
#endif

using GetApiBase = const OrtApiBase*();

GetApiBase* base_in(void* library) { return reinterpret_cast<GetApiBase*>(symbol(library, "OrtGetApiBase")); }

GetApiBase* found(const char* path) {
  const char* const variable = getenv("FUSELINE_ONNXRUNTIME");
  const char* const chosen = path != nullptr && *path != '\0' ? path : variable;
  if (chosen != nullptr && *chosen != '\0') {
    GetApiBase* const base = base_in(open_library(chosen));
    if (base == nullptr) throw Failure(std::string(chosen) + " is not onnxruntime: it has no OrtGetApiBase");
    return base;
  }
  if (GetApiBase* const base = base_in(nullptr)) return base;
  std::string last;
  for (const char* const name : kNames) {
    try {
      if (GetApiBase* const base = base_in(open_library(name))) return base;
    } catch (const Failure& failure) {
      last = failure.what();
    }
  }
  throw Failure("no onnxruntime was found; name its library in the settings or in FUSELINE_ONNXRUNTIME (" + last + ")");
}

// The name of a node of ours says what is wrong; of any other error, the first line of onnxruntime's text.
std::string sentence(const std::string& message) {
  const size_t name = message.rfind("Name:'");  // of the innermost node: others have it in a graph of theirs
  const size_t end = name == std::string::npos ? name : message.find('\'', name + 6);
  if (end != std::string::npos) {
    std::string node = message.substr(name + 6, end - name - 6);
    const size_t scope = node.rfind('/');
    if (scope != std::string::npos) node.erase(0, scope + 1);
    if (node.find(' ') != std::string::npos) return node;
  }
  return "onnxruntime: " + message.substr(0, message.find('\n'));
}

}  // namespace

#ifdef _WIN32

void* open_library(const std::string& path) {
  HMODULE const library = LoadLibraryW(std::filesystem::u8path(path).c_str());
  if (library == nullptr) throw Failure(path + " cannot be loaded: error " + std::to_string(GetLastError()));
  return library;
}

void* symbol(void* library, const char* name) {
  HMODULE const module = library != nullptr ? static_cast<HMODULE>(library) : GetModuleHandleW(L"onnxruntime.dll");
  return module == nullptr ? nullptr : reinterpret_cast<void*>(GetProcAddress(module, name));
}

#else

void* open_library(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    throw Failure(path + " cannot be loaded: " + (reason == nullptr ? "no reason is given" : reason));
  }
  return library;
}

void* symbol(void* library, const char* name) { return dlsym(library != nullptr ? library : RTLD_DEFAULT, name); }

#endif

Onnxruntime::Onnxruntime(const char* path) : base_(found(path)()) {
  const OrtApi* const api = base_->GetApi(kVersion);
  if (api == nullptr)
    throw Failure(std::string("onnxruntime ") + base_->GetVersionString() + " is too old: 1.20 is the first that will do");
  table_ = reinterpret_cast<const OrtFunction*>(api);
}

void Onnxruntime::check(OrtStatus* status) const {
  if (status == nullptr) return;
  const std::string message = reinterpret_cast<const char* (*)(const OrtStatus*)>(table_[2])(status);
  reinterpret_cast<void (*)(OrtStatus*)>(table_[93])(status);
  throw Failure(sentence(message));
}

Tensor tensor(const Onnxruntime& runtime, const Value& value, int type, size_t rank) {
  OrtTensorTypeAndShapeInfo* made = nullptr;
  runtime.call(entry::kTypeAndShape, value.get(), &made);
  const auto info = runtime.owned(made, kReleaseShape);
  int found_type = 0;
  size_t found_rank = 0;
  runtime.call(entry::kElementType, info.get(), &found_type);
  runtime.call(entry::kRank, info.get(), &found_rank);
  if (found_type != type || found_rank != rank)
    throw Failure("step.onnx gives a tensor of another type or rank than expected; export it again");
  Tensor found{nullptr, std::vector<int64_t>(rank)};
  runtime.call(entry::kDimensions, info.get(), found.shape.data(), rank);
  runtime.call(entry::kTensorData, value.get(), &found.data);
  return found;
}

}  // namespace embedded
