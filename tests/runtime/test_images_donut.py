"""How pages are fitted into Donut's frame, against DonutImageProcessor of transformers, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline.errors import FolderError, InputError
from fuseline.inputs.images import ImageProcessor
from tests.runtime.test_images import photo, reference

SIZES = [(1, 1), (3, 3), (64, 48), (48, 64), (37, 53), (53, 37), (200, 90), (90, 200), (31, 130)]
FRAMES: dict[str, dict[str, Any]] = {
    "upright": {"size": {"height": 64, "width": 48}},
    "lying": {"size": {"height": 40, "width": 61}},
    "square": {"size": {"height": 50, "width": 50}},
    "turned": {"size": {"height": 64, "width": 48}, "do_align_long_axis": True},
    "turned to lie": {"size": {"height": 40, "width": 61}, "do_align_long_axis": True},
    "width and height": {"size": [48, 64]},
    "not surrounded": {"size": {"height": 64, "width": 48}, "do_pad": False},
    "bicubic": {"size": {"height": 64, "width": 48}, "resample": 3},
    "raw": {"size": {"height": 64, "width": 48}, "do_normalize": False, "do_rescale": False},
}


def found(config: dict[str, Any], image: Image.Image) -> np.ndarray:
    config = {"image_processor_type": "DonutImageProcessor", **config}
    return ImageProcessor.from_config(config, "preprocessor_config.json")([image])


@pytest.mark.parametrize("frame", FRAMES)
def test_every_frame_and_page(frame: str) -> None:
    for number, size in enumerate(SIZES):
        image = photo(*size, seed=number)
        expected = reference("DonutImageProcessor", FRAMES[frame], [image])
        np.testing.assert_array_equal(found(FRAMES[frame], image), expected)


@pytest.mark.parametrize("size", [(20, 30), (47, 64), (70, 90), (90, 70)], ids=str)
def test_pages_that_keep_their_scale(size: tuple[int, int]) -> None:
    config = {"size": {"height": 64, "width": 64}, "do_resize": False}
    np.testing.assert_array_equal(found(config, photo(*size)), reference("DonutImageProcessor", config, [photo(*size)]))


def test_the_frame_is_large_where_the_configuration_is_silent() -> None:
    np.testing.assert_array_equal(found({}, photo(300, 400)), reference("DonutImageProcessor", {}, [photo(300, 400)]))


def test_the_feature_extractor_before_it_is_read() -> None:
    config = {"feature_extractor_type": "DonutFeatureExtractor", "size": [48, 64]}
    assert ImageProcessor.from_config(config, "x")([photo(9, 9)]).shape == (1, 3, 64, 48)


def test_what_fits_no_frame_is_refused() -> None:
    frame = {"size": {"height": 64, "width": 48}}
    with pytest.raises(InputError, match="90 x 70 pixels is larger than this model's 48 x 64"):
        found({**frame, "do_resize": False, "do_thumbnail": False}, photo(90, 70))
    with pytest.raises(InputError, match="too elongated"):
        found(frame, photo(1, 5_000_000))
    with pytest.raises(FolderError, match='must be {"height": ..., "width": ...}'):
        found({"size": [48, "64"]}, photo(9, 9))
    with pytest.raises(FolderError, match="do_center_crop is not known of DonutImageProcessor"):
        found({"do_center_crop": True}, photo(9, 9))
