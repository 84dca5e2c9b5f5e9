"""Resizing photos against Pillow, to the bit, for every instruction set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fuseline.errors import InputError
from fuseline.kernels import library_info, resized
from fuseline.kernels.definitions import Box

from .test_operators import ISAS, using

pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

UInt8 = npt.NDArray[np.uint8]


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with using(request.param):
        yield request.param


def by_pillow(pixels: UInt8, size: tuple[int, int], box: Box, cubic: bool) -> UInt8:
    """Two calls: along the rows first, whatever Pillow would do."""
    image, filter = Image.fromarray(pixels), Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    left, upper, right, lower = box
    rows = image.resize((size[0], image.height), filter, (left, 0, right, image.height))
    return np.asarray(rows.resize(size, filter, (0, upper, size[0], lower)))


def photo(rng: np.random.Generator, height: int, width: int) -> UInt8:
    """Grain, or black and white, which overshoot."""
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(pixels > 127, 255, 0).astype(np.uint8) if rng.random() < 0.3 else pixels


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "size", "box"),
    [
        (300, 451, (240, 240), (0, 0, 451, 300)),
        (37, 53, (224, 224), (0, 0, 53, 37)),  # larger
        (48, 64, (64, 48), (0, 0, 64, 48)),  # as it is
        (90, 17, (17, 30), (0, 0, 17, 90)),  # one side alone
        (1, 1, (7, 5), (0, 0, 1, 1)),
        (5, 300, (1, 1), (0, 0, 300, 5)),
        (100, 100, (33, 21), (0.5, 3.25, 97.75, 99)),
        (16, 1200, (241, 19), (0, 0, 1200, 16)),
    ],
)
def test_sizes(isa: str, height: int, width: int, size: tuple[int, int], box: Box, cubic: bool) -> None:
    pixels = photo(np.random.default_rng(height), height, width)
    np.testing.assert_array_equal(resized(pixels, size, box, cubic=cubic), by_pillow(pixels, size, box, cubic))


def test_random_sizes(isa: str) -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        height, width = (int(n) for n in rng.integers(1, 200, 2))
        columns, rows = (int(n) for n in rng.integers(1, 150, 2))
        part = rng.random() < 0.3
        left, upper = (float(np.float32(rng.uniform(0, side / 3))) if part else 0.0 for side in (width, height))
        right, lower = (float(np.float32(rng.uniform(side / 2, side))) if part else side for side in (width, height))
        pixels, box, cubic = photo(rng, height, width), (left, upper, right, lower), bool(rng.random() < 0.5)
        found = resized(pixels, (columns, rows), box, cubic=cubic)
        np.testing.assert_array_equal(found, by_pillow(pixels, (columns, rows), box, cubic), err_msg=f"{box} {cubic}")


def test_pixels_that_do_not_lie_side_by_side(isa: str) -> None:
    pixels = photo(np.random.default_rng(1), 40, 60)[::2, ::-1]
    found = resized(pixels, (21, 13), (0, 0, 60, 20), cubic=True)
    np.testing.assert_array_equal(found, by_pillow(pixels.copy(), (21, 13), (0, 0, 60, 20), True))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((0, 4), (0, 0, 6, 5)),
        ((4, -1), (0, 0, 6, 5)),
        ((2**25, 1), (0, 0, 6, 5)),
        ((4, 4), (-1, 0, 6, 5)),
        ((4, 4), (0, 0, 6.5, 5)),
        ((4, 4), (3, 0, 3, 5)),
        ((4, 4), (0, float("nan"), 6, 5)),
    ],
)
def test_what_is_left_to_pillow(size: tuple[int, int], box: Box) -> None:
    assert resized(np.zeros((5, 6, 3), np.uint8), size, box, cubic=True) is None


@pytest.mark.parametrize(
    "pixels", [np.zeros((5, 6), np.uint8), np.zeros((5, 6, 4), np.uint8), np.zeros((5, 6, 3)), [1]]
)
def test_what_is_no_photo(pixels: object) -> None:
    with pytest.raises(InputError, match="takes pixels as an array uint8"):
        resized(pixels, (2, 2), (0, 0, 6, 5), cubic=True)  # type: ignore[arg-type]
