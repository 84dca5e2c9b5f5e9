// Which shapes of attention go together, on every device.
#pragma once

#include "onnxruntime_tensors.h"

namespace fuseline {

constexpr char kQueriesAndKeys[] = "the shapes of query, key and value do not go together";
constexpr char kLengths[] = "lengths must have a row for each input, with a number of positions that the input has";
constexpr char kNoQueries[] = "every input must have as many rows as the others, and positions to attend to";
constexpr char kBeyondCache[] = "position and tokens are more than the cache's capacity";

// Whether queries [n, width] can attend to keys and values [inputs, positions, width], or by heads [inputs, heads, positions,
// head_size].
inline bool attend(int64_t heads, const Shape& query, const Shape& key, const Shape& value, bool by_heads) {
  if (query.rank != 2 || query.of[1] < 1 || query.of[1] % heads != 0 || !value.is(key.rank, key.of)) return false;
  if (!by_heads) return key.rank == 3 && key.of[2] == query.of[1];
  return key.rank == 4 && key.of[1] == heads && key.of[3] == query.of[1] / heads;
}

inline bool is_distance_bias(int64_t heads, const Shape& bias) { return bias.rank == 2 && bias.of[0] == heads && bias.of[1] >= 1; }

// What self-attention with a cache reads. bias: of no dimensions where there is none.
struct Cached {
  Tensor qkv, key, value, position, table, bias;

  int64_t capacity() const { return key.shape.of[0]; }
  int64_t rows() const { return key.shape.of[1]; }
  int64_t width() const { return key.shape.of[2]; }
  int64_t queries() const { return qkv.shape.of[0]; }
  int64_t tokens() const { return rows() == 0 ? 0 : queries() / rows(); }
  int64_t distances() const { return bias.shape.rank == 2 ? bias.shape.of[1] : 0; }

  // A sentence about shapes that do not go together, null where they do.
  const char* wrong(int64_t heads, bool biased) const {
    if (key.shape.rank != 3 || table.shape.rank != 2 || qkv.shape.rank != 2 || !same(position.shape, {1}))
      return "qkv, cache, position or beam_table has another number of dimensions than it must have";
    if (!value.shape.is(3, key.shape.of) || !same(table.shape, {rows(), capacity()}) || qkv.shape.of[1] != times(3, width()) ||
        width() < 1 || width() % heads != 0 || (rows() == 0 ? queries() != 0 : queries() % rows() != 0))
      return "the shapes of qkv, cache and beam_table do not go together";
    return biased && !is_distance_bias(heads, bias.shape) ? "distance_bias must have a row for each head" : nullptr;
  }
};

// Reads them: each(index, tensor) reads an input.
template <class Each>
OrtStatus* read_cached(const Each& each, bool biased, Cached* into) {
  Tensor* const all[] = {&into->qkv, &into->key, &into->value, &into->position, &into->table, &into->bias};
  for (size_t i = 0; i < (biased ? 6 : 5); ++i) TRY(each(i, all[i]));
  return nullptr;
}

}  // namespace fuseline
