"""`load_image` and `ImageProcessor` against those of transformers, bit for bit: odd photos, files, all settings."""

from __future__ import annotations

import importlib
import io
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import skimage.data
import transformers
from PIL import Image, ImageFile
from transformers.image_utils import load_image as reference_load_image

from fuseline.inputs.images import ImageProcessor, load_image

PROCESSORS = (
    "ViTImageProcessor",
    "DeiTImageProcessor",
    "BeitImageProcessor",
    "BlipImageProcessor",
    "CLIPImageProcessor",
    "BitImageProcessor",
    "ViTHybridImageProcessor",
    "SiglipImageProcessor",
    "PvtImageProcessor",
    "LevitImageProcessor",
    "ConvNextImageProcessor",
)
EDGES = ("CLIPImageProcessor", "BitImageProcessor", "LevitImageProcessor", "ConvNextImageProcessor")  # shortest ones
FILTERS = [Image.Resampling(number) for number in range(6)]  # Pillow 13 has more
SMALL = {"size": {"height": 20, "width": 31}, "crop_size": 24}
# ConvNext's makes a larger photo first, so that what it cuts off is an eighth; it knows no height and width.
SMALL_OF = {"ConvNextImageProcessor": {"size": {"shortest_edge": 24}}}


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """RGB noise: every rounding of a filter shows in it."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@contextmanager
def rows_first() -> Iterator[None]:
    """Lets Pillow resize along the rows first whatever its version, as it does up to 12."""
    in_one = Image.Image.resize

    def resize(
        image: Image.Image, size: Any, resample: Any = None, box: Any = None, reducing_gap: Any = None
    ) -> Image.Image:
        if resample == Image.Resampling.NEAREST:
            return in_one(image, size, resample)
        box = (0, 0, *image.size)
        if reducing_gap is not None:
            factors = tuple(int(image.size[n] / size[n] / reducing_gap) or 1 for n in (0, 1))
            box = (0, 0, image.width / factors[0], image.height / factors[1])
            image = image.reduce(factors)
        image = in_one(image, (size[0], image.height), resample, (0, 0, box[2], image.height))
        return in_one(image, (size[0], size[1]), resample, (0, 0, size[0], box[3]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", resize)
        yield


def of_transformers(name: str) -> Any:
    """The class of that name; ViTHybridImageProcessor is one that transformers no longer shows."""
    hidden = "transformers.models.deprecated.vit_hybrid.image_processing_vit_hybrid"
    return getattr(transformers, name, None) or getattr(importlib.import_module(hidden), name)


def reference(name: str, config: Mapping[str, Any], images: list[Image.Image]) -> np.ndarray:
    """The pixel values of transformers, which must be told the layout: else 1 or 3 rows are taken for channels."""
    processor = of_transformers(name).from_dict(dict(config))
    with rows_first():
        batch = processor.preprocess(images, input_data_format="channels_last", return_tensors="np")
    return np.asarray(batch["pixel_values"])


def assert_same_bits(name: str, config: Mapping[str, Any], images: list[Image.Image]) -> None:
    expected = reference(name, config, images)
    found = ImageProcessor.from_config({"image_processor_type": name, **config}, "preprocessor_config.json")(images)
    assert found.dtype == np.float32
    assert expected.dtype == np.float32 or not (config["do_rescale"] or config["do_normalize"])
    np.testing.assert_array_equal(found, expected, strict=expected.dtype == np.float32)


ODD_SIZES = [(1, 1), (1, 2), (3, 3), (3, 1), (7, 3), (37, 53), (223, 225), (224, 224), (384, 384), (640, 427)]


@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_defaults_on_odd_sizes(name: str, size: tuple[int, int]) -> None:
    assert_same_bits(name, {}, [photo(*size)])


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)], ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_very_long_photos(name: str, size: tuple[int, int]) -> None:
    # CLIP's and others keep the proportions: an edge of 16 makes 16 x 80,000 of them.
    config: dict[str, Any] = {"size": 16, "crop_size": 40} if name in (*EDGES, "ViTHybridImageProcessor") else {}
    assert_same_bits(name, config, [photo(*size)])


@pytest.mark.parametrize("scene", ["astronaut", "coffee", "chelsea", "rocket"])
@pytest.mark.parametrize("name", PROCESSORS)
def test_real_photos_as_transformers_is_usually_called(name: str, scene: str) -> None:
    image = Image.fromarray(getattr(skimage.data, scene)())
    with rows_first():
        expected = of_transformers(name)()(image, return_tensors="np")["pixel_values"]
    found = ImageProcessor.from_config({"image_processor_type": name}, "preprocessor_config.json")([image])
    np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("size", [(64, 48), (11, 13)], ids=["smaller", "larger"])
@pytest.mark.parametrize("resample", FILTERS, ids=lambda resample: resample.name)
@pytest.mark.parametrize("name", PROCESSORS)
def test_every_filter(name: str, resample: Image.Resampling, size: tuple[int, int]) -> None:
    assert_same_bits(name, {**SMALL, **SMALL_OF.get(name, {}), "resample": int(resample)}, [photo(*size)])


@pytest.mark.parametrize("off", range(8), ids=lambda off: f"{off:03b}")
@pytest.mark.parametrize("name", PROCESSORS)
def test_every_combination_of_switches(name: str, off: int) -> None:
    switches = {key: not off >> bit & 1 for bit, key in enumerate(("do_resize", "do_rescale", "do_normalize"))}
    assert_same_bits(name, {**SMALL, **SMALL_OF.get(name, {}), **switches}, [photo(41, 27)])


@pytest.mark.parametrize("crop", [1, 24, 25, 60, {"height": 60, "width": 9}, {"height": 9, "width": 60}, None], ids=str)
@pytest.mark.parametrize("size", [(41, 26), (40, 27)], ids=str)
@pytest.mark.parametrize(
    "name", ["DeiTImageProcessor", "BeitImageProcessor", "CLIPImageProcessor", "LevitImageProcessor"]
)
def test_crops_smaller_and_larger_than_the_photo(name: str, size: tuple[int, int], crop: Any) -> None:
    config = {"do_resize": False, "do_center_crop": crop is not None, **({"crop_size": crop} if crop else {})}
    assert_same_bits(name, config, [photo(*size)])


CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("ViTImageProcessor", {"size": 30}),
    ("ViTImageProcessor", {"size": [30, 17]}),
    ("BlipImageProcessor", {"size": 30}),
    ("CLIPImageProcessor", {"size": 30, "crop_size": 28}),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 31}, "do_center_crop": False}),
    ("CLIPImageProcessor", {"size": {"height": 30, "width": 17}, "crop_size": {"height": 15, "width": 18}}),
    ("CLIPImageProcessor", {"size": [30, 17]}),
    ("BitImageProcessor", {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}),  # DINOv2
    ("SiglipImageProcessor", {"size": {"height": 38, "width": 38}, "resample": 2}),
    ("LevitImageProcessor", {"size": 30, "crop_size": 28}),
    ("LevitImageProcessor", {"size": {"shortest_edge": 31}, "do_center_crop": False}),
    ("LevitImageProcessor", {"size": {"height": 30, "width": 17}, "crop_size": [15, 18]}),
    ("PvtImageProcessor", {"size": [30, 17]}),
    ("ConvNextImageProcessor", {"size": 30}),
    ("ConvNextImageProcessor", {"size": 224, "crop_pct": 0.95}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 30}, "crop_pct": 1.3}),  # smaller than what it cuts out
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 383}, "crop_pct": None}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "crop_pct": 0.5}),  # whole from here on
    ("ConvNextImageProcessor", {"do_resize": False, "size": 30}),
    ("ViTImageProcessor", {"do_resize": None, "size": {"height": 30, "width": 17}}),  # off, as in transformers
    ("ViTImageProcessor", {"size": None, "resample": 3, "image_mean": None, "crop_size": None}),
    (
        "ViTImageProcessor",  # what other versions and classes leave behind
        {"data_format": "channels_first", "input_data_format": None, "device": "cpu", "return_tensors": "pt"}
        | {"default_to_square": True, "disable_grouping": None, "do_convert_rgb": None, "crop_pct": 0.9}
        | {"_valid_processor_keys": ["images", "size"], "processor_class": "TrOCRProcessor", "patch_size": 16},
    ),
    ("ViTImageProcessor", {"rescale_factor": 1 / 127.5}),
    ("ViTImageProcessor", {"rescale_factor": 0.00392156862745098}),
    ("ViTImageProcessor", {"rescale_factor": 2}),
    ("ViTImageProcessor", {"image_mean": 0.3, "image_std": 0.7}),
    ("ViTImageProcessor", {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
    ("ViTImageProcessor", {"do_rescale": False, "image_mean": [123.7, 116.28, 103.53], "image_std": [58.4, 57.1, 57]}),
    ("BeitImageProcessor", {"do_reduce_labels": True, "do_center_crop": False}),
    ("ViTImageProcessor", {"do_convert_rgb": True, "do_pad": None, "do_normalize": None, "processor_class": "X"}),
    (
        "ViTImageProcessor",
        {"size": {"height": 256, "width": 256}, "resample": 3, "do_rescale": False}
        | {"image_mean": [127, 127, 127], "image_std": [128, 128, 128]},
    ),
]


@pytest.mark.parametrize(("name", "config"), CONFIGS, ids=str)
@pytest.mark.parametrize("size", [(53, 40), (29, 61)], ids=str)
def test_other_settings(name: str, config: dict[str, Any], size: tuple[int, int]) -> None:
    assert_same_bits(name, config, [photo(*size)])


def test_every_pixel_value_of_every_channel() -> None:
    every = Image.fromarray(np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=2))
    for name in PROCESSORS:
        assert_same_bits(name, {"do_resize": False, "do_center_crop": False}, [every])


def test_a_batch_is_its_photos_in_order() -> None:
    images = [photo(50, 40, 1), photo(1, 300, 2), photo(224, 224, 3)]
    assert_same_bits("ViTImageProcessor", {}, images)


@pytest.mark.parametrize(
    "config",
    [
        {"feature_extractor_type": "ViTFeatureExtractor"},
        {"image_processor_type": "ViTFeatureExtractor"},
        {"image_processor_type": "ViTImageProcessorFast", "do_center_crop": None, "crop_size": None, "device": None},
        {"image_processor_type": "ViTImageProcessorFast", "do_resize": None, "size": None, "resample": None},
        {"image_processor_type": "ViTImageProcessorPil"},
        {"image_processor_type": None, "feature_extractor_type": "ViTFeatureExtractor", "processor_class": "TrOCR"},
    ],
    ids=str,
)
def test_other_names_of_a_processor(config: dict[str, Any]) -> None:
    image = photo(31, 44)
    expected = reference("ViTImageProcessor", {}, [image])
    np.testing.assert_array_equal(ImageProcessor.from_config(config, "x")([image]), expected, strict=True)


# --- files ---


# Little-endian EXIF data with one tag: Orientation = 3.
EXIF_TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"


def _noise(mode: str, width: int = 30, height: int = 20) -> Image.Image:
    return photo(width, height, 5).convert(mode)


def _palette_with_transparency() -> Image.Image:
    image = _noise("P")
    image.info["transparency"] = bytes(range(256))
    return image


def _animation() -> Image.Image:
    return Image.new("RGB", (8, 6), (200, 10, 30))


FILES: list[tuple[str, str, Callable[[], Image.Image], dict[str, Any]]] = [
    ("rgb.png", "PNG", lambda: _noise("RGB"), {}),
    ("rgb.jpg", "JPEG", lambda: _noise("RGB"), {"quality": 71}),
    ("progressive.jpg", "JPEG", lambda: _noise("RGB"), {"progressive": True}),
    ("grey.jpg", "JPEG", lambda: _noise("L"), {}),
    ("cmyk.jpg", "JPEG", lambda: _noise("CMYK"), {}),
    ("cmyk.tif", "TIFF", lambda: _noise("CMYK"), {}),
    ("ycbcr.tif", "TIFF", lambda: _noise("YCbCr"), {}),
    ("grey.png", "PNG", lambda: _noise("L"), {}),
    ("grey_transparent.png", "PNG", lambda: _noise("L"), {"transparency": 7}),
    ("rgb_transparent.png", "PNG", lambda: _noise("RGB"), {"transparency": (1, 2, 3)}),
    ("grey_alpha.png", "PNG", lambda: _noise("LA"), {}),
    ("rgba.png", "PNG", lambda: Image.merge("RGBA", [*_noise("RGB").split(), _noise("L")]), {}),
    ("rgba.webp", "WEBP", lambda: Image.merge("RGBA", [*_noise("RGB").split(), _noise("L")]), {"lossless": True}),
    ("palette.png", "PNG", lambda: _noise("P"), {}),
    ("palette_one_transparent.png", "PNG", lambda: _noise("P"), {"transparency": 3}),
    ("palette_transparent.png", "PNG", _palette_with_transparency, {}),
    ("palette.gif", "GIF", lambda: _noise("P"), {}),
    ("one_bit.png", "PNG", lambda: _noise("1"), {}),
    ("one_bit.tif", "TIFF", lambda: _noise("1"), {"compression": "group4"}),
    ("animation.gif", "GIF", _animation, {"save_all": True, "append_images": [Image.new("RGB", (8, 6), "blue")]}),
    ("animation.webp", "WEBP", _animation, {"save_all": True, "append_images": [Image.new("RGB", (8, 6), "blue")]}),
    ("pages.tif", "TIFF", _animation, {"save_all": True, "append_images": [Image.new("RGB", (9, 9), "blue")]}),
    ("two.mpo", "MPO", lambda: _noise("RGB"), {"save_all": True, "append_images": [Image.new("RGB", (30, 20))]}),
    ("rgb.bmp", "BMP", lambda: _noise("RGB"), {}),
    ("rgb.ppm", "PPM", lambda: _noise("RGB"), {}),
    ("rgb.avif", "AVIF", lambda: _noise("RGB"), {}),
    ("rgb.jp2", "JPEG2000", lambda: _noise("RGB"), {}),
    ("lzw.tif", "TIFF", lambda: _noise("RGB"), {"compression": "tiff_lzw"}),
    ("floats_to_255.tif", "TIFF", lambda: _noise("F"), {}),
    ("one_pixel.png", "PNG", lambda: _noise("RGB", 1, 1), {}),
    ("wide.png", "PNG", lambda: _noise("RGB", 5000, 1), {}),
    ("tall.jpg", "JPEG", lambda: _noise("RGB", 1, 5000), {}),
    ("upside_down.jpg", "JPEG", lambda: _noise("RGB"), {"exif": EXIF_TURNED}),
]


@pytest.mark.parametrize(("name", "file_format", "make", "options"), FILES, ids=[case[0] for case in FILES])
def test_files_open_as_in_transformers(
    tmp_path: pathlib.Path, name: str, file_format: str, make: Callable[[], Image.Image], options: dict[str, Any]
) -> None:
    path = tmp_path / name
    make().save(path, file_format, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of palettes with transparency
        expected = reference_load_image(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*it has . pages")
        found = load_image(path)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_the_first_frame_is_taken(tmp_path: pathlib.Path) -> None:
    for name in ("animation.gif", "animation.png"):
        frames = [Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 255, 0))]
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert load_image(tmp_path / name).getpixel((0, 0)) == (255, 0, 0)


def test_alpha_is_dropped_not_blended() -> None:
    assert load_image(Image.new("RGBA", (1, 1), (10, 20, 30, 0))).getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation: int, file_format: str) -> None:
    # What a viewer must do for each value of the tag, in numpy's words.
    turns: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, tagged = io.BytesIO(), io.BytesIO()
    _noise("RGB").save(plain, file_format)
    _noise("RGB").save(tagged, file_format, exif=exif)
    expected = turns[orientation](np.asarray(load_image(plain)))
    np.testing.assert_array_equal(np.asarray(load_image(tagged)), expected)


def test_damaged_exif_does_not_cost_the_photo() -> None:
    data = io.BytesIO()
    _noise("RGB").save(data, "PNG", exif=b"Exif\0\0no tags at all")
    with pytest.raises(SyntaxError):  # the case is real: Pillow's own way stumbles over it
        Image.open(data).getexif()
    np.testing.assert_array_equal(np.asarray(load_image(data)), np.asarray(_noise("RGB")))


# --- the other forms of a source ---


class _Pipe(io.RawIOBase):
    """A stream that can be read once, as standard input is."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


