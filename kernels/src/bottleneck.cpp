// How an inverted bottleneck goes through an image: all positions are read as codes; then, of a few channels at a time, rows are
// widened and convolved while they lie in the first cache, and what comes out are codes again; and of these the results are made.
#include <string.h>

#include <initializer_list>

#include "convolutions.h"
#include "sizes.h"

namespace fuseline {
namespace {

constexpr int64_t kLine = 64;  // bytes
// Positions of a job that reads, and of one that makes results.
constexpr int64_t kReadPositions = 64, kResultPositions = 96;
constexpr int64_t kPosition = kGroupBlocks * kBlockOutputs;  // widened channels
// Of widened rows that lie ready, unless windows need more: of a first-level cache of 32 kB.
constexpr int64_t kRingBytes = 48 << 10;
// Jobs that are worth having, for the sake of threads; and of how many rows that a strip widens one may be another strip's too.
constexpr int64_t kJobs = 16, kShared = 8;

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t lines(int64_t bytes) { return divided_up(bytes, kLine) * kLine; }
int64_t quads(int64_t inputs) { return (inputs + 3) / 4 * 4; }
int64_t blocks_of(int64_t outputs) { return divided_up(outputs, kBlockOutputs); }

// The sizes of a bottleneck that has passed `counts`.
struct Plan {
  const fuseline_bottleneck& b;
  Side down, across;
  int64_t groups;  // of channels
  int64_t strips;  // of rows of results
  int64_t rows;    // of results that a strip has, the last one at most
  int64_t width;   // of a row with the zeros around it
  int64_t ring;    // widened rows that there are at a time: a row is where the one was that lies so many rows above it

  explicit Plan(const fuseline_bottleneck& of) : b(of), down(b.height, b.kernel, b.stride), across(b.width, b.kernel, b.stride) {
    groups = divided_up(blocks_of(b.middle), kGroupBlocks);
    const int64_t shared = b.kernel > b.stride && b.expand != nullptr ? b.kernel - b.stride : 0;
    const int64_t most = down.results / divided_up(shared * kShared + 1, b.stride), wanted = divided_up(kJobs, groups);
    rows = divided_up(down.results, most < 1 ? 1 : most < wanted ? most : wanted);
    strips = divided_up(down.results, rows);
    const int64_t covered = (across.results - 1) * b.stride + b.kernel;
    width = covered > across.before + b.width ? covered : across.before + b.width;
    const int64_t window = (rows - 1) * b.stride + b.kernel, fitting = kRingBytes / row_bytes();
    ring = fitting < b.kernel ? b.kernel : fitting < window ? fitting : window;
  }

  int64_t row_bytes() const { return width * kPosition * 4; }
  int64_t positions() const { return b.height * b.width; }
  int64_t results() const { return down.results * across.results; }
  int64_t output_groups() const { return divided_up(blocks_of(b.outputs), kGroupBlocks); }
};

int64_t prepared_bytes(int64_t rows, int64_t padded) { return lines(rows * 8) + lines(divided_up(rows, kTileRows) * kTileRows * padded); }

// Memory for so many rows of codes, from `at` on, which begins at a line of the cache.
Prepared prepared(char* at, int64_t rows, int64_t padded) {
  Prepared x{};
  x.padded = padded;
  x.groups = 1;
  x.scales = reinterpret_cast<float*>(at);
  x.sums = reinterpret_cast<int32_t*>(x.scales + rows);
  x.codes = reinterpret_cast<int8_t*>(at + lines(rows * 8));
  return x;
}

Prepared from_row(Prepared x, int64_t row) {
  x.scales += row;
  x.sums += row;
  x.codes += row * x.padded;
  return x;
}

char* line_of(void* memory) { return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory) + kLine - 1) / kLine * kLine); }

// The parts of scratch memory: what the first layer reads of an image, and what the second one does.
struct Parts {
  Prepared read, between;

