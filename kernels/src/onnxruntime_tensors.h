// Tensors as operators see them, on every device.
#pragma once

#include "onnxruntime_api.h"
#include "sizes.h"

namespace fuseline {

constexpr size_t kMostDimensions = 8;

struct Shape {
  size_t rank = 0;
  int64_t of[kMostDimensions] = {};

  int64_t last() const { return of[rank - 1]; }
  // INT64_MAX where there are more than int64 counts; where one size is zero the others do not matter.
  int64_t elements() const {
    int64_t n = 1;
    for (size_t i = 0; i < rank; ++i) n = of[i] == 0 ? 0 : n == 0 ? 0 : times(n, of[i]);
    return n;
  }
  bool is(size_t n, const int64_t* sizes) const {
    for (size_t i = 0; i < n; ++i)
      if (of[i] != sizes[i]) return false;
    return rank == n;
  }
};

template <size_t N>
bool same(const Shape& shape, const int64_t (&sizes)[N]) {
  return shape.is(N, sizes);
}

struct Tensor {
  Shape shape;
  int type = 0;
  void* data = nullptr;
};

#define TRY(call)                                   \
  do {                                              \
    if (OrtStatus* status_ = (call)) return status_; \
  } while (false)

}  // namespace fuseline
