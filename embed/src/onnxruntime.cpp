#include "onnxruntime.h"

#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>

#include <system_error>
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

// The one that the environment names; "" for none.
std::string variable() {
#ifdef _WIN32
  const wchar_t* const name = _wgetenv(L"FUSELINE_ONNXRUNTIME");
  return name == nullptr ? std::string() : std::filesystem::path(name).u8string();
#else
  const char* const name = getenv("FUSELINE_ONNXRUNTIME");
  return name == nullptr ? "" : name;
#endif
}

// onnxruntime from 1.32 on reports to its makers, from when it is loaded, unless the environment forbids it.
int forbid_reports() {
#ifdef _WIN32
  return _wputenv_s(L"ORT_DISABLE_TELEMETRY", L"1");
#else
  return setenv("ORT_DISABLE_TELEMETRY", "1", 1);
#endif
}

using GetApiBase = const OrtApiBase*();

GetApiBase* base_in(void* library) { return reinterpret_cast<GetApiBase*>(symbol(library, "OrtGetApiBase")); }

GetApiBase* found(const char* path) {
  [[maybe_unused]] static const int once = forbid_reports();  // other threads may be reading the environment later
  const std::string chosen = path != nullptr && *path != '\0' ? path : variable();
  if (!chosen.empty()) {
    if (GetApiBase* const base = base_in(open_library(chosen))) return base;
    throw Failure(chosen + " is not onnxruntime: it has no OrtGetApiBase");
  }
  if (GetApiBase* const base = base_in(nullptr)) return base;
  std::string last;
  for (const char* const name : kNames) try {
      if (GetApiBase* const base = base_in(open_library(name))) return base;
    } catch (const Failure& failure) {
      last = failure.what();
    }
  throw Failure("no onnxruntime was found; name its library in the settings or in FUSELINE_ONNXRUNTIME (" + last + ")");
}

// The name of a node of ours says what is wrong; of any other error, the first line of onnxruntime's text.
std::string sentence(const std::string& message) {
  if (message.find("Failed to allocate memory") != std::string::npos || message.find("bad_alloc") != std::string::npos)
    return "there is not enough memory for a call with so many beams and tokens, or for this model";
  const size_t name = message.rfind("Name:'");  // of the innermost node: others have it in a graph of theirs
  const size_t end = name == std::string::npos ? name : message.find('\'', name + 6);
  if (end != std::string::npos) {
    std::string node = message.substr(name + 6, end - name - 6);
    const size_t scope = node.rfind('/');
    if (scope != std::string::npos) node.erase(0, scope + 1);
    if (node.find(' ') != std::string::npos) return node;
  }
  const bool ran = message.find("while running") != std::string::npos;  // damaged weights show there
  return "onnxruntime: " + message.substr(0, message.find('\n')) + (ran ? "; check_weights tells whether weights.bin is whole" : "");
}

}  // namespace

#ifdef _WIN32

void* open_library(const std::string& path) {
  const std::filesystem::path name = std::filesystem::u8path(path).make_preferred();
  // Of a whole path what it needs itself is looked for beside it, too.
  HMODULE const library = LoadLibraryExW(name.c_str(), nullptr, name.is_absolute() ? LOAD_WITH_ALTERED_SEARCH_PATH : 0);
  if (library != nullptr) return library;
  const int error = static_cast<int>(GetLastError());
  throw Failure(path + " cannot be loaded: " + std::system_category().message(error) + " (error " + std::to_string(error) + ")");
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

void* tensor(const Onnxruntime& runtime, const Value& value, int type, size_t rank, std::vector<int64_t>* shape) {
  const auto info = runtime.make<OrtTensorTypeAndShapeInfo>(kReleaseShape, entry::kTypeAndShape, value.get());
  int found_type = 0;
  size_t found_rank = 0;
  void* data = nullptr;
  runtime.call(entry::kElementType, info.get(), &found_type);
  runtime.call(entry::kRank, info.get(), &found_rank);
  if (found_type != type || found_rank != rank)
    throw Failure("step.onnx gives a tensor of another type or rank than expected; export it again");
  shape->resize(rank);
  runtime.call(entry::kDimensions, info.get(), shape->data(), rank);
  runtime.call(entry::kTensorData, value.get(), &data);
  return data;
}

}  // namespace embedded
