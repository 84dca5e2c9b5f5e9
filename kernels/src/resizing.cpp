// Resizing photos to the bit as Pillow does (its Resample.c, by Clark and Murray): what each result is made of is found in double
// precision, rounded to whole numbers, and added up in 32 bits.
#include <math.h>

#include <initializer_list>

#include "fuseline_kernels.h"
#include "memory.h"
#include "resizing.h"
#include "sizes.h"

namespace fuseline {
namespace {

double triangle(double x) {
  x = fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double cubic(double x) {
  constexpr double a = -0.5;
  x = fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

struct Filter {
  double (*of)(double);
  double support;
};
constexpr Filter kFilters[] = {{triangle, 1.0}, {cubic, 2.0}};

// One side: so many pixels, of which those from `begin` to `end` become so many results.
struct OneSide {
  int64_t pixels, results;
  float begin, end;
  Filter filter;
  double scale, wide, support;

  OneSide(int64_t pixels_, int64_t results_, float begin_, float end_, const Filter& filter_)
      : pixels(pixels_), results(results_), begin(begin_), end(end_), filter(filter_),
        scale(static_cast<double>(end - begin) / static_cast<double>(results)), wide(scale < 1.0 ? 1.0 : scale),
        support(filter.support * wide) {}

  int64_t most() const { return static_cast<int64_t>(ceil(support)) * 2 + 1; }
  int64_t bytes() const { return times(results, 2 * 8 + times(most(), 4)) + times(most(), 8); }
};

// Memory for the taps of a side, and for the numbers that they are rounded from.
Taps make_taps(const OneSide& side, void* memory) {
  const int64_t most = side.most();
  auto* const numbers = static_cast<double*>(memory);
  auto* const first = reinterpret_cast<int64_t*>(numbers + most);
  int64_t* const count = first + side.results;
  auto* const weights = reinterpret_cast<int32_t*>(count + side.results);
  for (int64_t i = 0; i < side.results; ++i) {
    const double center = side.begin + (static_cast<double>(i) + 0.5) * side.scale, step = 1.0 / side.wide;
    auto low = static_cast<int64_t>(center - side.support + 0.5), high = static_cast<int64_t>(center + side.support + 0.5);
    low = low < 0 ? 0 : low;
    high = high > side.pixels ? side.pixels : high;
    double total = 0.0;
    for (int64_t x = low; x < high; ++x) {
      numbers[x - low] = side.filter.of((static_cast<double>(x) - center + 0.5) * step);
      total += numbers[x - low];
    }
    for (int64_t x = 0; x < high - low; ++x) {
      if (total != 0.0) numbers[x] /= total;
      const double fixed = numbers[x] * (1 << kTapBits);
      weights[i * most + x] = static_cast<int32_t>(numbers[x] < 0 ? -0.5 + fixed : 0.5 + fixed);
    }
    first[i] = low;
    count[i] = high - low;
  }
  return {side.results, most, first, count, weights};
}

bool within(float begin, float end, int64_t pixels) { return begin >= 0 && begin < end && end <= static_cast<float>(pixels); }

bool fits(const fuseline_resizing& r) {
  constexpr int64_t kMostSide = 1 << 24;  // which float32 tells apart
  for (const int64_t side : {r.height, r.width, r.rows, r.columns})
    if (side < 1 || side > kMostSide) return false;
  const bool known = r.filter == FUSELINE_TRIANGLE || r.filter == FUSELINE_CUBIC;
  return known && r.pixels != nullptr && r.results != nullptr && within(r.left, r.right, r.width) && within(r.upper, r.lower, r.height);
}

}  // namespace
}  // namespace fuseline

using namespace fuseline;

fuseline_status fuseline_resize(const fuseline_resizing* r) {
  if (!fits(*r)) return FUSELINE_BAD_ARGUMENT;
  const Filter& filter = kFilters[r->filter];
  const OneSide across(r->width, r->columns, r->left, r->right, filter), down(r->height, r->rows, r->upper, r->lower, filter);
  const Memory of_columns = memory_of(across.bytes()), of_rows = memory_of(down.bytes());
  if (of_columns == nullptr || of_rows == nullptr) return FUSELINE_NO_MEMORY;
  const Taps columns = make_taps(across, of_columns.get()), rows = make_taps(down, of_rows.get());
  // Only the rows that results are made of.
  const int64_t top = rows.first[0], bottom = rows.first[r->rows - 1] + rows.count[r->rows - 1];
  const int64_t bytes = r->columns * 3, row = (bytes + 15) / 16 * 16;
  const Memory between = memory_of(times(bottom - top, row)), scratch = memory_of(resize_rows_bytes(r->width, r->columns));
  if (between == nullptr || scratch == nullptr) return FUSELINE_NO_MEMORY;
  auto* const made = static_cast<uint8_t*>(between.get());
  const Resizing of = resizing_in_use();
  of.rows(columns, r->pixels + top * r->width * 3, bottom - top, r->width, made, row, static_cast<uint8_t*>(scratch.get()));
  of.columns(rows, made, top, row, bytes, r->results);
  return FUSELINE_OK;
}
