// How an inverted bottleneck goes through an image: in bands of rows, whose widened channels stay in the cache until the
// convolution and the layer after it have read them. Rows that windows of two bands cover are widened once.
#include <initializer_list>

#include "convolutions.h"
#include "sizes.h"

namespace fuseline {
namespace {

// Of a band's widened rows; half of a second-level cache of 1 MB.
constexpr int64_t kBandBytes = 512 << 10;
// Positions that a job has, as many as an instruction may read at once; and codes that lie between two layers at a time.
constexpr int64_t kJobPositions = kTileRows, kMostCodes = 24 << 10;
constexpr int64_t kLine = 64;  // bytes

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The sizes of a bottleneck that has passed `counts`.
struct Plan {
  const fuseline_bottleneck& b;
  Side down, across;
  int64_t bands;  // of an image
  int64_t rows;   // of results that a band has, the last one at most
  int64_t ring;   // widened rows that there are at a time

  explicit Plan(const fuseline_bottleneck& of)
      : b(of), down(b.height, b.kernel, b.stride), across(b.width, b.kernel, b.stride), bands(1), rows(down.results), ring(b.height) {
    if (b.expand == nullptr) return;
    const int64_t wide = kBandBytes / (b.width * b.middle * 4) - b.kernel;
    const int64_t most = wide > 0 ? wide / b.stride + 1 : 1;
    bands = divided_up(down.results, most);
    rows = divided_up(down.results, bands);
    bands = divided_up(down.results, rows);
    const int64_t window = (rows - 1) * b.stride + b.kernel;
    ring = window < b.height ? window : b.height;
  }

  Band band(int64_t index) const {
    Band band;
    band.image = index / bands;
    band.first = index % bands * rows;
    band.last = band.first + rows < down.results ? band.first + rows : down.results;
    band.expand_first = band.first == 0 ? 0 : covered(band.first);
    const int64_t top = band.first * b.stride - down.before;
    if (band.expand_first < top) band.expand_first = top;  // between windows that are smaller than the steps they go
    band.expand_last = covered(band.last);
    return band;
  }

  // How many rows of x the windows of the results before this row cover.
  int64_t covered(int64_t row) const {
    const int64_t end = (row - 1) * b.stride - down.before + b.kernel;
    return end < b.height ? end : b.height;
  }
  int64_t most_expanded() const { return (ring + b.stride) * b.width; }  // in a band
  int64_t most_results() const { return rows * across.results; }
};

int64_t quads(int64_t inputs) { return (inputs + 3) / 4 * 4; }

int64_t prepared_bytes(int64_t rows, int64_t padded) {
  return (rows * 8 + kLine - 1) / kLine * kLine + divided_up(rows, kTileRows) * kTileRows * padded;
}

// Memory for so many rows of codes, from `at` on, which begins at a line of the cache.
Prepared prepared(char* at, int64_t rows, int64_t padded) {
  Prepared x{};
  x.padded = padded;
  x.groups = 1;
  x.scales = reinterpret_cast<float*>(at);
  x.sums = reinterpret_cast<int32_t*>(x.scales + rows);
  x.codes = reinterpret_cast<int8_t*>(at + (rows * 8 + kLine - 1) / kLine * kLine);
  return x;
}

Prepared from_row(Prepared x, int64_t row) {
  x.scales += row;
  x.sums += row;
  x.codes += row * x.padded;
  return x;
}

// The parts of scratch memory.
struct Parts {
  float* wide;  // [ring, width, middle]
  Prepared read, between;

  Parts(const Plan& plan, void* scratch) {
    const fuseline_bottleneck& b = plan.b;
    char* at = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(scratch) + kLine - 1) / kLine * kLine);
    wide = reinterpret_cast<float*>(at);
    if (b.expand != nullptr) at += divided_up(plan.ring * b.width * b.middle * 4, kLine) * kLine;
    read = prepared(at, plan.most_expanded(), quads(b.channels));
    if (b.expand != nullptr) at += divided_up(prepared_bytes(plan.most_expanded(), quads(b.channels)), kLine) * kLine;
    between = prepared(at, plan.most_results(), quads(b.middle));
  }
};

fuseline_linear expanding(const fuseline_bottleneck& b) {
  fuseline_linear l{};
  l.format = FUSELINE_INT8;
  l.activation = FUSELINE_RELU6;
  l.inputs = b.channels;
  l.outputs = b.middle;
  l.padded = quads(b.channels);
  l.groups = 1;
  l.weight = b.expand;
  l.scale = b.expand_scale;
  l.bias = b.expand_bias;
  return l;
}

fuseline_linear projecting(const fuseline_bottleneck& b) {
  fuseline_linear l{};
  l.format = FUSELINE_INT8;
  l.inputs = b.middle;
  l.outputs = b.outputs;
  l.padded = quads(b.middle);
  l.groups = 1;
  l.weight = b.project;
  l.scale = b.project_scale;
  l.bias = b.project_bias;
  return l;
}

// Whether the bytes of all that is read and written can be counted.
bool counts(const fuseline_bottleneck& b) {
  const int64_t most = kMostBytes / 256;
  for (const int64_t size : {b.images, b.height, b.width, b.channels, b.middle, b.outputs})
    if (size > most) return false;
  const int64_t positions = times(b.height + kMostKernel + kTileRows, b.width + kMostKernel + kTileRows);
  const int64_t channels = times(b.channels, 1), widest = b.middle > b.outputs ? b.middle : b.outputs;
  return times(b.images + 1, positions, channels > widest ? channels + kTileRows : widest + kTileRows) <= most &&
         times(b.channels + 4, b.middle + kBlockOutputs) <= most && times(b.middle + 4, b.outputs + kBlockOutputs) <= most &&
         times(b.kernel, b.kernel, b.middle) <= most;
}

