"""Large photos are made smaller while they are read, to twice what the processor needs, and look the same then."""

from __future__ import annotations

import importlib
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from PIL import Image

from fuseline import Model, pipeline
from fuseline.ensembles import ensemble
from fuseline.errors import FolderError, InputError
from fuseline.inputs import resizing
from fuseline.inputs.images import ImageProcessor, PhotoFile, load_image, read_photo
from fuseline.inputs.photos.orientation import ORIENTATION, SIDEWAYS, TURNS
from fuseline.inputs.photos.scaled import ScaledPhoto
from fuseline.migrating.copied_calls import PIPELINE, SPEECH, TEXT, settle
from tests import tiny
from tests.runtime.test_cli import program

VIT: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": {"height": 60, "width": 80}, "resample": 3}
RAW = {"do_rescale": False, "do_normalize": False}  # so that a difference is one of pixels, 0 to 255

# The bounds of what may differ, in levels of 255: libjpeg's averages over whole pixels stand in for a wider filter.
# Measured on the photos below: at most 1.2 in the mean and 26 anywhere. A shift by half a pixel of the result makes 7.2
# of the mean.
MEAN, MOST = 1.5, 40


def processor(**config: Any) -> ImageProcessor:
    return ImageProcessor.from_config({**VIT, **RAW, "fuseline_fast": True, **config}, "preprocessor_config.json")


def scene(width: int, height: int) -> Image.Image:
    """A photo without symmetry, with edges and fine grain."""
    return Image.fromarray(skimage.data.astronaut()).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, "exif": exif, **options})
    return file.getvalue()


def read(data: bytes, prepare: ImageProcessor) -> Image.Image | ScaledPhoto:
    return read_photo(PhotoFile(data, "the photo"), prepare.least)


def both(data: bytes, prepare: ImageProcessor) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """pixel_values of the photo as it is read by default, and to the bit as transformers has them."""
    return prepare([read(data, prepare)]), prepare([load_image(data)], fast=False)


def assert_alike(found: npt.NDArray[Any], exact: npt.NDArray[Any]) -> None:
    assert found.shape == exact.shape
    difference = np.abs(found - exact)
    assert 0 < difference.mean() < MEAN
    assert difference.max() < MOST


# --- how small ---

# A photo's size, and what is read of it where 80 x 60 pixels are wanted.
SIZES = {
    (319, 240): (319, 240),
    (320, 239): (320, 239),
    (320, 240): (160, 120),
    (321, 243): (161, 122),
    (639, 500): (320, 250),
    (640, 480): (160, 120),
    (643, 481): (161, 121),
    (1279, 2000): (320, 500),
    (1283, 967): (161, 121),
    (5000, 3000): (625, 375),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_is_read_is_twice_what_is_wanted_at_least(size: tuple[int, int]) -> None:
    found = read(jpeg(Image.new("RGB", size, "teal")), processor())
    if SIZES[size] == size:
        assert isinstance(found, Image.Image)
        assert found.size == size
        return
    assert isinstance(found, ScaledPhoto)
    assert found.size == size
    assert found.image.size == SIZES[size]
    left, upper, right, lower = found.box
    assert right - left >= 160
    assert lower - upper >= 120
    assert size[0] / (right - left) == size[1] / (lower - upper) in (2, 4, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_of_a_turned_photo_the_upright_sides_count(orientation: int) -> None:
    """480 x 500 stored pixels are enough for a quarter only where they do not lie on their side."""
    upright = (250, 1000)
    stored = upright[::-1] if orientation in SIDEWAYS else upright
    prepare = processor(size={"height": 125, "width": 60})
    found = read(jpeg(Image.new("RGB", stored), orientation), prepare)
    assert isinstance(found, ScaledPhoto)
    assert found.size == upright
    assert found.image.size == (125, 500)
    other = read(jpeg(Image.new("RGB", stored), orientation), processor(size={"height": 60, "width": 125}))
    assert isinstance(other, Image.Image)
    assert other.size == upright


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("size", [(643, 485), (645, 483)], ids=str)
def test_a_photo_lies_where_it_lay_whichever_way_it_is_turned(orientation: int, size: tuple[int, int]) -> None:
    """Its last pixels lie partly beyond it, at whichever side they are now."""
    prepare = processor()
    data = jpeg(scene(*size), orientation)
    assert isinstance(read(data, prepare), ScaledPhoto)
    assert_alike(*both(data, prepare))


def test_a_line_at_the_edge_stays_at_the_edge() -> None:
    """1 of 641 columns: the partly filled column of a decoded quarter must not be taken for a whole one."""
    image = scene(641, 481)
    for turn in TURNS:
        assert_alike(*both(jpeg(image, turn, subsampling=0, quality=98), processor(size={"height": 120, "width": 160})))


# --- exact where it is not asked for, or nothing is large enough ---


@pytest.mark.parametrize("size", [(1, 1), (5, 900), (319, 239), (150, 120)], ids=str)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_fast_is_exact_where_nothing_is_large_enough(size: tuple[int, int], kind: str) -> None:
    file = io.BytesIO()
    scene(*size).save(file, kind)
    prepare = processor(size={"height": 226, "width": 3} if size == (5, 900) else VIT["size"])
    found, exact = both(file.getvalue(), prepare)
    np.testing.assert_array_equal(found, exact)


WHOLE = {
    "nearest": {"resample": 0},
    "box": {"resample": 4},
    "not resized": {"do_resize": False},
    "not asked for": {"fuseline_fast": False},
    "null": {"fuseline_fast": None},
    "margins cut off": {"image_processor_type": "NougatImageProcessor", "size": {"height": 40, "width": 30}},
    "a page that keeps its size": {
        "image_processor_type": "DonutImageProcessor",
        "size": {"height": 700, "width": 900},
        "do_resize": False,
    },
}


@pytest.mark.parametrize("case", WHOLE)
def test_processors_that_get_every_pixel(case: str) -> None:
    prepare = processor(**WHOLE[case])
    assert prepare.least((800, 600)) is None
    data = jpeg(scene(800, 600))
    assert isinstance(read(data, prepare), Image.Image)
    if case != "margins cut off":  # whose page is then made smaller by a whole factor, as any image is
        np.testing.assert_array_equal(*both(data, prepare))


def test_a_photo_with_too_few_pixels_is_refused_by_a_processor_that_needs_all() -> None:
    small = read(jpeg(scene(800, 600)), processor())
    assert isinstance(small, ScaledPhoto)
    with pytest.raises(InputError, match="needs a photo with all its pixels"):
        processor(do_resize=False)([small])


# --- alike where it is large ---

CROPS: dict[str, dict[str, Any]] = {
    "squeezed": {},
    "shortest edge and a crop": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 70},
        "crop_size": 50,
    },
    "shortest edge alone": {"image_processor_type": "BitImageProcessor", "size": 70, "do_center_crop": False},
    "a crop larger than the photo": {"image_processor_type": "DeiTImageProcessor", "size": 64, "crop_size": 91},
    "the middle": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 56}},
    "a frame": {"image_processor_type": "DonutImageProcessor", "size": {"height": 90, "width": 70}},
    "a frame, turned": {
        "image_processor_type": "DonutImageProcessor",
        "size": {"height": 90, "width": 70},
        "do_align_long_axis": True,
    },
    "a thumbnail": {
        "image_processor_type": "DonutImageProcessor",
        "size": {"height": 90, "width": 70},
        "do_resize": False,
        "do_align_long_axis": True,
    },
    "lanczos": {"resample": 1},
    "bilinear": {"resample": 2},
    "hamming": {"resample": 5},
}


