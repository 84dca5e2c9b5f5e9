"""The CUDA operators against their bodies and against float64, their sources compiled for the CPU (tests/cuda/host).

A block's threads are real threads there and onnxruntime runs the operators, so indices, barriers, shapes and types are
tried as they are. What no CPU tells: whether a GPU's arithmetic, memory and streams do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from fuseline.kernels import definitions
from fuseline.kernels.device_bodies import ON_CUDA

from .cases import Array, Case, Maker, exact, model_of, run, session

# Of sums of some tens of products, and of one rounding to float16.
TOLERANCE = {"float32": 2e-5, "float16": 1e-3}

CASES: dict[str, Callable[[Maker], Case]] = {
    "self": lambda make: make.self_attention(),
    "self, heads of 64": lambda make: make.self_attention(head_size=64),
    "self, heads of 256": lambda make: make.self_attention(head_size=256),
    "self, biased": lambda make: make.self_attention(biased=True),
    "cross": lambda make: make.cross_attention(),
    "cross, heads of 64": lambda make: make.cross_attention(head_size=64),
    "cross, padded": lambda make: make.cross_attention(padded=True),
    "cross, padded, heads of 104": lambda make: make.cross_attention(padded=True, head_size=104),
    "rms norm": lambda make: make.norm(adds=False),
    "layer norm": lambda make: make.norm(adds=True),
    "layer norm of one": lambda make: make.norm(adds=True, width=1),
    "candidates": lambda make: make.top_candidates(make.size(1, 3), make.size(40, 1500), make.size(1, 9)),
    "all candidates": lambda make: make.top_candidates(2, 23, 23),
}
ONLY_FLOAT: dict[str, Callable[[Maker], Case]] = {
    "cross, halves": lambda make: make.cross_attention(halves=True),
    "cross, halves, heads of 64": lambda make: make.cross_attention(halves=True, head_size=64),
    "cross, halves, padded": lambda make: make.cross_attention(halves=True, padded=True),
}
ALL = [(name, half) for name in CASES for half in (False, True)] + [(name, False) for name in ONLY_FLOAT]


def close(found: Array, right: Array, case: Case, name: str) -> None:
    kind = case.outputs[name]
    assert found.dtype == kind
    np.testing.assert_allclose(
        found.astype(np.float64), right.astype(np.float64), rtol=TOLERANCE[kind], atol=TOLERANCE[kind], err_msg=name
    )


@pytest.mark.parametrize(("name", "half"), ALL, ids=[f"{name}{', float16' * half}" for name, half in ALL])
@pytest.mark.parametrize("seed", range(2))
def test_an_operator_gives_what_its_body_and_float64_give(name: str, half: bool, seed: int, library: Path) -> None:
    case = (CASES | ONLY_FLOAT)[name](Maker(seed, half))
    found, bodies, right = run(case, library), run(case), exact(case)
    for output in case.outputs:
        if output in ("present_key", "present_value", "values", "indices"):  # nothing is computed
            np.testing.assert_array_equal(found[output], bodies[output], err_msg=output)
            np.testing.assert_array_equal(found[output], right[output].astype(found[output].dtype), err_msg=output)
        else:
            close(found[output], bodies[output], case, output)
            close(found[output], right[output], case, output)


def test_all_operators_are_tried() -> None:
    tried = {CASES[name](Maker(0, half)).operator for name in CASES for half in (False, True)}
    assert tried | {make(Maker(0)).operator for make in ONLY_FLOAT.values()} == set(ON_CUDA)


@pytest.mark.parametrize("half", (False, True))
def test_caches_that_are_bound_in_place_are_written_in_place(half: bool, library: Path) -> None:
    case = Maker(5, half).self_attention()
    right = run(case, library)
    caches = {name: ort.OrtValue.ortvalue_from_numpy(case.feed[f"past_{name}"]) for name in ("key", "value")}
    opened = session(model_of(case), library)
    binding = opened.io_binding()
    for name in ("qkv", "position", "beam_table"):
        binding.bind_cpu_input(name, case.feed[name])
    for name, cache in caches.items():
        binding.bind_ortvalue_input(f"past_{name}", cache)
        binding.bind_ortvalue_output(f"present_{name}", cache)
    binding.bind_output("mixed", "cpu")
    opened.run_with_iobinding(binding)
    np.testing.assert_array_equal(binding.get_outputs()[2].numpy(), right["mixed"])
    for name, cache in caches.items():
        np.testing.assert_array_equal(cache.numpy(), right[f"present_{name}"])


def test_a_position_beyond_the_cache_gives_nan_and_writes_nothing(library: Path) -> None:
    case = Maker(6).self_attention()
    for start in (-1, len(case.feed["past_key"]), 2**40, -(2**62)):
        found = run(case.with_(position=np.array([start])), library)
        assert np.isnan(found["mixed"]).all()
        np.testing.assert_array_equal(found["present_key"], case.feed["past_key"])
        np.testing.assert_array_equal(found["present_value"], case.feed["past_value"])


def test_a_table_that_points_to_no_row_spoils_that_row_alone(library: Path) -> None:
    make = Maker(9)
    case = make.self_attention()
    rows = case.feed["past_key"].shape[1]
    assert rows > 1
    for bad in (-1, rows, 2**50):
        table = case.feed["beam_table"].copy()
        table[0, 0] = bad
        mixed = run(case.with_(beam_table=table), library)["mixed"].reshape(rows, -1)
        assert np.isnan(mixed[0]).all()
        np.testing.assert_array_equal(mixed[1:], run(case, library)["mixed"].reshape(rows, -1)[1:])


def test_a_length_that_is_none_spoils_that_input_alone(library: Path) -> None:
    case = Maker(1).cross_attention(padded=True)
    inputs, positions = case.feed["key"].shape[:2]
    assert inputs > 1
    for bad in (-1, positions + 1, 2**50):
        lengths = case.feed["lengths"].copy()
        lengths[-1] = bad
        mixed = run(case.with_(lengths=lengths), library)["mixed"].reshape(inputs, -1)
        assert np.isnan(mixed[-1]).all()
        np.testing.assert_array_equal(mixed[:-1], run(case, library)["mixed"].reshape(inputs, -1)[:-1])


ODD_LOGITS = {
    "equal": np.zeros((2, 700), np.float32),
    "zeros of both signs": np.tile(np.array([-0.0, 0.0], np.float32), (2, 350)),
    "nan": np.array([[np.nan, 1, np.nan, 2, np.nan, 0]], np.float32),
    "nothing but nan": np.full((1, 600), np.nan, np.float32),
    "nothing but -inf": np.full((1, 6), -np.inf, np.float32),
    "+inf": np.array([[1, np.inf, 3, np.inf, -np.inf, 0]], np.float32),
    "large": np.array([[3e38, -3e38, 3e38, 1, 2, 3]], np.float32),
    "falling": np.arange(1100, 0, -1, dtype=np.float32)[None],
    "of one thread": np.where(np.arange(3000) % 512 == 7, 9, 0).astype(np.float32)[None],
}


@pytest.mark.parametrize("name", ODD_LOGITS)
def test_candidates_of_odd_logits_are_those_of_the_definition(name: str, library: Path) -> None:
    logits = ODD_LOGITS[name]
    case = Maker(0).top_candidates(len(logits), logits.shape[1], 6).with_(logits=logits)
    found, bodies = run(case, library), run(case)
    right = dict(zip(case.outputs, definitions.top_candidates(logits, 6), strict=True))
    for each in (found, bodies):
        np.testing.assert_array_equal(each["values"], right["values"])
        np.testing.assert_array_equal(each["indices"], right["indices"])
        np.testing.assert_allclose(each["logsumexp"], right["logsumexp"], rtol=1e-6, atol=1e-6)


def test_a_nan_and_an_infinity_come_through_attention(library: Path) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        case = Maker(3).cross_attention()
        key = case.feed["key"].copy()
        key[0, -1, :] = bad
        found, right = run(case.with_(key=key), library)["mixed"], run(case.with_(key=key))["mixed"]
        np.testing.assert_array_equal(np.isnan(found), np.isnan(right))
        np.testing.assert_allclose(found, right, rtol=TOLERANCE["float32"], atol=TOLERANCE["float32"])


WRONG: dict[str, tuple[Callable[[], Case], str]] = {
    "a head of 257": (lambda: Maker(0).self_attention(head_size=257), "a head may have at most 256 elements"),
    "more tokens than capacity": (
        lambda: Maker(0).self_attention().with_(
            past_key=np.zeros((0, 4, 24), np.float32), past_value=np.zeros((0, 4, 24), np.float32),
            qkv=np.zeros((4, 72), np.float32), beam_table=np.zeros((4, 0), np.int64),
        ),
        "more than the cache's capacity",
    ),
    "k beyond the vocabulary": (lambda: Maker(0).top_candidates(2, 5, 6), "k must not be more"),
    "k of 0": (lambda: Maker(0).top_candidates(2, 5, 0), "k must be at least 1"),
    "another width": (
        lambda: Maker(0).norm(adds=True, width=7).with_(residual=np.zeros((1, 6), np.float32)), "do not go together"
    ),
    "lengths of others": (
        lambda: Maker(1).cross_attention(padded=True).with_(lengths=np.zeros((9, 1), np.int64)),
        "lengths must have a row",
    ),
    "keys of another width": (
        lambda: Maker(1).cross_attention().with_(key=np.zeros((2, 5, 7), np.float32)), "do not go together"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_together_is_refused(name: str, library: Path) -> None:
    make, sentence = WRONG[name]
    case = make()
    if name == "more tokens than capacity":
        case = Case(case.operator, case.feed, {**case.attributes, "heads": 3}, case.outputs)
    with pytest.raises(Exception, match=f"layer.3: .*{sentence}"):
        run(case, library)


@pytest.mark.parametrize("half", (False, True))
def test_nothing_comes_of_nothing(half: bool, library: Path) -> None:
    make = Maker(2, half)
    empty = make.self_attention()
    width = empty.feed["past_key"].shape[2]
    changes = {
        "qkv": make.floats(0, 3 * width), "past_key": make.floats(5, 0, width), "past_value": make.floats(5, 0, width),
        "beam_table": np.zeros((0, 5), np.int64),
    }  # fmt: skip
    assert run(empty.with_(**changes), library)["mixed"].shape == (0, width)
    assert run(make.top_candidates(0, 9, 2), library)["indices"].shape == (0, 2)
    assert run(make.norm(adds=True).with_(x=make.floats(0, 9), residual=make.floats(0, 9), scale=make.floats(9),
                                          bias=make.floats(9)), library)["y"].shape == (0, 9)  # fmt: skip
