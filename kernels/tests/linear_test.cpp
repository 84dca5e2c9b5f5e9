// Linear layers, and embeddings out of their weights: random sizes, formats, activations and rows, extreme ones among them, in
// one thread and in two or three.
#include <algorithm>

#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {
namespace {

// A layer and its memory.
struct Layer {
  fuseline_linear l;
  int64_t blocks;
  Buffer<float> x, bias, factor, residual, y, float_scale;
  Buffer<uint8_t> bytes;  // the weights of 8 and 4 bits
  Buffer<float> floats;
  Buffer<uint16_t> halves, half_scale;  // halves: bfloat16, too

  explicit Layer(const fuseline_linear& sizes)
      : l(sizes),
        blocks((l.outputs + 15) / 16),
        x(l.rows * l.inputs),
        bias(l.outputs),
        factor(l.rows * l.outputs),
        residual(l.rows * l.outputs),
        y(l.rows * l.outputs),
        float_scale(l.format == FUSELINE_INT8 ? l.outputs : 0),
        bytes(l.format == FUSELINE_INT8   ? blocks * l.padded * 16
              : l.format == FUSELINE_INT4 ? blocks * l.padded * 8
                                          : 0),
        floats(l.format == FUSELINE_FLOAT ? blocks * l.inputs * 16 : 0),
        halves(l.format == FUSELINE_HALF || l.format == FUSELINE_BFLOAT16 ? blocks * l.padded * 16 : 0),
        half_scale(l.format == FUSELINE_INT4 ? blocks * l.groups * 16 : 0) {
    l.x = x.data();
    l.bias = bias.data();
    l.y = y.data();
    l.weight = floats.size() > 0   ? static_cast<void*>(floats.data())
               : halves.size() > 0 ? static_cast<void*>(halves.data())
                                   : bytes.data();
    l.scale = l.format == FUSELINE_INT8   ? static_cast<void*>(float_scale.data())
              : l.format == FUSELINE_INT4 ? half_scale.data()
                                          : nullptr;
  }

