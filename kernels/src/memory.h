// What owns memory. It comes from malloc, since operator new belongs to a C++ runtime, to which nothing else ties the library,
// and where there is none that is a result and no exception.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <memory>
#include <new>
#include <utility>

#include "sizes.h"

namespace fuseline {

struct Destroy {
  template <class T>
  void operator()(T* object) const {
    object->~T();
    free(object);
  }
};

template <class T>
using Owned = std::unique_ptr<T, Destroy>;

// An object; null where there is not enough memory.
template <class T, class... Arguments>
Owned<T> own(Arguments&&... arguments) {
  static_assert(alignof(T) <= alignof(max_align_t), "malloc aligns no further");
  void* const memory = malloc(sizeof(T));
  return Owned<T>(memory == nullptr ? nullptr : new (memory) T(std::forward<Arguments>(arguments)...));
}

// Objects one after the other, as many as there is room for.
template <class T>
class Array {
 public:
  Array() = default;
  ~Array() {
    for (size_t i = count_; i-- > 0;) objects_[i].~T();
    free(objects_);
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  // Makes room, once; false where there is not enough memory.
  bool reserve(size_t room) {
    static_assert(alignof(T) <= alignof(max_align_t), "malloc aligns no further");
    if (objects_ != nullptr || room > SIZE_MAX / sizeof(T)) return false;
    objects_ = static_cast<T*>(malloc(room * sizeof(T) + 1));
    room_ = objects_ == nullptr ? 0 : room;
    return objects_ != nullptr;
  }
  // One more; null where there is no room for it.
  template <class... Arguments>
  T* add(Arguments&&... arguments) {
    if (count_ == room_) return nullptr;
    T* const made = new (&objects_[count_]) T(std::forward<Arguments>(arguments)...);
    ++count_;
    return made;
  }

  size_t size() const { return count_; }
  T& operator[](size_t i) { return objects_[i]; }
  const T& operator[](size_t i) const { return objects_[i]; }

 private:
  T* objects_ = nullptr;
  size_t count_ = 0, room_ = 0;
};

// Before memory of its own lies where malloc began it.
struct Free {
  void operator()(void* bytes) const { free(static_cast<void**>(bytes)[-1]); }
};
// Bytes for any type, of which nothing is known.
using Memory = std::unique_ptr<void, Free>;

// Bytes that begin where a line of the cache does: a vector that lies in two lines takes twice as long. Null where there is not
// enough memory.
inline Memory memory_of(int64_t bytes) {
  constexpr uintptr_t kLineBytes = 64;
  void* const begun = bytes >= 0 && bytes <= kMostBytes ? malloc(static_cast<size_t>(bytes) + 2 * kLineBytes) : nullptr;
  if (begun == nullptr) return nullptr;
  const uintptr_t line = (reinterpret_cast<uintptr_t>(begun) + sizeof(void*) + kLineBytes - 1) / kLineBytes * kLineBytes;
  auto* const memory = reinterpret_cast<void**>(line);
  memory[-1] = begun;
  return Memory(memory);
}

}  // namespace fuseline