bool fits(const fuseline_bottleneck& b) {
  if (b.images < 0 || b.height < 1 || b.width < 1 || b.channels < 1 || b.middle < 1 || b.outputs < 1) return false;
  if (b.kernel < 1 || b.kernel > kMostKernel || b.stride < 1 || b.stride > kMostKernel) return false;
  if (b.expand == nullptr && b.middle != b.channels) return false;
  if (b.adds != 0 && (b.stride != 1 || b.channels != b.outputs)) return false;
  return counts(b);
}

}  // namespace

void bottleneck_expand(const BottleneckParts& of, const fuseline_bottleneck& b, void* scratch, int64_t index, int64_t first,
                       int64_t last) {
  const Plan plan(b);
  const Band band = plan.band(index);
  const Parts parts(plan, scratch);
  const int64_t begin = band.expand_first * b.width, end = band.expand_last * b.width;
  int64_t at = begin + first * kJobPositions;
  const int64_t stop = begin + last * kJobPositions < end ? begin + last * kJobPositions : end;
  while (at < stop) {
    const int64_t place = at % (plan.ring * b.width), room = plan.ring * b.width - place;
    fuseline_linear l = expanding(b);
    l.rows = stop - at < room ? stop - at : room;
    l.x = b.x + (band.image * b.height * b.width + at) * b.channels;
    l.y = parts.wide + place * b.middle;
    const Prepared x = from_row(parts.read, at - begin);
    of.prepare_rows(l, x, 0, l.rows);
    of.widen(l, x, 0, fuseline_linear_blocks(&l));
    at += l.rows;
  }
}

void bottleneck_project(const BottleneckParts& of, const fuseline_bottleneck& b, void* scratch, int64_t index, int64_t first,
                        int64_t last) {
  const Plan plan(b);
  const Band band = plan.band(index);
  const Parts parts(plan, scratch);
  const int64_t row = b.width * b.middle;
  const Rows rows = {b.expand == nullptr ? b.x + band.image * b.height * row : parts.wide, plan.ring, row};
  const int64_t begin = band.first * plan.across.results, end = band.last * plan.across.results;
  int64_t at = begin + first * kJobPositions;
  const int64_t stop = begin + last * kJobPositions < end ? begin + last * kJobPositions : end;
  const int64_t tiles = kMostCodes / (parts.between.padded * kTileRows), most = (tiles > 1 ? tiles : 1) * kTileRows;
  while (at < stop) {
    fuseline_linear l = projecting(b);
    l.rows = stop - at < most ? stop - at : most;
    const int64_t result = band.image * plan.down.results * plan.across.results + at;
    l.y = b.y + result * b.outputs;
    l.residual = b.adds != 0 ? b.x + result * b.outputs : nullptr;
    const Prepared x = from_row(parts.between, at - begin);
    of.depthwise(b, rows, at, at + l.rows, x);
    of.narrow(l, x, 0, fuseline_linear_blocks(&l));
    at += l.rows;
  }
}

}  // namespace fuseline

using namespace fuseline;

fuseline_status fuseline_bottleneck_begin(const fuseline_bottleneck* b) {
  if (!fits(*b)) return FUSELINE_BAD_ARGUMENT;
  if (b->images == 0) return FUSELINE_OK;
  const bool expands = b->expand == nullptr || (b->expand_scale != nullptr && b->expand_bias != nullptr);
  const bool there = b->x != nullptr && b->depthwise != nullptr && b->depthwise_bias != nullptr && b->project != nullptr &&
                     b->project_scale != nullptr && b->project_bias != nullptr && b->y != nullptr;
  return expands && there ? FUSELINE_OK : FUSELINE_BAD_ARGUMENT;
}

fuseline_status fuseline_bottleneck_scales(const fuseline_bottleneck* b) {
  if (!fits(*b)) return FUSELINE_BAD_ARGUMENT;
  const fuseline_linear expand = expanding(*b), project = projecting(*b);
  const fuseline_status status = b->expand == nullptr ? FUSELINE_OK : fuseline_linear_scales(&expand);
  return status == FUSELINE_OK ? fuseline_linear_scales(&project) : status;
}

int64_t fuseline_bottleneck_scratch(const fuseline_bottleneck* b) {
  const Plan plan(*b);
  const int64_t between = prepared_bytes(plan.most_results(), quads(b->middle)) + kLine;
  if (b->expand == nullptr) return between;
  const int64_t wide = plan.ring * b->width * b->middle * 4, read = prepared_bytes(plan.most_expanded(), quads(b->channels));
  return wide + read + between + 3 * kLine;
}

int64_t fuseline_bottleneck_bands(const fuseline_bottleneck* b) { return b->images * Plan(*b).bands; }

int64_t fuseline_bottleneck_expand_jobs(const fuseline_bottleneck* b, int64_t index) {
  const Band band = Plan(*b).band(index);
  const int64_t rows = band.expand_last - band.expand_first;
  return b->expand == nullptr || rows <= 0 ? 0 : divided_up(rows * b->width, kJobPositions);
}

int64_t fuseline_bottleneck_project_jobs(const fuseline_bottleneck* b, int64_t index) {
  const Plan plan(*b);
  const Band band = plan.band(index);
  return divided_up((band.last - band.first) * plan.across.results, kJobPositions);
}
