"""top_candidates and beam_candidates on every instruction set of this machine, and in numpy, against plain definitions.

Values and indices are equal to the bit: they are copied, never computed. logsumexp is within the 1e-5 that is promised,
beside the half unit in the last place that any float32 is away from its exact value.
"""

from __future__ import annotations

import ctypes
import mmap
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fuseline.errors import InputError
from fuseline.kernels import beam_candidates, definitions, library, top_candidates

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Found = tuple[Float32, Int64, Float32]

INF, NAN = float("inf"), float("nan")
LIBRARY = library.load(library.folders(), {})
ISAS = LIBRARY.available_isas if isinstance(LIBRARY, library.Native) else ()


def reference(logits: Float32, k: int) -> tuple[Float32, Int64, npt.NDArray[np.float64]]:
    """By sorting everything, in float64."""
    clean = np.where(np.isnan(logits), -INF, logits.astype(np.float64))
    rows, vocab = clean.shape
    indices = np.array([np.lexsort((np.arange(vocab), -row))[:k] for row in clean], np.int64).reshape(rows, k)
    logsumexp = np.array([np.logaddexp.reduce(np.sort(row)) for row in clean], np.float64)
    return np.take_along_axis(clean, indices, axis=1).astype(np.float32), indices, logsumexp


def check(logits: Float32, k: int) -> Found:
    values, indices, logsumexp = found = top_candidates(logits, k)
    best, where, exact = reference(logits, k)
    assert [array.dtype.name for array in found] == ["float32", "int64", "float32"]
    assert (values.shape, indices.shape, logsumexp.shape) == (best.shape, where.shape, exact.shape)
    np.testing.assert_array_equal(values, best)
    np.testing.assert_array_equal(indices, where)
    np.testing.assert_allclose(logsumexp, exact, rtol=2.0**-24, atol=1e-5)
    return found


def same(a: Found, b: Found) -> bool:
    """To the bit, as far as there is no NaN."""
    return np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) and np.array_equal(a[2], b[2])


def normal(rows: int, vocab: int, scale: float = 4.0, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(0, scale, (rows, vocab)).astype(np.float32)


# Where blocks (512), the four sums (64) and vectors (8, 16) begin and end, and one beside.
SIZES = sorted({1, 2, 3, 5, *(n + d for n in (8, 16, 32, 64, 512, 1024) for d in (-1, 0, 1)), 2977, 50257})


@pytest.mark.parametrize("vocab", SIZES)
@pytest.mark.parametrize("rows", [1, 4])
def test_every_size(kernels: library.Kernels, rows: int, vocab: int) -> None:
    for k in sorted({1, min(2, vocab), min(12, vocab), min(65, vocab)}):
        check(normal(rows, vocab, seed=vocab), k)


@pytest.mark.parametrize("vocab", [1, 7, 16, 17, 513, 1025])
def test_all_of_them(kernels: library.Kernels, vocab: int) -> None:
    check(normal(3, vocab), vocab)


EDGES = [0.0, -0.0, 1.0, INF, -INF, NAN, 1e-45, -1e-40, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 88.8, -103.0]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_logits(kernels: library.Kernels, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(0, 4), st.integers(1, 70)))
    number = st.sampled_from(EDGES) | st.floats(width=32)
    logits = data.draw(hnp.arrays(np.float32, shape, elements=number, fill=number))
    check(logits, data.draw(st.integers(1, shape[1])))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3), vocab=st.integers(1, 3000), data=st.data())
def test_ties_and_special_numbers_anywhere(
    kernels: library.Kernels, seed: int, rows: int, vocab: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(0, 3, (rows, vocab))).astype(np.float32)  # some ten different values
    special = random.random((rows, vocab)) < data.draw(st.sampled_from([0, 0.01, 0.5, 1]))
    logits[special] = random.choice(np.array([-INF, NAN, -1e-40, 1e-45, -80, -120], np.float32), special.sum())
    check(logits, data.draw(st.integers(1, min(vocab, 40))))