@pytest.mark.parametrize("size", [(1283, 967), (967, 1283)], ids=str)
@pytest.mark.parametrize("case", CROPS)
def test_every_way_to_fit_a_photo(case: str, size: tuple[int, int]) -> None:
    prepare = processor(**CROPS[case])
    data = jpeg(scene(*size), 6)
    assert isinstance(read(data, prepare), ScaledPhoto)
    assert_alike(*both(data, prepare))


@pytest.mark.parametrize("case", CROPS)
def test_what_a_processor_says_is_enough_is_twice_what_it_resizes_to(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watched where a whole photo is resized, which the processor does exactly."""
    sizes: list[tuple[int, int]] = []
    passes = resizing._passes

    def watched(image: Image.Image, size: tuple[int, int], *args: Any) -> Image.Image:
        sizes.append(size)
        return passes(image, size, *args)

    photo = scene(1283, 967)
    monkeypatch.setattr(resizing, "_passes", watched)
    prepare = processor(**CROPS[case])
    prepare([photo], fast=False)
    wide, high = sizes[0]
    turned = "turned" in case or case == "a thumbnail"
    assert prepare.least(photo.size) == ((2 * high, 2 * wide) if turned else (2 * wide, 2 * high))


ENCODINGS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "restart markers": {"restart_marker_blocks": 3},
}


@pytest.mark.parametrize("case", ENCODINGS)
@pytest.mark.parametrize("size", [(645, 485), (1290, 970)], ids=str)
def test_every_kind_of_jpeg(case: str, size: tuple[int, int]) -> None:
    options = dict(ENCODINGS[case])
    data = jpeg(scene(*size).convert(options.pop("mode", "RGB")), **options)
    assert isinstance(read(data, processor()), ScaledPhoto)
    assert_alike(*both(data, processor()))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_other_files_and_images_are_made_smaller_before_the_filter(mode: str) -> None:
    image = scene(1290, 970).convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG")
    assert_alike(*both(file.getvalue(), processor()))
    exact = processor()([load_image(image)], fast=False)
    np.testing.assert_array_equal(processor()([load_image(image)]), processor()([load_image(file.getvalue())]))
    assert_alike(processor()([load_image(image)]), exact)


def test_a_photo_that_is_cut_off_is_damaged_either_way() -> None:
    data = jpeg(scene(1290, 970))
    with pytest.raises(InputError, match="the photo: the image is damaged or cut off"):
        read(data[: len(data) // 2], processor())


# --- who says so ---


@pytest.mark.parametrize("value", [1, "yes", [True], 0.5])
def test_the_key_is_checked(value: object) -> None:
    with pytest.raises(FolderError, match="fuseline_fast is .*; it must be true or false"):
        processor(fuseline_fast=value)


@pytest.mark.parametrize("value", [1, "yes", 0])
def test_the_option_is_checked(value: Any, tiny_path: Path) -> None:
    with pytest.raises(InputError, match="fast must be True, False or None, not"):
        processor()([scene(9, 9)], fast=value)
    with pytest.raises(InputError, match="fast must be True, False or None, not"):
        Model.from_pretrained(tiny_path, fast=value)
    with pytest.raises(InputError, match="fast must be True, False or None, not"):
        pipeline("image-to-text", tiny_path, fast=value)


@pytest.mark.parametrize("call", [PIPELINE, TEXT, SPEECH])
def test_calls_without_photos_refuse_it(call: str) -> None:
    settle(call, {"fast": None}, ())
    with pytest.raises(InputError, match="fast=True is not taken by .* it is of pipelines that read photos"):
        settle(call, {"fast": True}, ())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The sizes of all images that decoding gave."""
    images = importlib.import_module("fuseline.inputs.images")
    sizes: list[tuple[int, int]] = []
    decode = images.decode

    def watched(*args: Any) -> Any:
        photo = decode(*args)
        sizes.append(photo.image.size)
        return photo

    monkeypatch.setattr(images, "decode", watched)
    yield sizes


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "large.jpg"
    path.write_bytes(jpeg(scene(2400, 2100)))
    return path


WHOLE_SIZE, QUARTER = (2400, 2100), (600, 525)


def test_the_captioner_that_ships_is_fast_unless_told_otherwise(large: Path, decoded: list[tuple[int, int]]) -> None:
    captioner = pipeline("image-to-text", threads=1)
    for options in ({}, {"fast": True}, {"fast": False}):
        captioner(large, **options)
    captioner([large, large])
    pipeline("image-to-text", captioner.model, fast=False)(large)
    assert decoded == [QUARTER, QUARTER, WHOLE_SIZE, QUARTER, QUARTER, WHOLE_SIZE]
    exact = Model.from_pretrained(threads=1, fast=False)
    assert not exact.image_processor.fast
    assert not pickle.loads(pickle.dumps(exact)).image_processor.fast
    assert Model.from_pretrained(threads=1).image_processor.fast


def test_other_folders_are_exact_unless_told_otherwise(
    tiny_path: Path, large: Path, decoded: list[tuple[int, int]]
) -> None:
    model = Model.from_pretrained(tiny_path, threads=1)
    captioner = pipeline("image-to-text", model)
    captioner(large)
    captioner(large, fast=True)
    pipeline("image-to-text", model, fast=True)(large, fast=False)
    pipeline("image-to-text", Model.from_pretrained(tiny_path, threads=1, fast=True))(large)
    assert [size == WHOLE_SIZE for size in decoded] == [True, False, True, False]
    small = (2400 // 8, -(-2100 // 8))
    assert decoded[1] == decoded[3] == small


def test_a_folder_says_that_it_is_fast(tmp_path: Path) -> None:
    folder = tiny.tiny_folder(tmp_path, seed=1)
    assert not Model.from_pretrained(folder, threads=1).image_processor.fast
    assert "fuseline_fast" not in json.loads((folder / "preprocessor_config.json").read_text())
    assert Model.from_pretrained(threads=1).image_processor.fast


def test_the_command_says_which(large: Path, tmp_path: Path) -> None:
    """By the pixels, of which the text of this photo does not tell: by what each way says of its score."""
    scores = {}
    for option in ("--fast", "--exact", None):
        done = program("caption", "--json", *([option] if option else []), large)
        assert done.returncode == 0, done.stderr
        scores[option] = json.loads(done.stdout)["score"]
    assert scores[None] == scores["--fast"] != scores["--exact"]
    done = program("caption", "--fast", "--exact", large)
    assert done.returncode == 2
    assert "not allowed with" in done.stderr


def test_a_heat_map_shows_the_whole_photo_and_the_text_that_is_said_without_it(large: Path) -> None:
    captioner = pipeline("image-to-text", threads=1)
    [found] = captioner(large, heat_map=True)
    assert [found["generated_text"]] == [each["generated_text"] for each in captioner(large)]
    assert found["heat_map"].photo.size == WHOLE_SIZE
    np.testing.assert_array_equal(found["heat_map"].photo, load_image(large))
    rows, columns = found["heat_map"].maps.shape[1:]
    assert (columns, rows) == (256, 224)


def test_an_ensemble_reads_what_is_enough_for_all(tiny_path: Path, large: Path, decoded: list[tuple[int, int]]) -> None:
    fast, exact = (Model.from_pretrained(tiny_path, threads=1, fast=each) for each in (True, False))
    pipeline("image-to-text", ensemble([fast, exact]))(large)
    pipeline("image-to-text", ensemble([fast, exact]), fast=True)(large)
    pipeline("image-to-text", ensemble([fast, fast]))(large)
    assert [size == WHOLE_SIZE for size in decoded] == [True, False, False]
