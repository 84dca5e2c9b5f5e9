"""The answer that does not hang on Pillow's version: pixel values of transformers 4.57.6 with Pillow 11 and 12.

From Pillow 13 on, `Image.resize` chooses the order of its two passes by the sizes, so that the reference itself gives
another last bit for some tall photos. The hashes below were recorded with transformers' slow image processors, Pillow
11.3 and 12.0 (which agree), and must hold for every version of Pillow that is allowed.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline.inputs.images import ImageProcessor


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """RGB noise: every rounding of a filter shows in it."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


SIZES = [(640, 427), (427, 640), (300, 1999), (37, 1500), (1500, 37), (223, 225), (3, 200), (1, 1)]
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"image_processor_type": "ViTImageProcessor"},
    "vit lanczos": {"image_processor_type": "ViTImageProcessor", "resample": 1, "size": {"height": 90, "width": 61}},
    "vit box": {"image_processor_type": "ViTImageProcessor", "resample": 4, "size": {"height": 61, "width": 90}},
    "vit hamming": {"image_processor_type": "ViTImageProcessor", "resample": 5, "size": {"height": 60, "width": 60}},
    "vit nearest": {"image_processor_type": "ViTImageProcessor", "resample": 0, "size": {"height": 60, "width": 71}},
    "deit": {"image_processor_type": "DeiTImageProcessor"},
    "blip": {"image_processor_type": "BlipImageProcessor", "size": {"height": 96, "width": 96}},
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": 30, "crop_size": 28},
    "donut": {"image_processor_type": "DonutImageProcessor", "size": {"height": 70, "width": 50}},
}

# Of each processor, in the order of SIZES; "": too elongated for it.
RECORDED: dict[str, list[str]] = {
    "vit": [
        "2512421ad7ce",
        "1c8903edb2e2",
        "ef4c37fdffa1",
        "e3128ce8c55b",
        "40b843eeba44",
        "843bc0a85855",
        "ce4ae3454cb4",
        "3997aa55b034",
    ],
    "vit lanczos": [
        "d0172139a188",
        "148c4e917299",
        "5d4fbefebf86",
        "4eedd14d6ddb",
        "20e98741cdc9",
        "ae0dd1537eed",
        "37e878ee2e9d",
        "ee5195dd17b3",
    ],
    "vit box": [
        "4cb75e90d982",
        "5dc6d5d1c666",
        "6c3de885bb5f",
        "ef590e5cb33e",
        "c40ac8a4af44",
        "bec8367c53aa",
        "0923db57939b",
        "ee5195dd17b3",
    ],
    "vit hamming": [
        "a888dd09e049",
        "ee7e07055aab",
        "08b72a72a52b",
        "005f59845112",
        "16e105c05573",
        "88ac56cfbb0d",
        "d5e763e26134",
        "d33385263b58",
    ],
    "vit nearest": [
        "9fa0f4cea644",
        "86840ecc3292",
        "7937fbb23ffc",
        "45858ed1484a",
        "30fcbf033b8c",
        "e268483997d3",
        "67c7ee604e8b",
        "d2072e0704ca",
    ],
    "deit": [
        "f3e79b4537bd",
        "b75625ffec1b",
        "6af0b422437b",
        "8affa8f4a80e",
        "0cf6bb9bb051",
        "0d4ff6a6cf4d",
        "27419de72ac9",
        "3997aa55b034",
    ],
    "blip": [
        "9daf64dfe54f",
        "469148a6651f",
        "880cadb9f5b7",
        "f05fc5eb0c0d",
        "96b73f04ecca",
        "16cff6638dc8",
        "f87e58d4e77f",
        "2dc800626c24",
    ],
    "clip": [
        "16018fc572f4",
        "c219ec3f15d0",
        "5e130c21e668",
        "dff814f632e5",
        "fdd4be0a6c06",
        "6c5cc768b8dd",
        "cf9f3a85505d",
        "73065e67e3ad",
    ],
    "donut": [
        "51a59fcba0b2",
        "bdfdfa1dd77f",
        "06383b111414",
        "1148521539b0",
        "06a67117550b",
        "2e3fa08744e6",
        "f23ae7351b09",
        "982a2ce250de",
    ],
}


def digest(pixel_values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixel_values, np.float32).tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixel_values_are_the_recorded_ones(name: str) -> None:
    processor = ImageProcessor.from_config(PROCESSORS[name], "preprocessor_config.json")
    found = []
    for number, size in enumerate(SIZES):
        elongated = RECORDED[name][number] == ""
        found.append("" if elongated else digest(processor([photo(*size, seed=number)])))
    assert found == RECORDED[name]


def test_a_tall_photo_is_resized_along_its_rows_first() -> None:
    image = photo(300, 1999)
    rows_first = image.resize((224, 1999), Image.Resampling.BILINEAR).resize((224, 224), Image.Resampling.BILINEAR)
    config = {"image_processor_type": "ViTImageProcessor", "do_rescale": False, "do_normalize": False}
    found = ImageProcessor.from_config(config, "x")([image])[0]
    np.testing.assert_array_equal(found, np.asarray(rows_first).transpose(2, 0, 1))
