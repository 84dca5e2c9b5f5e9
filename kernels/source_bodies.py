"""What cross-attention to several sources computes, in standard ONNX operators: lines of bodies.py.

They go on from its lines for queries and for keys and values. `M` sources; the other dimensions are those of bodies.py.
"""

from __future__ import annotations

# Which of all positions each source has and an input reads. What is none (starts that do not rise from 0 to the end, a
# length that its source has not, a weight that is negative or not finite) is refused as a position beyond the end. A
# weight counts beside the largest one of those that are there; float32 might not hold the ratio of both.
SOURCES = """
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        beyond = Constant<value = int64 {9223372036854775807}>()
        second = Constant<value = int64[1] {1}>()
        last = Constant<value = int64[1] {-1}>()
        nothing = Constant<value = float {0.0}>()
        lowest = Log(nothing)
        highest = Neg(lowest)
        begins = Slice(starts, first, last)
        ends = Slice(starts, second, Shape(starts))
        room = Sub(ends, begins)
        begin_1 = Slice(starts, first, second)
        end_1 = Slice(starts, last, Shape(starts))
        whole_1 = And(Equal(begin_1, zero), Equal(end_1, positions))
        rising_M = And(GreaterOrEqual(room, zero), whole_1)
        fit_BM = And(GreaterOrEqual(lengths, zero), LessOrEqual(lengths, room))
        finite_BM = And(GreaterOrEqual(weights, nothing), Less(weights, highest))
        good_BM = And(And(fit_BM, finite_BM), rising_M)
        lengths_BM = Add(lengths, Gather(first, Where(good_BM, zero, beyond)))
        here_BM = And(Greater(lengths_BM, zero), Greater(weights, nothing))
        present_BM = Where(here_BM, weights, nothing)
        most_B1 = ReduceMax<keepdims = 1>(present_BM, last)
        ratio_BM = Div(Cast<to = 11>(present_BM), Cast<to = 11>(most_B1))
        log_BM = Where(here_BM, Cast<to = 1>(Log(ratio_BM)), lowest)
        stops_BM1 = Unsqueeze(Add(begins, lengths_BM), last)
        begins_M1 = Unsqueeze(begins, last)
        all_positions = Range(zero, Squeeze(positions), one)
        within_BMS = And(GreaterOrEqual(all_positions, begins_M1), Less(all_positions, stops_BM1))
        seen_BMS = And(within_BMS, Unsqueeze(here_BM, last))
        log_BMS = Where(seen_BMS, Unsqueeze(log_BM, last), lowest)
        log_B1S = ReduceMax<keepdims = 1>(log_BMS, second)
        log_B11S = Unsqueeze(log_B1S, second)
        seen_B11S = Greater(log_B11S, lowest)
        one_three = Constant<value = int64[2] {1, 3}>()
        seen_B1S1 = Unsqueeze(Squeeze(Greater(log_B1S, lowest), second), one_three)
        key_seen = Where(seen_B11S, key_BHDS, nothing)
        value_seen = Where(seen_B1S1, value_BHSD, nothing)
        weighed = Mul(MatMul(query_BHGD, key_seen), factor)
        most_B111 = Unsqueeze(Unsqueeze(most_B1, last), last)
        there_B111 = Greater(most_B111, nothing)
        rows = Shape<end = 1>(query)
        sources = Shape(begins)
        of_share = Concat<axis = 0>(rows, heads_1, sources)"""
FLAT = """
        scores = Where(seen_B11S, Add(weighed, log_B11S), lowest)
        probabilities = Where(there_B111, Softmax<axis = -1>(scores), nothing)
        mixed_BHGD = MatMul(probabilities, value_seen)
        mixed = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(mixed_BHGD), Shape(query))
        of_source_BSM = Cast<to = 1>(Transpose<perm = [0, 2, 1]>(seen_BMS))
        share_BHGM = MatMul(probabilities, Unsqueeze(of_source_BSM, second))
        share = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(share_BHGM), of_share)"""
# The sources have an axis of their own, before that of the positions.
SEPARATE = """
        axis_3 = Constant<value = int64[1] {3}>()
        one_two = Constant<value = int64[2] {1, 2}>()
        seen_B11MS = Unsqueeze(seen_BMS, one_two)
        here_B11M = Unsqueeze(here_BM, one_two)
        scores = Where(seen_B11MS, Unsqueeze(weighed, axis_3), lowest)
        here_B11M1 = Unsqueeze(here_B11M, last)
        probabilities = Where(here_B11M1, Softmax<axis = -1>(scores), nothing)
        axis_2 = Constant<value = int64[1] {2}>()
        alone_BHGMD = MatMul(probabilities, Unsqueeze(value_seen, axis_2))
        parts_BHGMD = Mul(alone_BHGMD, Unsqueeze(Unsqueeze(present_BM, one_two), last))
        of_parts = Concat<axis = 0>(rows, Mul(sources, Shape<start = 1>(query)))
        parts = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 3, 1, 4]>(parts_BHGMD), of_parts)
        sums_BHGM = Where(here_B11M, ReduceLogSumExp<keepdims = 0>(scores, last), lowest)
        weighed_sums = Add(sums_BHGM, Unsqueeze(log_BM, one_two))
        share_BHGM = Where(there_B111, Softmax<axis = -1>(weighed_sums), nothing)
        share = Reshape<allowzero = 1>(Transpose<perm = [0, 2, 1, 3]>(share_BHGM), of_share)"""