def test_every_form_of_source_gives_the_same_photo(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "photo é.png"
    _noise("RGB").save(path)
    data = path.read_bytes()
    rewound = io.BytesIO(data)
    rewound.seek(99)
    with open(path, "rb") as file, Image.open(path) as lazy:
        sources: list[Any] = [str(path), path, data, bytearray(data), memoryview(data), file, rewound]
        for source in [*sources, _Pipe(data), lazy, np.asarray(_noise("RGB"))]:
            np.testing.assert_array_equal(np.asarray(load_image(source)), np.asarray(_noise("RGB")))
        assert not file.closed


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_floats(dtype: type) -> None:
    eighths = np.arange(256).reshape(16, 16)
    found = np.asarray(load_image((eighths / 255).astype(dtype)))
    assert np.array_equal(found, np.stack([eighths] * 3, axis=2))


def test_arrays_of_every_shape() -> None:
    colour = np.asarray(_noise("RGB"))
    grey = colour[:, :, 0]
    alpha = np.dstack([colour, grey])
    greys = np.stack([grey] * 3, axis=2)
    for array, expected in [(colour, colour), (alpha, colour), (grey, greys), (grey[:, :, None], greys)]:
        assert np.array_equal(np.asarray(load_image(array)), expected)
    mirrored = colour[::-1, ::2]  # not contiguous
    assert np.array_equal(np.asarray(load_image(mirrored)), mirrored)


def _of_mode(mode: str) -> Image.Image:
    """Noise in each band, alpha too."""
    bands = Image.new(mode, (1, 1)).getbands()
    if mode == "PA":
        return _of_mode("LA").convert("PA")
    return Image.merge(mode, [photo(30, 20, seed).convert("L") for seed, _ in enumerate(bands)])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "P", "PA", "1"])
def test_images_of_every_mode_are_those_of_transformers(mode: str) -> None:
    image = _noise(mode) if mode in ("P", "1") else _of_mode(mode)
    np.testing.assert_array_equal(np.asarray(load_image(image)), np.asarray(reference_load_image(image)))


def test_the_callers_image_is_left_as_it_was() -> None:
    image = _palette_with_transparency()
    before = image.tobytes()
    load_image(image)
    assert image.mode == "P"
    assert image.info["transparency"] == bytes(range(256))
    assert image.tobytes() == before


def test_threads_and_globals() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for number, file_format in enumerate(["JPEG", "PNG", "WEBP", "TIFF", "GIF"]):
        data = io.BytesIO()
        photo(90 + number, 70, number).save(data, file_format, exif=exif)
        files.append(data.getvalue())
    processor = ImageProcessor.from_config({"image_processor_type": "ViTImageProcessor", "size": 32}, "x")
    expected = [processor([load_image(data)]) for data in files]
    state = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: processor([load_image(data)]), files * 20))
    for number, pixel_values in enumerate(found):
        np.testing.assert_array_equal(pixel_values, expected[number % len(files)])
    assert state == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
