"""to_halves on every instruction set of this machine, and in numpy, against numpy's own rounding, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.kernels import to_halves


def hard_cases() -> np.ndarray:
    """Every half, every number between two of them, what is next to each, and any bits at all."""
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = ((halves[:-1].astype(np.float64) + halves[1:]) / 2).astype(np.float32)
    near = [np.nextafter(each, np.float32(to)) for each in (halves, between) for to in (-np.inf, np.inf)]
    any_bits = np.random.default_rng(0).integers(0, 2**32, 100_003, dtype=np.uint64).astype(np.uint32)
    positive = np.concatenate([halves, between, *near])
    return np.concatenate([positive, -positive, any_bits.view(np.float32)])


@pytest.mark.usefixtures("kernels")
def test_every_number_becomes_the_half_that_numpy_makes_of_it() -> None:
    floats = hard_cases()
    found = np.empty((1, 1, floats.size, 1), np.float16)
    to_halves(floats.reshape(1, -1, 1), found)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = floats.astype(np.float16)
    nan = np.isnan(floats)
    assert np.isnan(found.ravel()[nan]).all()
    np.testing.assert_array_equal(found.ravel()[~nan].view(np.uint16), expected[~nan].view(np.uint16))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("inputs", "heads", "positions", "size"),
    [(0, 1, 3, 4), (2, 3, 0, 4), (1, 1, 1, 1), (1, 2, 3, 15), (2, 3, 5, 16), (3, 1, 4, 17), (1, 12, 197, 64)],
)
def test_the_positions_of_a_head_lie_together(inputs: int, heads: int, positions: int, size: int) -> None:
    floats = np.random.default_rng(1).normal(size=(inputs, positions, heads * size)).astype(np.float32)
    around = np.full(floats.size + 40, 7, np.float16)
    to_halves(floats, around[20 : 20 + floats.size].reshape(inputs, heads, positions, size))
    expected = floats.reshape(inputs, positions, heads, size).transpose(0, 2, 1, 3).astype(np.float16)
    np.testing.assert_array_equal(around[20 : 20 + floats.size], expected.ravel())
    assert (around[:20] == 7).all() and (around[20 + floats.size :] == 7).all()


@pytest.mark.parametrize(
    ("floats", "halves"),
    [
        (np.zeros((1, 3, 2), np.float64), np.zeros((1, 2, 3, 1), np.float16)),
        (np.zeros((1, 3, 2), np.float32), np.zeros((1, 2, 3, 1), np.uint16)),
        (np.zeros((1, 3, 2), np.float32), np.zeros((1, 2, 2, 1), np.float16)),
        (np.zeros((1, 3, 2), np.float32), np.zeros((1, 1, 3, 1), np.float16)),
        (np.zeros((1, 3, 2), np.float32), np.zeros((1, 3, 2), np.float16)),
        (np.zeros((1, 3, 0), np.float32), np.zeros((1, 0, 3, 0), np.float16)),
        (np.zeros((1, 3, 4), np.float32)[:, :, ::2], np.zeros((1, 2, 3, 1), np.float16)),
        (np.zeros((1, 3, 2), np.float32), np.zeros((1, 2, 3, 2), np.float16)[:, :, :, ::2]),
    ],
)
def test_other_arrays_are_refused(floats: np.ndarray, halves: np.ndarray) -> None:
    with pytest.raises(
        InputError, match=r"to_halves takes contiguous arrays float32\[B, S, H x D\] and float16\[B, H, S, D\]"
    ):
        to_halves(floats, halves)


def test_what_is_no_array_or_cannot_be_written_is_refused() -> None:
    floats, halves = np.zeros((1, 3, 2), np.float32), np.zeros((1, 2, 3, 1), np.float16)
    fixed, askew = halves.copy(), np.zeros(13, np.uint8)[1:].view(np.float16).reshape(1, 2, 3, 1)
    fixed.flags.writeable = False
    for one, other in ((floats, fixed), (floats, askew), (None, halves), (floats, [[[[0.0]]]])):
        with pytest.raises(InputError, match="to_halves takes contiguous arrays"):
            to_halves(one, other)  # type: ignore[arg-type]
