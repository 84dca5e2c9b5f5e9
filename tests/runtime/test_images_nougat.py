"""How Nougat's processor cuts off a page's margin before it fits the page into its frame, against transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fuseline.errors import FolderError, InputError
from fuseline.inputs.images import ImageProcessor
from tests.runtime.test_images import photo, reference
from tests.runtime.test_images_donut import FRAMES, SIZES

SMALL = {"size": {"height": 64, "width": 48}}


def found(config: dict[str, Any], image: Image.Image) -> np.ndarray:
    config = {"image_processor_type": "NougatImageProcessor", **config}
    return ImageProcessor.from_config(config, "preprocessor_config.json")([image])


def assert_same_bits(config: dict[str, Any], image: Image.Image) -> None:
    np.testing.assert_array_equal(found(config, image), reference("NougatImageProcessor", config, [image]))


def page(paper: Any, ink: Any, *boxes: tuple[int, int, int, int]) -> Image.Image:
    """With print in these boxes: left, upper, right and lower edge, the last two within."""
    image = Image.new("RGB", (90, 120), paper)
    for box in boxes:
        ImageDraw.Draw(image).rectangle(box, fill=ink)
    return image


PAGES: dict[str, Image.Image] = {
    "print in the middle": page("white", "black", (30, 40, 60, 70)),
    "print in two places": page("white", "black", (5, 40, 9, 41), (70, 90, 80, 100)),
    "one dot": page("white", "black", (17, 23, 17, 23)),
    "print up to the edges": page("white", "black", (0, 0, 89, 119)),
    "print at the edges": page("white", "black", (0, 60, 0, 60), (89, 3, 89, 3), (4, 0, 4, 0), (4, 119, 4, 119)),
    "of one colour": page((200, 30, 7), "black"),
    "black": page("black", "black"),
    "faint": page((255, 255, 255), (254, 254, 254), (20, 20, 40, 90)),  # its greys are stretched first
    "dark paper": page((30, 30, 30), (250, 250, 250), (20, 20, 40, 90)),  # the paper counts as print
    "coloured": page((255, 250, 240), (0, 90, 200), (20, 20, 40, 90)),
    "below the threshold": page("white", "black", (30, 40, 31, 41)),
    "lying": page("white", "black", (30, 40, 60, 70)).transpose(Image.Transpose.ROTATE_90),
}


@pytest.mark.parametrize("name", PAGES)
def test_margins(name: str) -> None:
    assert_same_bits(SMALL, PAGES[name])
    assert_same_bits({**SMALL, "do_align_long_axis": True}, PAGES[name])


@pytest.mark.parametrize("low", [0, 1, 54, 100, 253])
@pytest.mark.parametrize("high", [255, 254, 200])
def test_every_grey_beside_the_threshold(low: int, high: int) -> None:
    """What counts as print is decided in floating point: each grey stands alone on a page of the lightest one."""
    for grey in range(low, high + 1, 3):
        image = page((high,) * 3, (low,) * 3, (10, 10, 12, 12))
        image.putpixel((70, 110), (grey,) * 3)
        assert_same_bits({**SMALL, "do_resize": False, "do_thumbnail": False, "do_pad": False}, image)


@pytest.mark.parametrize("frame", FRAMES)
def test_every_frame_and_page(frame: str) -> None:
    for number, size in enumerate(SIZES):
        assert_same_bits(FRAMES[frame], photo(*size, seed=number))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_defaults(size: tuple[int, int]) -> None:
    assert_same_bits({}, photo(*size))


@pytest.mark.parametrize("off", range(16), ids=lambda off: f"{off:04b}")
def test_every_combination_of_switches(off: int) -> None:
    keys = ("do_crop_margin", "do_resize", "do_thumbnail", "do_pad")
    switches = {key: not off >> bit & 1 for bit, key in enumerate(keys)}
    small = page("white", "black", (30, 40, 50, 60)).crop((10, 20, 55, 80))  # fits the frame as it is
    assert_same_bits({**SMALL, **switches}, small)


def test_as_it_is_usually_called() -> None:
    from transformers import NougatImageProcessor

    page = PAGES["print in two places"]
    expected = NougatImageProcessor(**SMALL)(page, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(found(SMALL, page), expected, strict=True)


def test_what_fits_no_frame_is_refused() -> None:
    with pytest.raises(InputError, match="is larger than this model's 48 x 64"):
        found({**SMALL, "do_resize": False, "do_thumbnail": False}, photo(90, 70))
    with pytest.raises(FolderError, match="do_crop_margin is not known of DonutImageProcessor"):
        ImageProcessor.from_config({"image_processor_type": "DonutImageProcessor", "do_crop_margin": True}, "x")