CASES = {
    "all equal": ([2.5] * 40, 4, [0, 1, 2, 3], 2.5 + np.log(40)),
    "all masked": ([-INF] * 40, 3, [0, 1, 2], -INF),
    "all NaN": ([NAN] * 40, 3, [0, 1, 2], -INF),
    "NaN among numbers": ([NAN, 1.0, NAN, 3.0], 4, [3, 1, 0, 2], np.logaddexp(1.0, 3.0)),
    "one left unmasked": ([-INF] * 20 + [7.0] + [-INF] * 20, 2, [20, 0], 7.0),
    "+inf": ([0.0] * 20 + [INF] + [0.0] * 5, 2, [20, 0], INF),
    "+inf twice": ([INF, 0.0, INF], 3, [0, 2, 1], INF),
    "both infinities and NaN": ([NAN, -INF, INF], 3, [2, 0, 1], INF),
    "both zeros are equal": ([-0.0, 0.0, -0.0], 3, [0, 1, 2], np.log(3)),
    "the largest numbers": ([3.4e38, -3.4e38, 3.4e38], 3, [0, 2, 1], 3.4e38),
    "denormal numbers": ([1e-45, 3e-45, 0.0, -1e-45], 4, [1, 0, 2, 3], np.log(4)),
    "best in a later block": ([-5.0] * 600 + [300.0] * 2 + [-5.0] * 600, 3, [600, 601, 0], 300 + np.log(2)),
    "rising": (list(map(float, range(1500))), 3, [1499, 1498, 1497], 1499 - np.log1p(-np.exp(-1))),
}


@pytest.mark.parametrize("case", CASES)
def test_named_cases(kernels: library.Kernels, case: str) -> None:
    row, k, expected, exact = CASES[case]
    with warnings.catch_warnings(action="error"):
        _, indices, logsumexp = check(np.array([row], np.float32), k)
    assert indices[0].tolist() == expected
    np.testing.assert_allclose(logsumexp[0], exact, rtol=2.0**-24, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -11.3, 1000.0])
def test_sums_of_many_equal_terms_do_not_drift(kernels: library.Kernels, value: float) -> None:
    logits = np.full((1, 2_000_003), value, np.float32)
    logits[0, 7] = value + 9.7  # the other terms are no powers of two then
    exact = value + 9.7 + np.log1p(2_000_002 * np.exp(-np.float64(logits[0, 7] - logits[0, 0])))
    np.testing.assert_allclose(top_candidates(logits, 1)[2][0], exact, rtol=2.0**-23, atol=1e-5)


def test_no_rows(kernels: library.Kernels) -> None:
    values, indices, logsumexp = check(np.empty((0, 5), np.float32), 2)
    assert values.shape == indices.shape == (0, 2)
    assert logsumexp.shape == (0,)


def layouts() -> dict[str, Float32]:
    base = normal(6, 301)
    shifted = np.frombuffer(bytearray(4 * 301 * 6 + 1), np.uint8)[1:].view(np.float32).reshape(6, 301)
    shifted[:] = base
    return {
        "Fortran order": np.asfortranarray(base),
        "some columns": base[:, 7:290],
        "some rows": base[::2],
        "every other column": base[:, ::2],
        "rows backwards": base[::-1],
        "columns backwards": base[:, ::-1],
        "one row for all": np.broadcast_to(base[0], (4, 301)),
        "not aligned to float32": shifted,
        "last of T": base.reshape(3, 2, 301)[:, -1],
        "one column": base[:, 3:4],
        "read-only": np.frombuffer(base.tobytes(), np.float32).reshape(6, 301),
    }


@pytest.mark.parametrize("layout", layouts())
def test_memory_layouts(kernels: library.Kernels, layout: str) -> None:
    logits = layouts()[layout]
    before = logits.copy()
    check(logits, min(3, logits.shape[1]))
    np.testing.assert_array_equal(logits, before)


