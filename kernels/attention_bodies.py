"""What attention to one source, to a cache and within an encoder computes, in standard ONNX operators.

Lines of bodies.py, which has the dimensions; source_bodies.py goes on from those for queries, keys and values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# Negative positions, and rows that the cache does not have, would be others' when counted from the end or from the next
# position; as `beyond` they are refused.
CACHE = """
        first = Constant<value = int64[1] {0}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        second = Constant<value = int64[1] {1}>()
        rest = Constant<value = int64[1] {-1}>()
        rows = Shape<start = 1, end = 2>(past_key)
        width = Shape<start = 2>(past_key)
        size = Div(width, heads_1)
        query, key, value = Split<axis = 1, num_outputs = 3>(qkv)
        tokens = Div(Shape<end = 1>(qkv), rows)
        end = Add(position, tokens)
        end_0 = Squeeze(end)
        new_positions = Range(Squeeze(position), end_0, one)
        all_positions = Range(zero, end_0, one)
        slab = Concat<axis = 0>(rows, tokens, width)
        index = Unsqueeze(new_positions, second)
        key_TRE = Transpose<perm = [1, 0, 2]>(Reshape<allowzero = 1>(key, slab))
        value_TRE = Transpose<perm = [1, 0, 2]>(Reshape<allowzero = 1>(value, slab))
        beyond = Constant<value = int64 {9223372036854775807}>()
        places = Where(Less(index, zero), beyond, index)
        present_key = ScatterND(past_key, places, key_TRE)
        present_value = ScatterND(past_value, places, value_TRE)
        table_PR = Transpose<perm = [1, 0]>(Slice(beam_table, first, end, second))
        there = And(GreaterOrEqual(table_PR, zero), Less(table_PR, rows))
        lines = Where(there, Add(Unsqueeze(Mul(all_positions, rows), second), table_PR), beyond)
        line = Concat<axis = 0>(rest, heads_1, size)
        key_PRHD = Gather(Reshape(present_key, line), lines)
        value_PRHD = Gather(Reshape(present_value, line), lines)
        split = Concat<axis = 0>(rows, tokens, heads_1, size)
        query_RHTD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(query, split))
        key_RHDP = Transpose<perm = [1, 2, 3, 0]>(key_PRHD)
        value_RHPD = Transpose<perm = [1, 2, 0, 3]>(value_PRHD)
        seen_TP = LessOrEqual(all_positions, index)
        nothing = Constant<value = float {0.0}>()
        lowest = Constant<value = float {-3.4028234663852886e38}>()
        mask_TP = Where(seen_TP, nothing, lowest)"""
CACHED_SCORES = """
        scores = Add(Mul(MatMul(query_RHTD, key_RHDP), factor), mask_TP)"""
# What lies ahead of a query has distance 0 here, and is masked.
CACHED_BIASED_SCORES = """
        distances_TP = Max(Sub(index, all_positions), zero)
        farthest = Sub(Shape<start = 1>(distance_bias), one)
        bias_HTP = Gather<axis = 1>(distance_bias, Min(distances_TP, farthest))
        scores = Add(Add(Mul(MatMul(query_RHTD, key_RHDP), factor), bias_HTP), mask_TP)"""
CACHED_MIXED = """
        mixed_RHTD = MatMul(Softmax<axis = -1>(scores), value_RHPD)
        together = Concat<axis = 0>(Shape<end = 1>(qkv), width)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_RHTD), together)"""

QUERIES = """
        first = Constant<value = int64[1] {0}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        photos = Shape<end = 1>(key)
        size = Div(Shape<start = 1>(query), heads_1)
        queries = Div(Shape<end = 1>(query), photos)
        of_query = Concat<axis = 0>(photos, queries, heads_1, size)
        query_BHGD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(query, of_query))"""
# Keys and values of an input, of which halves have the positions of a head together.
FLOAT_SOURCE = """
        positions = Shape<start = 1, end = 2>(key)
        of_key = Concat<axis = 0>(photos, positions, heads_1, size)
        key_BHDS = Transpose<perm = [0, 2, 3, 1]>(Reshape<allowzero = 1>(key, of_key))
        value_BHSD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(value, of_key))"""
HALF_SOURCE = """
        key_BHDS = Transpose<perm = [0, 1, 3, 2]>(Cast<to = 1>(key))
        value_BHSD = Cast<to = 1>(value)"""
HALF_POSITIONS = """
        positions = Shape<start = 2, end = 3>(key)"""
FORMS_OF_SOURCES: Mapping[str, Sequence[str]] = {"": (FLOAT_SOURCE,), "Half": (HALF_POSITIONS, HALF_SOURCE)}
MIXED = """
        scores = Mul(MatMul(query_BHGD, key_BHDS), factor)
        mixed_BHGD = MatMul(Softmax<axis = -1>(scores), value_BHSD)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHGD), Shape(query))"""

# Which of `positions` are within an input's length. A length that is none is refused as a position beyond the end.
LENGTHS = """
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        beyond = Constant<value = int64 {9223372036854775807}>()
        positions_0 = Squeeze(positions)
        lengths_there = Range(zero, Add(positions_0, one), one)
        lengths_B1 = Gather(lengths_there, Where(Less(lengths, zero), beyond, lengths))
        seen_BS = Less(Range(zero, positions_0, one), lengths_B1)
        one_two = Constant<value = int64[2] {1, 2}>()
        one_three = Constant<value = int64[2] {1, 3}>()
        seen_B11S = Unsqueeze(seen_BS, one_two)
        seen_B1S1 = Unsqueeze(seen_BS, one_three)
        nothing = Constant<value = float {0.0}>()
        lowest = Log(nothing)"""
PADDED_MIXED = """
        key_seen = Where(seen_B11S, key_BHDS, nothing)
        value_seen = Where(seen_B1S1, value_BHSD, nothing)
        scores = Where(seen_B11S, Mul(MatMul(query_BHGD, key_seen), factor), lowest)
        mixed_all = MatMul(Softmax<axis = -1>(scores), value_seen)
        two_three = Constant<value = int64[2] {2, 3}>()
        there_B111 = Less(zero, Unsqueeze(lengths_B1, two_three))
        mixed_BHGD = Where(there_B111, mixed_all, nothing)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHGD), Shape(query))"""

ENCODER_SCORES = (
    """
        first = Constant<value = int64[1] {0}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        positions = Shape<start = 1, end = 2>(qkv)"""
    + LENGTHS
    + """
        last = Constant<value = int64[1] {-1}>()
        three = Constant<value = int64 {3}>()
        seen_BS1 = Unsqueeze(seen_BS, last)
        width = Div(Shape<start = 2>(qkv), three)
        inputs = Shape<end = 1>(qkv)
        split = Concat<axis = 0>(inputs, positions, heads_1, Div(width, heads_1))
        query, key, value = Split<axis = 2, num_outputs = 3>(Where(seen_BS1, qkv, nothing))
        query_BHSD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(query, split))
        key_BHDS = Transpose<perm = [0, 2, 3, 1]>(Reshape<allowzero = 1>(key, split))
        value_BHSD = Transpose<perm = [0, 2, 1, 3]>(Reshape<allowzero = 1>(value, split))
        weighed = Mul(MatMul(query_BHSD, key_BHDS), factor)"""
)
# The distance of position p from query q is p - q, from -(M - 1) on.
ENCODER_BIAS = """
        two = Constant<value = int64 {2}>()
        farthest = Div(Shape<start = 1>(distance_bias), two)
        all_positions = Range(zero, positions_0, one)
        distances_SS = Sub(Unsqueeze(all_positions, first), Unsqueeze(all_positions, last))
        index_SS = Add(Max(Min(distances_SS, farthest), Neg(farthest)), farthest)
        biased = Add(weighed, Gather<axis = 1>(distance_bias, index_SS))"""
ENCODER_MIXED = """
        mixed_BHSD = MatMul(Softmax<axis = -1>(Where(seen_B11S, {scores}, lowest)), value_BHSD)
        together = Concat<axis = 0>(inputs, positions, width)
        mixed_BSE = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHSD), together)
        mixed = Where(seen_BS1, mixed_BSE, nothing)"""

# In bfloat16 what is multiplied is rounded: queries, keys and values, and the weights before they are made to sum up
# to 1.
_SOFTMAX = re.compile(r"(mixed_\w+) = MatMul\(Softmax<axis = -1>\((Where\(.*\))\), (value_\w+)\)")
_ROUNDED_SOFTMAX = r"""scored = \2
        powers = Exp(Sub(scored, ReduceMax<keepdims = 1>(scored, last)))
        weights = Cast<to = 1>(Cast<to = 16>(powers))
        \1 = Div(MatMul(weights, \3), ReduceSum<keepdims = 1>(powers, last))"""


def in_bfloat16(lines: str) -> str:
    """An encoder's attention with what is multiplied rounded."""
    for read in ("Where(seen_BS1, qkv, nothing)", "Gather<axis = 1>(qkv, known)"):
        lines = lines.replace(read, f"Cast<to = 1>(Cast<to = 16>({read}))")
    return _SOFTMAX.sub(_ROUNDED_SOFTMAX, lines)


