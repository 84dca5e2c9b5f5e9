"""Photos in embedded graphs: Resize, crop and normalisation beside the image processors, whose passes are Pillow's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from PIL import Image

from fuseline.export.embedding.nodes import Nodes, Value
from fuseline.export.embedding.photo import pixel_values
from fuseline.export.graphs.weights_file import WeightsFile
from fuseline.images import ImageProcessor

SIZES = [(64, 64), (97, 140), (140, 97), (333, 200), (200, 333), (40, 700), (700, 40), (31, 20), (480, 640), (640, 480)]


def _processor(**fields: Any) -> ImageProcessor:
    made: dict[str, Any] = {
        "size": (64, 64),
        "resample": Image.Resampling.BICUBIC,
        "crop": None,
        "rescale_factor": 1 / 255,
        "mean_std": ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    }
    return ImageProcessor(**made | fields)


def _photo(height: int, width: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth areas, edges and noise."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), np.uint8)
    whole = Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)
    noisy = np.asarray(whole).astype(int) + draw.integers(-25, 26, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[ImageProcessor, Any], Any]:
    """The pixel_values of an image in a graph of nothing else."""

    def run(processor: ImageProcessor, image: Any) -> Any:
        with WeightsFile(tmp_path / "weights") as outside:
            g = Nodes.new("photo", 20, outside)
            values = pixel_values(g, g.input("image", TensorProto.UINT8, None), processor)
            g.give(values, "pixel_values", Value(TensorProto.FLOAT, ["B", 3, "height", "width"]))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # some runs are to fail
        session = onnxruntime.InferenceSession(g.model.SerializeToString(), options)
        return session.run(None, {"image": image})[0]

    return run


PROCESSORS = {
    "bicubic": _processor(),
    "bilinear": _processor(resample=Image.Resampling.BILINEAR),
    "box": _processor(resample=Image.Resampling.BOX),
    "hamming": _processor(resample=Image.Resampling.HAMMING),
    "lanczos": _processor(resample=Image.Resampling.LANCZOS),
    "nearest": _processor(resample=Image.Resampling.NEAREST),
    "shortest edge, cropped": _processor(size=70, crop=(64, 64)),
    "shortest edge": _processor(size=48),
    "smaller than its crop": _processor(size=(33, 40), crop=(64, 65)),
    "not resized": _processor(size=None, mean_std=None),
    "neither rescaled nor resized": _processor(size=None, rescale_factor=None),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_within_one_of_the_processors(name: str, run: Callable[..., Any]) -> None:
    """Landscape and portrait; all but a few pixels are the same."""
    processor = PROCESSORS[name]
    step = np.diff(processor.pixel_table(), axis=1).max(axis=1).reshape(3, 1, 1)  # what one of 255 becomes
    for seed, (height, width) in enumerate(SIZES):
        photo = _photo(height, width, seed)
        expected = processor([Image.fromarray(photo)])
        found = run(processor, photo)
        assert found.shape == expected.shape
        apart = np.abs(found - expected)
        assert (apart <= step * 1.001).all(), (height, width, (apart / step).max())
        assert (apart > step * 1e-3).mean() < 2e-3


_FRAME = {"size": {"height": 64, "width": 48}}
FRAMES: dict[str, dict[str, Any]] = {
    "upright": _FRAME,
    "lying": {"size": {"height": 40, "width": 61}},
    "square": {"size": {"height": 50, "width": 50}},
    "turned": {**_FRAME, "do_align_long_axis": True},
    "turned to lie": {"size": {"height": 40, "width": 61}, "do_align_long_axis": True},
    "not surrounded": {**_FRAME, "do_pad": False},
    "bicubic": {**_FRAME, "resample": 3},
    "not scaled": {"size": {"height": 300, "width": 300}, "do_resize": False},
    "raw": {**_FRAME, "do_normalize": False, "do_rescale": False},
}
PAGES = [(64, 48), (48, 64), (53, 37), (97, 140), (200, 90), (90, 200), (333, 240), (640, 480), (301, 301)]


def _framing(kind: str, **config: Any) -> ImageProcessor:
    return ImageProcessor.from_config({"image_processor_type": kind, **config}, "preprocessor_config.json")


@pytest.mark.parametrize("kind", ["DonutImageProcessor", "NougatImageProcessor"])
@pytest.mark.parametrize("name", FRAMES)
def test_pages_in_frames_are_those_of_the_processors(name: str, kind: str, run: Callable[..., Any]) -> None:
    """Of Nougat's the print lies anywhere on a page."""
    processor = _framing(kind, **FRAMES[name])
    step = np.diff(processor.pixel_table(), axis=1).max(axis=1).reshape(3, 1, 1)
    for seed, (height, width) in enumerate(PAGES):
        page = np.full((height, width, 3), 255, np.uint8)
        page[seed:, 2 * seed :] = _photo(height, width, seed)[seed:, 2 * seed :]
        expected = processor([Image.fromarray(page)])
        found = run(processor, page)
        assert found.shape == expected.shape
        apart = np.abs(found - expected)
        assert (apart <= step * 1e-3).all(), (height, width, (apart / step).max())


def test_a_page_without_print_is_left_as_it_is(run: Callable[..., Any]) -> None:
    processor = _framing("NougatImageProcessor", **_FRAME)
    page = np.full((90, 70, 3), 255, np.uint8)
    np.testing.assert_allclose(run(processor, page), processor([Image.fromarray(page)]), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "shape", "config", "rule"),
    [
        ("DonutImageProcessor", (40, 700, 3), {}, "image is too elongated for this model"),
        ("DonutImageProcessor", (1, 3000, 3), {}, "image is too elongated for this model"),
        ("DonutImageProcessor", (1, 30_000, 3), {"size": {"height": 2560, "width": 1920}}, "image is too elongated"),
        ("DonutImageProcessor", (90, 70, 3), {"do_resize": False, "do_thumbnail": False}, "no larger than 48 x 64"),
        ("NougatImageProcessor", (2, 90, 70, 3), {}, "this model reads one image at a time"),
    ],
)
def test_pages_that_fit_no_frame_are_refused(
    kind: str, shape: tuple[int, ...], config: dict[str, Any], rule: str, run: Callable[..., Any]
) -> None:
    """By a node of that name."""
    with pytest.raises(Exception, match=rule):
        run(_framing(kind, **_FRAME | config), np.zeros(shape, np.uint8))


def test_photos_of_one_size_are_a_batch(run: Callable[..., Any]) -> None:
    """Each is what it is alone."""
    photos = np.stack([_photo(50, 80, seed) for seed in range(3)])
    together = run(_processor(), photos)
    assert np.array_equal(together, np.concatenate([run(_processor(), photo) for photo in photos]))


@pytest.mark.parametrize(
    "shape", [(40, 40), (40, 40, 4), (41, 40, 1), (3, 40, 60), (1, 3, 60, 60), (3, 40, 60, 4), (1, 1, 9, 9, 3)]
)
def test_other_shapes_are_refused_by_what_an_image_must_be(shape: tuple[int, ...], run: Callable[..., Any]) -> None:
    """onnxruntime names the node, which is called by the rule."""
    with pytest.raises(Exception, match=r"image must be uint8\[height, width, 3\]"):
        run(_processor(), np.zeros(shape, np.uint8))