def test_results_do_not_share_memory(kernels: library.Kernels) -> None:
    logits = normal(2, 100)
    first = top_candidates(logits, 100)
    copies = first[0].copy(), first[1].copy(), first[2].copy()
    top_candidates(logits + 1, 100)
    assert same(first, copies)
    assert not any(np.shares_memory(array, logits) for array in first)


def guarded(count: int) -> tuple[Float32, mmap.mmap]:
    """float32[count] in memory that ends where a page without access begins, and that page's owner."""
    page = mmap.PAGESIZE
    size = -(-4 * count // page) * page
    memory = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert mprotect(start + size, page, 0) == 0, ctypes.get_errno()
    return np.frombuffer(memory, np.float32, count, size - 4 * count), memory


@pytest.mark.parametrize("vocab", [*range(1, 36), 63, 65, 511, 513, 527, 1030, 2977])
def test_nothing_is_read_beyond_the_end(kernels: library.Kernels, vocab: int) -> None:
    logits, _memory = guarded(2 * vocab)  # reading one element more would end the process
    logits[:] = normal(2, vocab).ravel()
    check(logits.reshape(2, vocab), min(5, vocab))


@pytest.mark.parametrize("k", [0, -1, 6])
def test_refuses_k(kernels: library.Kernels, k: int) -> None:
    with pytest.raises(InputError, match=f"at least 1 and at most all 5 logits of a row, not {k}"):
        top_candidates(np.zeros((2, 5), np.float32), k)


@pytest.mark.parametrize(
    ("logits", "given"),
    [
        (np.zeros((2, 5)), r"float64\[2, 5\]"),
        (np.zeros((2, 5), ">f4"), r">f4\[2, 5\]|float32"),
        (np.zeros(5, np.float32), r"float32\[5\]"),
        ([[1.0]], "list"),
    ],
)
def test_refuses_other_logits(kernels: library.Kernels, logits: Float32, given: str) -> None:
    with pytest.raises(InputError, match=given):
        top_candidates(logits, 1)


def test_many_threads_get_the_same_answer(kernels: library.Kernels) -> None:
    inputs = [normal(4, 2977, seed=seed) for seed in range(8)]
    alone = [top_candidates(logits, 8) for logits in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = list(pool.map(lambda logits: top_candidates(logits, 8), inputs))
            assert all(same(ours, theirs) for ours, theirs in zip(alone, together, strict=True))


def test_k_may_be_a_numpy_integer(kernels: library.Kernels) -> None:
    logits = normal(2, 9)
    assert np.array_equal(top_candidates(logits, np.int32(3))[1], definitions.top_candidates(logits, 3)[1])  # type: ignore[arg-type]


# --- the C interface itself, with arguments that Python never passes --------------------------------------------------


@pytest.mark.skipif(not ISAS, reason="there is no kernel library here")
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 0),
        ({"logits": None}, 1),
        ({"values": None}, 1),
        ({"indices": None}, 1),
        ({"logsumexp": None}, 1),
        ({"rows": -1}, 1),
        ({"rows": 0, "logits": None, "values": None, "indices": None, "logsumexp": None}, 0),
        ({"vocab": 0}, 1),
        ({"vocab": -5}, 1),
        ({"k": 0}, 1),
        ({"k": 6}, 1),
        ({"k": -(2**63)}, 1),
        ({"row_stride": 4}, 1),
        ({"row_stride": 0, "rows": 1}, 0),
    ],
)
def test_bad_arguments_in_c(changed: dict[str, int | None], status: int) -> None:
    assert isinstance(LIBRARY, library.Native)
    logits, values, indices, sums = normal(2, 5), np.full(4, 9, np.float32), np.full(4, 9), np.full(2, 9, np.float32)
    arguments: dict[str, int | None] = {
        "logits": logits.ctypes.data,
        "rows": 2,
        "vocab": 5,
        "row_stride": 5,
        "k": 2,
        "values": values.ctypes.data,
        "indices": indices.ctypes.data,
        "logsumexp": sums.ctypes.data,
    }
    assert LIBRARY._top_candidates(*(arguments | changed).values()) == status
    if status:
        assert (values == 9).all()
        assert (indices == 9).all()
        assert (sums == 9).all()