# Windows that have not every position once would give a result for some position twice, and none for another: where a
# position's count is not 1, and where a window has none that there is, it is refused as `beyond`.
WINDOWS = """
        first = Constant<value = int64[1] {0}>()
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        last = Constant<value = int64[1] {-1}>()
        three = Constant<value = int64 {3}>()
        beyond = Constant<value = int64 {9223372036854775807}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        factor = Constant<value_float: float = @scale>()
        inputs = Shape<end = 1>(qkv)
        positions = Shape<start = 1, end = 2>(qkv)
        width = Div(Shape<start = 2>(qkv), three)
        places = Reshape(windows, last)
        all_places = Shape(places)
        known = Where(Less(places, zero), beyond, places)
        none = Expand(zero, positions)
        counts = ScatterElements<reduction = "add">(none, known, Expand(one, all_places))
        order = ScatterElements(none, known, Range(zero, Squeeze(all_places), one))
        back = Where(Equal(counts, one), order, beyond)
        split = Concat<axis = 0>(inputs, Shape(windows), heads_1, Div(width, heads_1))
        query, key, value = Split<axis = 2, num_outputs = 3>(Gather<axis = 1>(qkv, known))
        query_BWHPD = Transpose<perm = [0, 1, 3, 2, 4]>(Reshape<allowzero = 1>(query, split))
        key_BWHDP = Transpose<perm = [0, 1, 3, 4, 2]>(Reshape<allowzero = 1>(key, split))
        value_BWHPD = Transpose<perm = [0, 1, 3, 2, 4]>(Reshape<allowzero = 1>(value, split))
        biased = Add(Mul(MatMul(query_BWHPD, key_BWHDP), factor), place_bias)
        one_two = Constant<value = int64[2] {1, 2}>()
        one_three = Constant<value = int64[2] {1, 3}>()
        seen_W1PP = Equal(Unsqueeze(regions, one_two), Unsqueeze(regions, one_three))
        nothing = Constant<value = float {0.0}>()
        lowest = Log(nothing)
        mixed_BWHPD = MatMul(Softmax<axis = -1>(Where(seen_W1PP, biased, lowest)), value_BWHPD)
        together = Concat<axis = 0>(inputs, all_places, width)
        mixed_BWPHD = Transpose<perm = [0, 1, 3, 2, 4]>(mixed_BWHPD)
        mixed = Gather<axis = 1>(Reshape<allowzero = 1>(mixed_BWPHD, together), back)"""

