// onnxruntime as a program without its headers has it: found when a model is opened, its functions known by their places in
// the table that GetApi gives (kernels/src/onnxruntime_api.h says why that holds), its objects freed by whoever owns them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "onnxruntime_api.h"

struct OrtEnv;
struct OrtMemoryInfo;
struct OrtRunOptions;
struct OrtSession;

namespace embedded {

// A shared library, which stays loaded: onnxruntime's threads do not survive that it is taken away. Throws Failure.
void* open_library(const std::string& path);
void* symbol(void* library, const char* name);  // null where there is none; of a library that is null, in the whole process

// A function that returns a status, by its place.
template <class... Arguments>
struct Entry {
  int place;
};

namespace entry {
using Character = std::filesystem::path::value_type;
constexpr Entry<int, const char*, OrtEnv**> kCreateEnv{3};
constexpr Entry<const OrtEnv*, const Character*, const OrtSessionOptions*, OrtSession**> kCreateSession{7};
constexpr Entry<const OrtEnv*, const void*, size_t, const OrtSessionOptions*, OrtSession**> kCreateSessionFromArray{8};
using Names = const char* const*;
constexpr Entry<OrtSession*, const OrtRunOptions*, Names, const OrtValue* const*, size_t, Names, size_t, OrtValue**> kRun{9};
constexpr Entry<OrtSessionOptions**> kCreateSessionOptions{10};
constexpr Entry<OrtSessionOptions*, int> kSetIntraOpNumThreads{24};
constexpr Entry<OrtRunOptions**> kCreateRunOptions{39};
constexpr Entry<OrtRunOptions*> kSetTerminate{46};
constexpr Entry<const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t, int, OrtValue**> kCreateTensorWithData{49};
constexpr Entry<OrtValue*, void**> kTensorData{51};
constexpr Entry<const OrtTensorTypeAndShapeInfo*, int*> kElementType{60};
constexpr Entry<const OrtTensorTypeAndShapeInfo*, size_t*> kRank{61};
constexpr Entry<const OrtTensorTypeAndShapeInfo*, int64_t*, size_t> kDimensions{62};
constexpr Entry<const OrtValue*, OrtTensorTypeAndShapeInfo**> kTypeAndShape{65};
constexpr Entry<int, int, OrtMemoryInfo**> kCreateCpuMemoryInfo{69};
constexpr Entry<OrtSessionOptions*, const char*, const char*> kAddConfig{130};
constexpr Entry<OrtSessionOptions*, const Character* const*, char* const*, const size_t*, size_t> kAddFilesInMemory{279};
}  // namespace entry

constexpr int kReleaseEnv = 92, kReleaseMemoryInfo = 94, kReleaseSession = 95, kReleaseValue = 96, kReleaseRunOptions = 97,
              kReleaseShape = 99, kReleaseSessionOptions = 100;

class Onnxruntime {
 public:
  // path: of the shared library; null or empty: the one that is there.
  explicit Onnxruntime(const char* path);

  // Throws Failure with what onnxruntime says.
  template <class... Arguments>
  void call(Entry<Arguments...> entry, std::common_type_t<Arguments>... arguments) const {
    check(reinterpret_cast<OrtStatus* (*)(Arguments...)>(table_[entry.place])(arguments...));
  }
  void check(OrtStatus* status) const;
  const OrtApiBase* base() const { return base_; }

  // Objects that are released by the function at a place.
  struct Release {
    const Onnxruntime* of;
    int place;
    template <class Object>
    void operator()(Object* object) const {
      reinterpret_cast<void (*)(Object*)>(of->table_[place])(object);
    }
  };
  template <class Object>
  using Owned = std::unique_ptr<Object, Release>;
  // What an entry makes, whose last argument is where it puts it.
  template <class Object, class... Arguments, class... Given>
  Owned<Object> make(int release, Entry<Arguments...> entry, Given... given) const {
    Object* made = nullptr;
    call(entry, given..., &made);
    return own(made, release);
  }
  template <class Object>
  Owned<Object> own(Object* object, int release) const {
    return {object, Release{this, release}};
  }

 private:
  const OrtApiBase* base_;
  const OrtFunction* table_;
};

using Value = Onnxruntime::Owned<OrtValue>;

// Of a type its ONNXTensorElementDataType.
template <class Type>
inline constexpr int kElement = fuseline::kInt64;
template <>
inline constexpr int kElement<float> = fuseline::kFloat;
template <>
inline constexpr int kElement<uint8_t> = fuseline::kUint8;
template <>
inline constexpr int kElement<bool> = 9;

template <class Type>
struct Tensor {
  const Type* data;
  std::vector<int64_t> shape;
};

// A tensor's memory, and its sizes in *shape. Throws Failure for one of another type or rank.
void* tensor(const Onnxruntime& runtime, const Value& value, int type, size_t rank, std::vector<int64_t>* shape);

}  // namespace embedded