  // The weight as a number, without the scale in 8 and 4 bits.
  double weight(int64_t input, int64_t output) {
    const int64_t block = output / 16, lane = output % 16;
    if (l.format == FUSELINE_FLOAT) return floats[(block * l.inputs + input) * 16 + lane];
    if (l.format == FUSELINE_HALF) return half_value(halves[(block * l.inputs + input) * 16 + lane]);
    if (l.format == FUSELINE_BFLOAT16) {
      const uint32_t bits = static_cast<uint32_t>(halves[((block * l.padded / 2 + input / 2) * 16 + lane) * 2 + input % 2]) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    if (l.format == FUSELINE_INT8) return bytes[((block * l.padded / 4 + input / 4) * 16 + lane) * 4 + input % 4] - 128;
    const int both = bytes[((block * l.padded / 8 + input / 8) * 16 + lane) * 4 + input % 4];
    return (input % 8 < 4 ? both & 15 : both >> 4) - 8;
  }
  double scale(int64_t group, int64_t output) {
    if (l.format == FUSELINE_INT8) return float_scale[output];
    return half_value(half_scale[(output / 16 * l.groups + group) * 16 + output % 16]);
  }
};

bool quantized(const fuseline_linear& l) { return l.format == FUSELINE_INT8 || l.format == FUSELINE_INT4; }

fuseline_linear random_sizes(Random& random) {
  fuseline_linear l{};
  l.format = static_cast<int32_t>(random.whole(0, 4));
  l.activation = static_cast<int32_t>(random.whole(FUSELINE_NO_ACTIVATION, FUSELINE_RELU6));
  l.rows = random.chance(0.5) ? random.whole(0, 9) : random.whole(10, random.chance(0.3) ? 50 : 20);
  l.inputs = random.whole(1, random.chance(0.1) ? 700 : 90);
  l.outputs = random.whole(1, 80);
  if (random.chance(0.1)) {  // more rows than the kernels take together
    l.rows = random.whole(100, 200);
    l.inputs = random.whole(1, 30);
  }
  l.padded = l.inputs;
  l.groups = 1;
  if (l.format == FUSELINE_BFLOAT16) l.padded = (l.inputs + 1) / 2 * 2;
  if (l.format == FUSELINE_INT8) l.padded = (l.inputs + 3) / 4 * 4;
  if (l.format == FUSELINE_INT4) {
    const int64_t group = 32 * random.whole(1, 4);
    l.groups = (l.inputs + group - 1) / group;
    l.padded = l.groups * group;
  }
  return l;
}

void fill_row(Random& random, float* x, int64_t n) {
  const int64_t kind = random.whole(0, 9);
  for (int64_t i = 0; i < n; ++i) {
    x[i] = random.normal();
    if (kind == 0) x[i] = 0;
    if (kind == 1) x[i] *= 1e-41f;
    if (kind == 2) x[i] *= 1e30f;
    if (kind == 3) x[i] *= static_cast<float>(std::pow(10, random.whole(-15, 15)));
    if (kind == 4) x[i] = random.chance(0.5) ? 3.5f : -3.5f;  // nothing but the largest codes
    if (kind >= 7) x[i] *= 0.05f;                             // a few are much larger than the others
  }
  for (int64_t many = random.whole(1, 1 + n / 40), i = 0; kind >= 7 && i < many; ++i) {
    const int64_t at = random.whole(0, n - 1), side_by_side = random.whole(1, 6);
    for (int64_t k = at; k < n && k < at + side_by_side; ++k) x[k] = random.chance(0.8) ? 3.5f : -3.0f;
  }
  if (kind == 5) x[random.whole(0, n - 1)] = random.chance(0.5) ? INFINITY : -INFINITY;
  if (kind == 6) x[random.whole(0, n - 1)] = NAN;
}

void fill(Random& random, Layer& layer) {
  for (int64_t r = 0; r < layer.l.rows; ++r) fill_row(random, layer.x.data() + r * layer.l.inputs, layer.l.inputs);
  for (float& each : layer.bias) each = random.normal();
  for (float& each : layer.factor) each = random.normal();
  for (float& each : layer.residual) each = random.normal();
  for (float& each : layer.floats) each = random.normal();
  const bool bfloat16 = layer.l.format == FUSELINE_BFLOAT16;
  for (uint16_t& each : layer.halves) {
    const float number = random.normal();
    uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    each = bfloat16 ? static_cast<uint16_t>(bits >> 16) : random.half();
  }
  if (layer.halves.size() > 0 && random.chance(0.1)) {
    const uint16_t infinity = bfloat16 ? 0xff80 : 0xfc00, nan = bfloat16 ? 0x7fc1 : 0x7e01;
    layer.halves[random.whole(0, layer.halves.size() - 1)] = random.chance(0.5) ? infinity : nan;
  }
  for (int64_t k = 0; bfloat16 && layer.l.padded > layer.l.inputs && k < layer.blocks * 16; ++k)  // padding is zeros
    layer.halves[(k / 16 * layer.l.padded / 2 + layer.l.padded / 2 - 1) * 32 + k % 16 * 2 + 1] = 0;
  const bool largest = random.chance(0.2);
  for (uint8_t& each : layer.bytes) each = static_cast<uint8_t>(largest ? 255 * random.whole(0, 1) : random.whole(0, 255));
  for (float& each : layer.float_scale) each = random.normal() * 0.01f;
  for (uint16_t& each : layer.half_scale) each = random.half();
  // Weights beyond the inputs multiply zeros, whatever codes they are, but floats have none.
}

// A row of x as the layer sees it: itself, or codes and their step.
struct Row {
  std::vector<double> values;
  double step = 1;
};

Row row_of(Layer& layer, int64_t r) {
  const float* x = layer.x.data() + r * layer.l.inputs;
  Row row{std::vector<double>(x, x + layer.l.inputs)};
  if (layer.l.format == FUSELINE_BFLOAT16)
    for (double& each : row.values) each = to_bfloat16(each);
  if (!quantized(layer.l)) return row;
  float largest = 0;
  bool broken = false;
  for (int64_t i = 0; i < layer.l.inputs; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    broken = broken || !std::isfinite(x[i]);
  }
  const float step = std::max(largest * (1.0f / 127.0f), 1e-30f);
  for (int64_t i = 0; i < layer.l.inputs; ++i)
    row.values[static_cast<size_t>(i)] = std::min(127.0f, std::max(-127.0f, std::nearbyintf(x[i] / step)));
  row.step = broken ? NAN : step;
  return row;
}

double activate(double x, int32_t activation) {
  switch (activation) {
    case FUSELINE_RELU: return x < 0 ? 0 : x;
    case FUSELINE_GELU: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case FUSELINE_GELU_TANH: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case FUSELINE_QUICK_GELU: return x / (1 + std::exp(-1.702 * x));
    case FUSELINE_SILU: return x / (1 + std::exp(-x));
    case FUSELINE_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    default: return x;
  }
}

// An output, and by how much float32 may miss it: half a unit for every rounding, of what is rounded.
struct Exact {
  double value, tolerance;
};

Exact exact(Layer& layer, const Row& row, int64_t output) {
  const fuseline_linear& l = layer.l;
  const int64_t group = l.padded / l.groups;
  double product = 0, sizes = 0, lost = 0, roundings = static_cast<double>(l.inputs) + 2;
  if (!quantized(l)) {
    for (int64_t i = 0; i < l.inputs; ++i) {
      const double term = row.values[static_cast<size_t>(i)] * layer.weight(i, output);
      product += term;
      sizes += std::fabs(term);
      if (l.format == FUSELINE_BFLOAT16) lost += 0x1p-126 * (2 + std::fabs(layer.weight(i, output)));
    }
  } else {
    for (int64_t g = 0; g < l.groups; ++g) {  // the sum of a group is a whole number, and exact
      double whole = 0;
      for (int64_t i = g * group; i < std::min(l.inputs, (g + 1) * group); ++i)
        whole += row.values[static_cast<size_t>(i)] * layer.weight(i, output);
      product += whole * layer.scale(g, output) * row.step;
      sizes += std::fabs(whole * layer.scale(g, output) * row.step);
    }
    roundings = static_cast<double>(l.groups) + 4;
  }
  Exact y{product + layer.bias[output], 0};
  y.tolerance = roundings * kUnit * sizes + 2 * kUnit * (std::fabs(y.value) + sizes) + roundings * kLeast + lost;
  if (l.activation != FUSELINE_NO_ACTIVATION) {  // slopes are below 1.13; erf and exp are formulas of 1.5e-7
    y.tolerance = 1.2 * y.tolerance + 1e-6 * std::fabs(y.value);
    y.value = activate(y.value, l.activation);
  }
  return y;
}

void compute(Layer& layer, int threads) {
  Buffer<int64_t> scratch((fuseline_linear_scratch(&layer.l) + 7) / 8);
  expect(fuseline_linear_begin(&layer.l) == FUSELINE_OK, "it is refused");
  in_parts(layer.l.rows, threads,
           [&](int64_t first, int64_t last) { fuseline_linear_rows(&layer.l, scratch.data(), first, last); });
  in_parts(fuseline_linear_blocks(&layer.l), threads,
           [&](int64_t first, int64_t last) { fuseline_linear_part(&layer.l, scratch.data(), first, last); });
}

// Some of the rows without the others, which must give the same to the bit: a batch says what its members say alone.
void test_some_rows(Random& random, Layer& layer, const std::vector<float>& together) {
  fuseline_linear& l = layer.l;
  const int64_t all = l.rows, first = random.whole(0, all - 1);
  l.rows = random.whole(1, all - first);
  l.x += first * l.inputs;
  if (l.factor != nullptr) l.factor += first * l.outputs;
  if (l.residual != nullptr) l.residual += first * l.outputs;
  compute(layer, 1);
  for (int64_t i = 0; i < l.rows * l.outputs; ++i) {
    const float beside_others = together[static_cast<size_t>(first * l.outputs + i)];
    expect(same(layer.y[i], beside_others), "%ld of %ld rows give %.9g, beside the others %.9g", static_cast<long>(l.rows),
           static_cast<long>(all), layer.y[i], beside_others);
  }
  l.rows = all;
  l.x = layer.x.data();
  if (l.factor != nullptr) l.factor = layer.factor.data();
  if (l.residual != nullptr) l.residual = layer.residual.data();
}

void test_layer(Random& random, const fuseline_linear& sizes) {
  Layer layer(sizes);
  fuseline_linear& l = layer.l;
  const int64_t adds = random.whole(0, 2);  // nothing, another tensor, what y holds
  const bool scales = random.chance(0.3);
  NOW("linear, format %d, activation %d, %ld x %ld x %ld, %ld groups, residual %ld, factor %d", l.format, l.activation,
      static_cast<long>(l.rows), static_cast<long>(l.inputs), static_cast<long>(l.outputs), static_cast<long>(l.groups),
      static_cast<long>(adds), scales);
  fill(random, layer);
  if (scales) l.factor = layer.factor.data();
  if (adds == 1) l.residual = layer.residual.data();
  compute(layer, 1);
  for (int64_t r = 0; r < l.rows; ++r) {
    const Row row = row_of(layer, r);
    for (int64_t o = 0; o < l.outputs; ++o) {
      Exact y = exact(layer, row, o);
      if (scales) {
        const double factor = layer.factor[r * l.outputs + o];
        y.value *= factor;
        y.tolerance = y.tolerance * std::fabs(factor) + kUnit * std::fabs(y.value) + kLeast;
      }
      if (adds == 1) {
        y.value += layer.residual[r * l.outputs + o];
        y.tolerance += kUnit * std::fabs(y.value);
      }
      const float found = layer.y[r * l.outputs + o];
      expect(near(found, y.value, y.tolerance), "[%ld, %ld] is %.9g, not %.9g +- %.2g", static_cast<long>(r),
             static_cast<long>(o), found, y.value, y.tolerance);
    }
  }
  const std::vector<float> alone(layer.y.begin(), layer.y.end());
  if (l.rows > 0) test_some_rows(random, layer, alone);
  if (adds == 1) {  // the residual's own memory takes the result
    l.residual = l.y;
    std::copy(layer.residual.begin(), layer.residual.end(), layer.y.begin());
  } else if (scales) {  // or the factor's
    l.factor = l.y;
    std::copy(layer.factor.begin(), layer.factor.end(), layer.y.begin());
  }
  compute(layer, static_cast<int>(random.whole(2, 3)));
  for (int64_t i = 0; i < layer.y.size(); ++i)
    expect(same(layer.y[i], alone[static_cast<size_t>(i)]), "several threads give %.9g, one %.9g", layer.y[i],
           alone[static_cast<size_t>(i)]);
}

// Each number of rows in bfloat16, whose instructions take them in groups of several sizes.
void test_rows(Random& random) {
  for (int64_t rows = 1; rows <= 40; ++rows) {
    fuseline_linear l = random_sizes(random);
    l.format = FUSELINE_BFLOAT16;
    l.rows = rows;
    l.padded = (l.inputs + 1) / 2 * 2;
    l.groups = 1;
    test_layer(random, l);
  }
}

void test_refusals(Random& random) {
  NOW("layers that are none");
  fuseline_linear good{};
  good.format = FUSELINE_INT4;
  good.rows = 2;
  good.inputs = good.padded = 64;
  good.groups = 2;
  good.outputs = 5;
  Layer layer(good);
  fill(random, layer);
  const auto refused = [&](auto change) {
    fuseline_linear l = layer.l;
    change(l);
    expect(fuseline_linear_begin(&l) == FUSELINE_BAD_ARGUMENT, "it is taken");
  };
  refused([](fuseline_linear& l) { l.format = 5; });
  refused([](fuseline_linear& l) { l.format = FUSELINE_BFLOAT16, l.padded = l.inputs + 2; });
  refused([](fuseline_linear& l) { l.format = -1; });
  refused([](fuseline_linear& l) { l.activation = 7; });
  refused([](fuseline_linear& l) { l.activation = -1; });
  refused([](fuseline_linear& l) { l.rows = -1; });
  refused([](fuseline_linear& l) { l.inputs = 0; });
  refused([](fuseline_linear& l) { l.inputs = 65; });  // more than the weights have
  refused([](fuseline_linear& l) { l.inputs = 32; });  // a group too many
  refused([](fuseline_linear& l) { l.outputs = 0; });
  refused([](fuseline_linear& l) { l.groups = 0; });
  refused([](fuseline_linear& l) { l.groups = 4; });  // of 16 inputs
  refused([](fuseline_linear& l) { l.x = nullptr; });
  refused([](fuseline_linear& l) { l.weight = nullptr; });
  refused([](fuseline_linear& l) { l.scale = nullptr; });
  refused([](fuseline_linear& l) { l.bias = nullptr; });
  refused([](fuseline_linear& l) { l.y = nullptr; });
}

void test_scales(Random& random, int32_t format) {
  NOW("scales of format %d", format);
  fuseline_linear sizes{};
  sizes.format = format;
  sizes.inputs = sizes.padded = 64;
  sizes.groups = format == FUSELINE_INT4 ? 2 : 1;
  sizes.outputs = 19;
  Layer layer(sizes);
  for (float& each : layer.float_scale) each = -0.5f;
  for (uint16_t& each : layer.half_scale) each = 0x8001;  // the least below zero
  const auto status = [&](int64_t place, float value, uint16_t half) {
    const auto change = [&](auto& scales, auto to) {
      const auto before = scales[place];
      scales[place] = to;
      const fuseline_status found = fuseline_linear_scales(&layer.l);
      scales[place] = before;
      return found;
    };
    return format == FUSELINE_INT8 ? change(layer.float_scale, value) : change(layer.half_scale, half);
  };
  expect(status(0, 1, 0x3c00) == FUSELINE_OK, "good scales are refused");
  const int64_t last = format == FUSELINE_INT8 ? 18 : 3 * 16 + 2;  // of the second group of the second block
  for (const int64_t place : {int64_t{0}, last, random.whole(0, 15)}) {
    expect(status(place, 0, 0) == FUSELINE_BAD_SCALE, "zero is taken");
    expect(status(place, -0.0f, 0x8000) == FUSELINE_BAD_SCALE, "-0 is taken");
    expect(status(place, INFINITY, 0x7c00) == FUSELINE_BAD_SCALE, "infinity is taken");
    expect(status(place, NAN, 0xfe00) == FUSELINE_BAD_SCALE, "NaN is taken");
  }
  if (format == FUSELINE_INT4) expect(status(last + 1, 0, 0) == FUSELINE_OK, "padding must have a scale");
}

fuseline_embedding table_of(Layer& layer, Buffer<int64_t>& ids, Buffer<float>& embedded) {
  const fuseline_linear& l = layer.l;
  return {l.format, ids.size(), l.outputs, l.inputs, ids.data(), l.weight, l.scale, embedded.data()};
}

void test_embedding(Random& random) {
  fuseline_linear sizes = random_sizes(random);
  if (sizes.format == FUSELINE_INT4 || sizes.format == FUSELINE_BFLOAT16) return;
  Layer layer(sizes);
  fill(random, layer);
  Buffer<int64_t> ids(random.whole(0, 9));
  for (int64_t& id : ids) id = random.whole(0, sizes.outputs - 1);
  Buffer<float> embedded(ids.size() * sizes.inputs);
  NOW("embedding, format %d, %ld of %ld x %ld", sizes.format, static_cast<long>(ids.size()), static_cast<long>(sizes.outputs),
      static_cast<long>(sizes.inputs));
  const fuseline_embedding table = table_of(layer, ids, embedded);
  expect(fuseline_embed(&table) == FUSELINE_OK, "it is refused");
  for (int64_t t = 0; t < ids.size(); ++t)
    for (int64_t i = 0; i < sizes.inputs; ++i) {
      double exact = layer.weight(i, ids[t]);
      if (sizes.format == FUSELINE_INT8) exact *= layer.scale(0, ids[t]);
      const float found = embedded[t * sizes.inputs + i];  // one rounding
      expect(same(found, static_cast<float>(exact)), "[%ld, %ld] is %.9g, not %.9g", static_cast<long>(t), static_cast<long>(i),
             found, exact);
    }
}

void test_embedding_refusals(Random& random) {
  NOW("embeddings that are none");
  fuseline_linear sizes{};
  sizes.format = FUSELINE_INT8;
  sizes.inputs = 6;
  sizes.padded = 8;
  sizes.groups = 1;
  sizes.outputs = 19;
  Layer layer(sizes);
  fill(random, layer);
  for (float& each : layer.float_scale) each = 0.5f;
  layer.float_scale[7] = 0;
  layer.float_scale[8] = NAN;
  Buffer<int64_t> ids(3);
  Buffer<float> embedded(3 * 6);
  const auto refused = [&](fuseline_status reason, auto change) {
    fuseline_embedding table = table_of(layer, ids, embedded);
    change(table);
    const fuseline_status status = fuseline_embed(&table);
    expect(status == reason, "the status is %d, not %d", status, reason);
  };
  for (const int64_t id : {int64_t{19}, int64_t{31}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    ids[2] = id;
    refused(FUSELINE_OUT_OF_RANGE, [](fuseline_embedding&) {});
  }
  for (const int64_t id : {7, 8}) {
    ids[2] = id;
    refused(FUSELINE_BAD_SCALE, [](fuseline_embedding&) {});
  }
  ids[2] = 18;
  const auto bad = [&](auto change) { refused(FUSELINE_BAD_ARGUMENT, change); };
  bad([](fuseline_embedding& e) { e.format = FUSELINE_INT4; });
  bad([](fuseline_embedding& e) { e.format = FUSELINE_BFLOAT16; });
  bad([](fuseline_embedding& e) { e.format = -1; });
  bad([](fuseline_embedding& e) { e.tokens = -1; });
  bad([](fuseline_embedding& e) { e.vocabulary = 0; });
  bad([](fuseline_embedding& e) { e.width = 0; });
  bad([](fuseline_embedding& e) { e.ids = nullptr; });
  bad([](fuseline_embedding& e) { e.weight = nullptr; });
  bad([](fuseline_embedding& e) { e.scale = nullptr; });
  bad([](fuseline_embedding& e) { e.embedded = nullptr; });
  expect(*std::max_element(embedded.begin(), embedded.end()) == 0, "a refusal wrote");
}

}  // namespace

void test_linear(Random& random, int cases) {
  for (int i = 0; i < cases; ++i) test_layer(random, random_sizes(random));
  test_rows(random);
  for (int i = 0; i < cases; ++i) test_embedding(random);
  test_embedding_refusals(random);
  test_refusals(random);
  test_scales(random, FUSELINE_INT8);
  test_scales(random, FUSELINE_INT4);
}

}  // namespace testing