  Parts(const Plan& plan, void* scratch) : read{} {
    char* at = line_of(scratch);
    if (plan.b.expand != nullptr) {
      read = prepared(at, plan.positions(), quads(plan.b.channels));
      at += prepared_bytes(plan.positions(), read.padded);
    }
    between = prepared(at, plan.results(), quads(plan.b.middle));
  }
};

fuseline_linear layer(int64_t inputs, int64_t outputs, const void* weight, const float* scale, const float* bias) {
  fuseline_linear l{};
  l.format = FUSELINE_INT8;
  l.inputs = inputs;
  l.outputs = outputs;
  l.padded = quads(inputs);
  l.groups = 1;
  l.weight = weight;
  l.scale = scale;
  l.bias = bias;
  return l;
}

fuseline_linear expanding(const fuseline_bottleneck& b) { return layer(b.channels, b.middle, b.expand, b.expand_scale, b.expand_bias); }

fuseline_linear projecting(const fuseline_bottleneck& b) {
  return layer(b.middle, b.outputs, b.project, b.project_scale, b.project_bias);
}

// The rows that a thread widens and convolves, of a group of channels at a time, in memory of its own.
class Ring {
 public:
  Ring(const BottleneckParts& of, const Plan& plan, const Parts& parts, int64_t image, void* own)
      : of_(of), plan_(plan), b_(plan.b), parts_(parts), x_(b_.x + image * plan.positions() * b_.channels),
        rows_(reinterpret_cast<float*>(line_of(own))), to_(reinterpret_cast<float**>(rows_ + plan.ring * plan.width * kPosition)) {
    memset(rows_, 0, static_cast<size_t>(plan.ring * plan.row_bytes()));  // of which the zeros around rows remain
    for (int64_t row = 0; row < plan.ring; ++row)
      for (int64_t column = 0; column < b_.width; ++column)
        to_[row * b_.width + column] = at(row) + (plan.across.before + column) * kPosition;
  }

  static int64_t bytes(const Plan& plan) { return kLine + plan.ring * (plan.row_bytes() + plan.b.width * int64_t{sizeof(float*)}); }

  // Codes of the rows of results [first, last).
  void convolve(int64_t group, int64_t first, int64_t last) {
    block_ = group * kGroupBlocks;
    const int64_t there = blocks_of(b_.middle) - block_, end = end_of(last - 1);
    blocks_ = there < kGroupBlocks ? there : kGroupBlocks;
    expect_taps();
    int64_t filled = 0;
    for (int64_t row = first; row < last; ++row) {
      const int64_t top = row * b_.stride - plan_.down.before, low = top < 0 ? 0 : top;
      if (filled < low) filled = low;
      if (filled < end_of(row)) {
        const int64_t room = low + plan_.ring;
        fill(filled, room < end ? room : end);
        filled = room < end ? room : end;
      }
      Windows w;
      w.low = low - top;
      w.high = end_of(row) - top;
      for (int64_t y = w.low; y < w.high; ++y) w.row[y] = at(top + y);
      const Prepared& into = parts_.between;
      const int64_t channel = block_ * kBlockOutputs;
      int8_t* const codes = into.codes + row * plan_.across.results * into.padded + channel;
      of_.depthwise(b_, w, channel, blocks_, codes, into.padded);
    }
  }

 private:
  // Asks for the convolution's weights while rows are widened: of a tap they are far from those of the next.
  void expect_taps() const {
    for (int64_t tap = 0; tap < b_.kernel * b_.kernel; ++tap)
      for (int64_t block = 0; block < blocks_; ++block)
        __builtin_prefetch(b_.depthwise + tap * b_.middle + (block_ + block) * kBlockOutputs);
  }

  // The first row of x that the windows of a row of results do not cover any more.
  int64_t end_of(int64_t row) const {
    const int64_t end = row * b_.stride - plan_.down.before + b_.kernel;
    return end < b_.height ? end : b_.height;
  }
  float* at(int64_t row) const { return rows_ + row % plan_.ring * plan_.width * kPosition; }

