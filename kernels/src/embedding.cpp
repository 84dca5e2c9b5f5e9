// Embeddings: rows out of the blocks of a linear layer. Neighbours in a row are 16 places apart, each in a cache line of its
// own, so no instruction set has anything to gain here.
#include "fuseline_kernels.h"
#include "linear.h"
#include "sizes.h"
#include "vectors.h"

namespace fuseline {
namespace {

bool fits(const fuseline_embedding& e) {
  const bool known = e.format == FUSELINE_FLOAT || e.format == FUSELINE_HALF || e.format == FUSELINE_INT8;
  return known && e.tokens >= 0 && e.vocabulary >= 1 && e.width >= 1 && times(e.tokens, e.width, 8) <= kMostBytes &&
         times(e.vocabulary, e.width, 16, 8) <= kMostBytes;
}

bool present(const fuseline_embedding& e) {
  return e.ids != nullptr && e.weight != nullptr && e.embedded != nullptr && (e.scale != nullptr || e.format != FUSELINE_INT8);
}

// Where the row of a token begins among weights of which `together` inputs of an output are neighbours.
int64_t start(int64_t id, int64_t padded, int64_t together) {
  return id / kBlockOutputs * padded * kBlockOutputs + id % kBlockOutputs * together;
}

void float_row(const fuseline_embedding& e, int64_t id, float* row) {
  const float* weights = static_cast<const float*>(e.weight) + start(id, e.width, 1);
  for (int64_t i = 0; i < e.width; ++i) row[i] = weights[i * kBlockOutputs];
}

void half_row(const fuseline_embedding& e, int64_t id, float* row) {
  const uint16_t* weights = static_cast<const uint16_t*>(e.weight) + start(id, e.width, 1);
  for (int64_t i = 0; i < e.width; i += kLanes) {
    uint16_t halves[kLanes] = {};
    for (int64_t lane = 0; lane < kLanes && i + lane < e.width; ++lane) halves[lane] = weights[(i + lane) * kBlockOutputs];
    store(row + i, load_half(halves), e.width - i);
  }
}

void int8_row(const fuseline_embedding& e, int64_t id, float* row) {
  const uint8_t* codes = static_cast<const uint8_t*>(e.weight) + start(id, (e.width + 3) / 4 * 4, 4);
  const float scale = static_cast<const float*>(e.scale)[id];
  for (int64_t i = 0; i < e.width; ++i)
    row[i] = static_cast<float>(codes[i / 4 * 4 * kBlockOutputs + i % 4] - 128) * scale;
}

}  // namespace
}  // namespace fuseline

using namespace fuseline;

fuseline_status fuseline_embed(const fuseline_embedding* e) {
  if (!fits(*e)) return FUSELINE_BAD_ARGUMENT;
  if (e->tokens == 0) return FUSELINE_OK;
  if (!present(*e)) return FUSELINE_BAD_ARGUMENT;
  for (int64_t t = 0; t < e->tokens; ++t) {
    if (e->ids[t] < 0 || e->ids[t] >= e->vocabulary) return FUSELINE_OUT_OF_RANGE;
    if (e->format == FUSELINE_INT8 && !usable(static_cast<const float*>(e->scale)[e->ids[t]])) return FUSELINE_BAD_SCALE;
  }
  const auto row = e->format == FUSELINE_INT8 ? int8_row : e->format == FUSELINE_HALF ? half_row : float_row;
  for (int64_t t = 0; t < e->tokens; ++t) row(*e, e->ids[t], e->embedded + t * e->width);
  return FUSELINE_OK;
}