# Su et al., arXiv:2104.09864, of neighbouring numbers in pairs, as Moonshine of transformers has it; the rest of a head
# behind its pairs, and the values, stay. Positions that the tables do not have are refused, as in CACHE.
ROTARY = """
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        first = Constant<value = int64[1] {0}>()
        last = Constant<value = int64[1] {-1}>()
        second = Constant<value = int64[1] {1}>()
        two = Constant<value = int64[1] {2}>()
        three = Constant<value = int64[1] {3}>()
        most = Constant<value = int64[1] {9223372036854775807}>()
        heads_0 = Constant<value_int: int = @heads>()
        heads_1 = Unsqueeze(heads_0, first)
        inputs = Shape<end = 1>(rows)
        tokens = Div(Shape<end = 1>(Flatten<axis = -1>(qkv)), inputs)
        positions = Range(Squeeze(position), Squeeze(Add(position, tokens)), one)
        beyond = Constant<value = int64 {9223372036854775807}>()
        known = Where(Less(positions, zero), beyond, positions)
        around = Constant<value = int64[2] {1, 2}>()
        cosine = Unsqueeze(Gather(cosines, known), around)
        sine = Unsqueeze(Gather(sines, known), around)
        size = Div(Div(Shape<start = -1>(qkv), three), heads_1)
        split = Concat<axis = 0>(inputs, tokens, three, heads_1, size)
        all = Reshape<allowzero = 1>(qkv, split)
        pairs = Shape<start = 1>(cosines)
        turning = Mul(pairs, two)
        axis_2 = Constant<value = int64[1] {2}>()
        query_key = Slice(all, first, two, axis_2)
        value = Slice(all, two, three, axis_2)
        rest = Slice(query_key, turning, most, last)
        of_pairs = Concat<axis = 0>(inputs, tokens, two, heads_1, pairs, two)
        paired = Reshape<allowzero = 1>(Slice(query_key, first, turning, last), of_pairs)
        even = Squeeze(Slice(paired, first, second, last), last)
        odd = Squeeze(Slice(paired, second, two, last), last)
        cosine_5 = Unsqueeze(cosine, first)
        sine_5 = Unsqueeze(sine, first)
        new_even = Sub(Mul(even, cosine_5), Mul(odd, sine_5))
        new_odd = Add(Mul(odd, cosine_5), Mul(even, sine_5))
        both = Concat<axis = -1>(Unsqueeze(new_even, last), Unsqueeze(new_odd, last))
        together = Concat<axis = 0>(inputs, tokens, two, heads_1, turning)
        turned = Concat<axis = -1>(Reshape<allowzero = 1>(both, together), rest)
        rotated = Reshape<allowzero = 1>(Concat<axis = 2>(turned, value), Shape(qkv))"""