  // The rows [first, last) of x, widened or as they are.
  void fill(int64_t first, int64_t last) {
    for (int64_t row = first, n; row < last; row += n) {
      const int64_t place = row % plan_.ring, room = plan_.ring - place;
      n = last - row < room ? last - row : room;
      float* const* const to = to_ + place * b_.width;
      if (b_.expand == nullptr) {
        copy(row * b_.width, n * b_.width, to);
        continue;
      }
      fuseline_linear l = expanding(b_);
      l.rows = n * b_.width;
      of_.widen(l, from_row(parts_.read, row * b_.width), block_, blocks_, to);
    }
  }

  void copy(int64_t from, int64_t positions, float* const* to) const {
    const int64_t channel = block_ * kBlockOutputs, there = b_.middle - channel, n = there < kPosition ? there : kPosition;
    for (int64_t i = 0; i < positions; ++i)
      memcpy(to[i], x_ + (from + i) * b_.channels + channel, static_cast<size_t>(n) * sizeof(float));
  }

  const BottleneckParts& of_;
  const Plan& plan_;
  const fuseline_bottleneck& b_;
  const Parts& parts_;
  const float* x_;  // of the image
  float* rows_;     // [ring, width, kPosition]
  float** to_;      // where the image's positions lie in them
  int64_t block_ = 0, blocks_ = 0;
};

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

void bottleneck_read(const BottleneckParts& of, const fuseline_bottleneck& b, void* scratch, int64_t image, int64_t first,
                     int64_t last) {
  const Plan plan(b);
  fuseline_linear l = expanding(b);
  l.rows = plan.positions();
  l.x = b.x + image * plan.positions() * b.channels;
  const int64_t end = last * kReadPositions;
  of.read(l, Parts(plan, scratch).read, first * kReadPositions, end < l.rows ? end : l.rows);
}

void bottleneck_convolve(const BottleneckParts& of, const fuseline_bottleneck& b, void* scratch, void* own, int64_t image,
                         int64_t first, int64_t last) {
  const Plan plan(b);
  const Parts parts(plan, scratch);
  Ring ring(of, plan, parts, image, own);
  for (int64_t job = first; job < last; ++job) {
    const int64_t row = job / plan.groups * plan.rows, end = row + plan.rows;
    ring.convolve(job % plan.groups, row, end < plan.down.results ? end : plan.down.results);
  }
}

void bottleneck_project(const BottleneckParts& of, const fuseline_bottleneck& b, void* scratch, int64_t image, int64_t first,
                        int64_t last) {
  const Plan plan(b);
  const Parts parts(plan, scratch);
  const int64_t blocks = blocks_of(b.outputs);
  for (int64_t job = first; job < last; ++job) {
    const int64_t from = job / plan.output_groups() * kResultPositions, left = plan.results() - from;
    const int64_t block = job % plan.output_groups() * kGroupBlocks, end = block + kGroupBlocks;
    const int64_t at = (image * plan.results() + from) * b.outputs;
    fuseline_linear l = projecting(b);
    l.rows = left < kResultPositions ? left : kResultPositions;
    l.y = b.y + at;
    l.residual = b.adds != 0 ? b.x + at : nullptr;
    of.narrow(l, from_row(parts.between, from), block, end < blocks ? end : blocks);
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
  const int64_t between = prepared_bytes(plan.results(), quads(b->middle)) + kLine;
  return b->expand == nullptr ? between : between + prepared_bytes(plan.positions(), quads(b->channels));
}

int64_t fuseline_bottleneck_own(const fuseline_bottleneck* b) { return Ring::bytes(Plan(*b)); }

int64_t fuseline_bottleneck_read_jobs(const fuseline_bottleneck* b) {
  return b->expand == nullptr ? 0 : divided_up(Plan(*b).positions(), kReadPositions);
}

int64_t fuseline_bottleneck_convolve_jobs(const fuseline_bottleneck* b) {
  const Plan plan(*b);
  return plan.strips * plan.groups;
}

int64_t fuseline_bottleneck_project_jobs(const fuseline_bottleneck* b) {
  const Plan plan(*b);
  return divided_up(plan.results(), kResultPositions) * plan.output_groups();
}
