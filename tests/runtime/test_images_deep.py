"""Greys and colours of more than 8 bits: those of 8 bits that were stored as more are what they were."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from fuseline.inputs.images import load_image
from tests.photo_damage import png_chunk, png_of_16_bits, tiff_of_16_bits
from tests.runtime.test_images import EXIF_TURNED, photo

SIXTEEN = np.array([[0, 255, 256, 511], [32767, 32768, 65280, 65535]], np.uint16)
EIGHT = np.arange(256, dtype=np.uint16).reshape(16, 16)

# How 8 bits are stored as more: shifted, repeated, or multiplied and rounded.
LONGER: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "shifted": lambda grey, bits: grey << (bits - 8),
    "repeated": lambda grey, bits: grey << (bits - 8) | grey >> (16 - bits),
    "multiplied": lambda grey, bits: np.rint(grey * ((2**bits - 1) / 255)).astype(np.uint16),
}
STORED = [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "<i4"), ("TIFF", "<f4")]


@pytest.mark.parametrize(("file_format", "dtype"), STORED, ids=str)
@pytest.mark.parametrize("how", LONGER)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_greys_stored_in_more_bits_are_what_they_were(bits: int, how: str, file_format: str, dtype: str) -> None:
    # No reference: transformers clips all of them at 255. The right value is the photo of 8 bits.
    data = io.BytesIO()
    longer = LONGER[how](EIGHT, bits)
    Image.fromarray(longer.astype(dtype)).save(data, file_format)
    expected = np.stack([EIGHT] * 3, axis=2)
    np.testing.assert_array_equal(np.asarray(load_image(data)), expected)
    np.testing.assert_array_equal(np.asarray(load_image(Image.fromarray(longer.astype(dtype)))), expected)


@pytest.mark.parametrize(
    ("highest", "expected"),
    [(1, 1), (255, 255), (256, 64), (1023, 255), (1024, 64), (4095, 255), (4096, 16), (16383, 63), (65535, 255)],
)
def test_the_largest_value_says_what_white_is(highest: int, expected: int) -> None:
    grey = np.array([[0, highest]])
    for dtype in (np.uint16, np.int32, np.float32):
        if (highest, dtype) != (1, np.float32):  # floats up to 1 are another kind
            assert np.asarray(load_image(Image.fromarray(grey.astype(dtype))))[0].tolist() == [[0] * 3, [expected] * 3]


@pytest.mark.parametrize(("dtype", "file_format"), [("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF")])
def test_sixteen_bits_keep_their_high_byte(dtype: str, file_format: str) -> None:
    data = io.BytesIO()
    Image.fromarray(SIXTEEN.astype(dtype)).save(data, file_format)
    assert Image.open(data).mode.startswith("I;16")
    assert np.asarray(load_image(data)).tolist() == np.stack([SIXTEEN // 256] * 3, axis=2).tolist()


def test_sixteen_bits_of_grey_are_as_bright_as_of_colour() -> None:
    # This is why greys keep the high byte, not v / 257.
    png = png_of_16_bits(np.stack([SIXTEEN] * 3, axis=2))
    np.testing.assert_array_equal(np.asarray(load_image(png)), np.asarray(load_image(Image.fromarray(SIXTEEN))))


COLOUR_FILES: dict[str, Callable[[np.ndarray], bytes]] = {
    "PNG": png_of_16_bits,
    "TIFF": tiff_of_16_bits,
    "big-endian TIFF": lambda colours: tiff_of_16_bits(colours, ">"),
    "compressed TIFF": lambda colours: tiff_of_16_bits(colours, compressed=True),
    "compressed big-endian TIFF": lambda colours: tiff_of_16_bits(colours, ">", compressed=True),
    "TIFF with alpha": lambda colours: tiff_of_16_bits(np.dstack([colours, np.full(colours.shape[:2], 65535)])),
}


@pytest.mark.parametrize("file", COLOUR_FILES)
@pytest.mark.parametrize("how", LONGER)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_colours_stored_in_16_bits_are_what_they_were(bits: int, how: str, file: str) -> None:
    colours = np.asarray(photo(21, 13)).astype(np.uint16)
    colours[0, 0] = 255
    found = load_image(COLOUR_FILES[file](LONGER[how](colours, bits)))
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), colours)


def test_dark_colours_of_16_bits_are_still_turned_upright() -> None:
    turned = bytearray(png_of_16_bits(np.asarray(photo(21, 13)).astype(np.uint16)))
    exif = EXIF_TURNED.removeprefix(b"Exif\0\0")
    turned[33:33] = png_chunk(b"eXIf", exif)  # after the header
    np.testing.assert_array_equal(np.asarray(load_image(bytes(turned))), np.asarray(photo(21, 13))[::-1, ::-1])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.25, 1.0]], np.float32), [0, 64, 255]),
        (np.array([[0.0, 1.0, 254.9]], np.float32), [0, 1, 254]),
        (np.array([[0.0, 511.0, 65535.0]], np.float32), [0, 1, 255]),
        (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
        (np.array([[0, 1, 1]], np.int32), [0, 1, 1]),
        (np.array([[0, 511, 65535]], np.int32), [0, 1, 255]),
    ],
)
def test_deep_greys_are_scaled_by_their_largest_value(values: np.ndarray, expected: list[int]) -> None:
    data = io.BytesIO()
    Image.fromarray(values).save(data, "TIFF")
    assert np.asarray(load_image(data))[0].tolist() == [[value] * 3 for value in expected]


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_images_of_16_bit_greys_in_either_order(mode: str) -> None:
    dtype = {"I;16B": ">u2", "I;16N": "=u2"}.get(mode, "<u2")
    image = Image.frombytes(mode, (4, 2), SIXTEEN.astype(dtype).tobytes())
    assert np.asarray(load_image(image)).tolist() == np.stack([SIXTEEN // 256] * 3, axis=2).tolist()
