// Linear layers in plain C++.
#include "linear_bottleneck.h"
#include "linear_many.h"

namespace fuseline {
namespace {

struct Scalar {
  struct Sums {
    int32_t of[16];
  };
  typedef const uint8_t* Weights;
  typedef const int8_t* Inputs;
  static constexpr int kRows = 2, kBlocks = 1, kCodeRows = 2, kFloatRows = 2;
  static constexpr bool kPairs = false, kGroups = false;

  static Sums splat(int32_t n) {
    Sums sums;
    for (int32_t& each : sums.of) each = n;
    return sums;
  }
  static Sums start(int32_t) { return splat(0); }
  static Vector to_float(const Sums& sums) {
    float lanes[kLanes];
    for (int o = 0; o < kLanes; ++o) lanes[o] = static_cast<float>(sums.of[o]);
    return fuseline::load(lanes);
  }
  static Weights load(const uint8_t* p) { return p; }
  static Inputs inputs(const int8_t* p) { return p; }
  static Sums dot(Sums sums, Weights w, Inputs a) {
    for (int o = 0; o < kLanes; ++o)
      for (int i = 0; i < 4; ++i) sums.of[o] += (w[4 * o + i] - 128) * a[i];
    return sums;
  }
  typedef Weights Active;
  static Active active(const uint8_t* p) { return load(p); }
  static Sums dot_active(const Sums& sums, const Active& w, const Inputs& a) { return dot(sums, w, a); }
  template <int R>
  static void dot4(Sums* sums, const uint8_t* w, const int8_t* a, int64_t stride) {
    for (int pair = 0; pair < 4; ++pair)
      for (int r = 0; r < R; ++r)
        for (int o = 0; o < kLanes; ++o)
          for (int i = 0; i < 4; ++i) {
            const int8_t* quads = a + r * stride + 8 * pair + i;
            const int code = w[64 * pair + 4 * o + i];
            sums[r].of[o] += (code & 15) * quads[0] + (code >> 4) * quads[4];
          }
  }
};

}  // namespace

void prepare_rows_scalar(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  all_rows_prepared<Scalar>(layer, into, first, last);
}

void linear_blocks_scalar(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  all_blocks<Scalar>(layer, x, first, last);
}

void widen_scalar(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t blocks, float* const* to) {
  widen_rows<Scalar>(layer, x, first, blocks, to);
}

void narrow_scalar(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  narrow_blocks<Scalar>(layer, x, first, last);
}

}  // namespace fuseline