def ranked(logits: Float32, scores: Float32, keep: int, normalized: bool) -> list[list[tuple[float, float, int, int]]]:
    """All continuations of each input, one by one, sorted: (sum, log-probability, token, row)."""
    values, indices, logsumexp = top_candidates(logits, logits.shape[1])
    beams, best = scores.shape[1], []
    with np.errstate(all="ignore"):
        logprobs = values if normalized else values - logsumexp[:, None]
        sums = logprobs + scores.reshape(-1, 1)
    for one in range(len(scores)):
        rows = range(one * beams, (one + 1) * beams)
        all_of = [
            (float(sums[row, at]), float(logprobs[row, at]), int(indices[row, at]), row)
            for row in rows
            for at in range(min(keep, logits.shape[1]))
        ]
        best.append(sorted(all_of, key=lambda each: (np.isnan(each[0]), -each[0]))[:keep])
    return best


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), inputs=st.integers(0, 3), beams=st.integers(1, 5), vocab=st.integers(1, 40))
def test_continuations_are_the_best_of_all(
    kernels: library.Kernels, data: st.DataObject, inputs: int, beams: int, vocab: int
) -> None:
    number = st.sampled_from([*EDGES, -1e9, 2.0, 2.5]) | st.floats(width=32)
    some = st.sampled_from([1.0, 1.5, -2.0, 0.0])
    logits = data.draw(hnp.arrays(np.float32, (inputs * beams, vocab), elements=number, fill=some))
    scores = data.draw(hnp.arrays(np.float32, (inputs, beams), elements=st.sampled_from([0.0, -1.5, -1e9, -INF])))
    keep, normalized = data.draw(st.integers(1, 12)), data.draw(st.booleans())
    found = beam_candidates(logits, scores, keep, normalized=normalized)
    wanted = ranked(logits, scores, keep, normalized)
    assert [array.dtype.name for array in found] == ["float32", "float32", "int64", "int64"]
    most = min(keep, beams * min(keep, vocab))
    for index, array in enumerate(found):
        assert array.shape == (inputs, most)
        np.testing.assert_array_equal(
            array, np.reshape([[each[index] for each in row] for row in wanted], (inputs, most))
        )


def test_continuations_of_rows_apart_and_scores_out_of_order(kernels: library.Kernels) -> None:
    logits, scores = normal(12, 300), normal(4, 3, seed=1)
    apart = np.full((12, 400), NAN, np.float32)[:, 50:350]
    apart[:] = logits
    wanted = beam_candidates(logits, scores, 6)
    for one, two in zip(beam_candidates(apart, np.asfortranarray(scores), 6), wanted, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("logits", "scores", "keep", "reason"),
    [
        (np.zeros((4, 5)), np.zeros((1, 4), np.float32), 8, "logits as an array float32.*, not float64"),
        (normal(4, 5), np.zeros(4, np.float32), 8, "scores as an array float32.*, not float32.4."),
        (normal(4, 5), np.zeros((1, 3), np.float32), 8, "a row of logits for each score"),
        (normal(0, 5), np.zeros((1, 0), np.float32), 8, "a row of logits for each score"),
        (normal(4, 0), np.zeros((1, 4), np.float32), 8, "a row of logits for each score"),
        (normal(4, 5), np.zeros((1, 4), np.float32), 0, "at least 1 continuation, not 0"),
    ],
)
def test_what_has_no_continuations(
    kernels: library.Kernels, logits: Float32, scores: Float32, keep: int, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        beam_candidates(logits, scores, keep)


@pytest.mark.parametrize("keep", [2**31, 2**63, 2**64 + 1])
def test_more_continuations_than_can_be_counted_are_all_there_are(kernels: library.Kernels, keep: int) -> None:
    logits, scores = normal(4, 5), normal(2, 2)
    for found, wanted in zip(beam_candidates(logits, scores, keep), beam_candidates(logits, scores, 10), strict=True):
        np.testing.assert_array_equal(found, wanted)
