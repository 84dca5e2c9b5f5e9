"""What is no photo, or no configuration, is refused by one sentence that names it and says what would be right."""

from __future__ import annotations

import functools
import io
import json
import os
import pathlib
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from fuseline.errors import FolderError, InputError
from fuseline.inputs import preprocessor_config
from fuseline.inputs.images import ImageProcessor, load_image
from fuseline.inputs.photos import header


def encoded(file_format: str, size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    data = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(data, file_format, **options)
    return data.getvalue()


def refusal(source: Any) -> str:
    """The sentence with which a source is refused; no warning may come with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as caught:
            load_image(source)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 600
    return message


# --- files ---

BAD_FILES = [
    ("empty.jpg", b"", "the file is empty"),
    ("one_byte.jpg", b"P", "not an image"),
    ("text.png", b"no picture here\n" * 9, "not an image"),
    ("signature.png", b"\x89PNG\r\n\x1a\n", "header"),
    ("signature.jpg", b"\xff\xd8\xff", "header"),
    ("signature.gif", b"GIF89a", "header"),
    ("signature.bmp", b"BM", "header"),
    ("signature.tif", b"II*\0", "header"),
    ("signature.webp", b"RIFF\x04\0\0\0WEBPVP8 ", "header"),
    ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "a PostScript or EPS document"),
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    ("cut.jpg", encoded("JPEG")[:2000], "cut off"),
    ("cut.png", encoded("PNG")[:2000], "cut off"),
    ("cut.bmp", encoded("BMP")[:2000], "cut off"),
    ("cut.ppm", encoded("PPM")[:2000], "cut off"),
    ("cut.webp", encoded("WEBP")[:600], ""),
    ("cut.avif", encoded("AVIF")[:600], ""),
    ("no_end.jpg", encoded("JPEG")[:-300], "cut off"),
]


@pytest.mark.parametrize(("name", "data", "reason"), BAD_FILES, ids=[case[0] for case in BAD_FILES])
def test_bad_files(tmp_path: pathlib.Path, name: str, data: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert refusal(path).startswith(f"{path}: ")
    assert reason in refusal(path)
    assert refusal(data).startswith("the image bytes: ")
    assert reason in refusal(data)


def test_any_cut_is_refused_or_gives_the_whole_photo() -> None:
    for file_format in ("JPEG", "PNG", "GIF", "BMP", "PPM"):
        data = encoded(file_format, (9, 7))
        whole = np.asarray(load_image(data))
        for length in range(len(data)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    found = load_image(data[:length])
                except InputError:
                    continue
            assert found.size == (9, 7)  # a cut within the last bytes, after the pixels
            np.testing.assert_array_equal(np.asarray(found), whole)


def test_missing_file_folder_and_strange_names(tmp_path: pathlib.Path) -> None:
    assert refusal(tmp_path / "none.jpg") == f"{tmp_path}/none.jpg: there is no such file; give the path of a photo"
    assert refusal(str(tmp_path)) == f"{tmp_path}: this is a folder; give the path of a photo"
    assert refusal("") == "'': there is no such file; give the path of a photo"
    assert "cannot be opened" in refusal("zero\0byte.jpg")
    assert "cannot be opened" in refusal("x." * 1000)
    assert r"two\nlines.jpg" in refusal("two\nlines.jpg")
    assert r"\udcff" in refusal(os.fsdecode(b"\xff.jpg"))


def test_a_file_that_may_not_be_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(encoded("PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read everything: refuse in the system's stead

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", refuse)
    message = refusal(path)
    monkeypatch.undo()
    assert message == f"{path}: the file cannot be opened (Permission denied); give one that may be read"


@pytest.mark.parametrize(
    "url",
    ["https://example.org/a", "HTTP://example.org/a", "s3://photos/a.jpg", "file:///a.jpg"],
)
def test_nothing_is_fetched(url: str) -> None:
    assert "a URL is not fetched; give one of http or https as a text with allow_downloads=True" in refusal(url)
    assert "not fetched" in refusal(pathlib.Path(url))


def test_a_file_may_be_named_like_a_url(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("data:a.png").write_bytes(encoded("PNG"))
    assert load_image("data:a.png").size == (64, 48)


@pytest.mark.parametrize("source", [None, 7, [b""], {"image": b""}, object()], ids=lambda source: type(source).__name__)
def test_no_source_at_all(source: object) -> None:
    assert type(source).__name__ in refusal(source)


def test_a_file_opened_as_text() -> None:
    assert "as text" in refusal(io.StringIO("text"))


def test_a_file_that_fails_while_it_is_read() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 1000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    for file_format in ("PNG", "BMP"):
        assert "Input/output error" in refusal(Failing(encoded(file_format, (300, 300))))


def test_a_lazy_pil_image_that_is_cut_off() -> None:
    assert refusal(Image.open(io.BytesIO(encoded("JPEG")[:2000]))).startswith("the PIL image: the image is damaged")


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)], ids=str)
def test_an_image_without_pixels(size: tuple[int, int]) -> None:
    assert "at least 1 x 1" in refusal(Image.new("RGB", size))


def test_a_mode_without_a_way_to_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Image.Image:
        raise ValueError("conversion not supported")

    image = Image.new("HSV", (2, 2))
    monkeypatch.setattr(image, "convert", fail)
    assert "mode HSV" in refusal(image)


BAD_GREYS = [np.nan, np.inf, -np.inf, -1.0, 65536.0]


@pytest.mark.parametrize("value", BAD_GREYS, ids=str)
def test_greys_without_a_scale(value: float) -> None:
    data = io.BytesIO()
    Image.fromarray(np.array([[0.5, value]], np.float32)).save(data, "TIFF")
    assert "within 0 to 65535" in refusal(data)


def test_integers_without_a_scale() -> None:
    for value in (-1, 65536, 2**31 - 1):
        assert "within 0 to 65535" in refusal(Image.fromarray(np.array([[0, value]], np.int32)))


BAD_ARRAYS: list[tuple[np.ndarray, str]] = [
    (np.zeros((0, 5, 3), np.uint8), "shape [0, 5, 3]"),
    (np.zeros((5, 0), np.uint8), "shape [5, 0]"),
    (np.zeros((5, 5, 0), np.uint8), "shape [5, 5, 0]"),
    (np.zeros((5, 5, 2), np.uint8), "shape [5, 5, 2]"),
    (np.zeros((3, 5, 6), np.uint8), "shape [3, 5, 6]"),
    (np.zeros((1, 5, 5, 3), np.uint8), "shape [1, 5, 5, 3]"),
    (np.zeros(5, np.uint8), "shape [5]"),
    (np.uint8(5) * np.ones((), np.uint8), "shape []"),
    (np.full((4, 4), np.nan, np.float32), "without NaN"),
    (np.array([[0.5, np.nan]]), "without NaN"),
    (np.array([[0.5, np.inf]]), "values from 0 to 1"),
    (np.array([[0.5, 1.01]]), "values from 0 to 1"),
    (np.array([[0.5, -0.01]]), "values from 0 to 1"),
    (np.array([[0.0, 255.0]]), "values from 0 to 1"),
    (np.zeros((4, 4), np.int64), "int64"),
    (np.zeros((4, 4), np.uint16), "uint16"),
    (np.zeros((4, 4), bool), "bool"),
    (np.zeros((4, 4), complex), "complex128"),
    (np.array([["a", "b"]]), "<U1"),
    (np.array([[None, None]]), "object"),
]


@pytest.mark.parametrize(("array", "reason"), BAD_ARRAYS, ids=[f"{reason}" for _, reason in BAD_ARRAYS])
def test_bad_arrays(array: np.ndarray, reason: str) -> None:
    assert reason in refusal(np.asarray(array))


# --- decompression bombs ---


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")


def _jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    frame = data.index(b"\xff\xc0")  # start of frame: length, precision, height, width
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _gif(width: int, height: int) -> bytes:
    data = bytearray(encoded("GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def _bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def _ppm(width: int, height: int) -> bytes:
    return b"P6 %d %d 255\n" % (width, height)


def _tiff(width: int, height: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "TIFF", tiffinfo={})
    raw = bytearray(data.getvalue())
    first = struct.unpack_from("<I", raw, 4)[0]
    for entry in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", raw, first)[0], 12):
        tag = struct.unpack_from("<H", raw, entry)[0]
        if tag in (256, 257):  # ImageWidth, ImageLength
            struct.pack_into("<HII", raw, entry + 2, 4, 1, width if tag == 256 else height)
    return bytes(raw)


@pytest.mark.parametrize("make", [_png, _jpeg, _gif, _bmp, _ppm, _tiff], ids=lambda make: make.__name__)
# The second is where Pillow itself only warns, between once and twice its limit.
@pytest.mark.parametrize("size", [(30_000, 30_000), (15_000, 13_000), (60_000, 2_983)], ids=str)
def test_decompression_bombs(
    make: Callable[[int, int], bytes], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(image: Image.Image) -> None:
        raise AssertionError(f"{image.size} pixels were to be decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    message = refusal(make(*size))
    assert message == (
        f"the image bytes: {size[0]} x {size[1]} pixels are more than the limit of 178,956,970; make the photo smaller"
    )


def test_the_limit_itself_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_PIXELS", 64 * 48)
    assert load_image(encoded("PNG", (64, 48))).size == (64, 48)
    assert "more than the limit of 3,072" in refusal(encoded("PNG", (61, 51)))


def test_pillows_own_limit_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert "more than the limit" in refusal(_png(30_000, 30_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(encoded("PNG")).size == (64, 48)


# --- configurations ---

WHERE = "some/preprocessor_config.json"
BAD_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("image_processor_type", {"image_processor_type": None}),
    ("Pix2StructImageProcessor", {"image_processor_type": "Pix2StructImageProcessor"}),
    ("DINOv3ViTImageProcessorFast", {"image_processor_type": "DINOv3ViTImageProcessorFast"}),
    ("image_processor_type", {"image_processor_type": 5}),
    ("image_processor_type", {"image_processor_type": ["ViTImageProcessor"]}),
    ("size", {"size": "224"}),
    ("size", {"size": 0}),
    ("size", {"size": -1}),
    ("size", {"size": 224.0}),
    ("size", {"size": True}),
    ("size", {"size": 10**30}),
    ("size", {"size": preprocessor_config.MAX_EDGE + 1}),
    ("size", {"size": []}),
    ("size", {"size": [1, 2, 3]}),
    ("size", {"size": {"height": 224}}),
    ("size", {"size": {"height": 224, "width": None}}),
    ("size", {"size": {"height": -224, "width": 224}}),
    ("size", {"size": {"shortest_edge": 224}}),
    ("size", {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224, "longest_edge": 300}}),
    ("size", {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": "224"}}),
    ("size", {"image_processor_type": "CLIPImageProcessor", "size": {"longest_edge": 224}}),
    ("crop_size", {"image_processor_type": "CLIPImageProcessor", "crop_size": 0}),
    ("crop_size", {"image_processor_type": "DeiTImageProcessor", "crop_size": {"shortest_edge": 224}}),
    ("size", {"image_processor_type": "SiglipImageProcessor", "size": 224}),  # slow and fast disagree about it
    ("size", {"image_processor_type": "SiglipImageProcessor", "size": {"shortest_edge": 224}}),
    ("size", {"image_processor_type": "ConvNextImageProcessor", "size": {"height": 224, "width": 224}}),
    ("size", {"image_processor_type": "ConvNextImageProcessor", "size": [224, 224]}),
    ("crop_pct", {"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 0}),
    ("crop_pct", {"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 0.01}),
    ("crop_pct", {"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 1e300}),
    ("crop_pct", {"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": "0.9"}),
    ("crop_pct", {"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": float("nan")}),
    ("size", {"image_processor_type": "LevitImageProcessor", "size": {"longest_edge": 224}}),
    ("do_crop_margin", {"do_crop_margin": True}),
    ("do_crop_margin", {"image_processor_type": "NougatImageProcessor", "do_crop_margin": 1}),
    ("resample", {"resample": 99}),
    ("resample", {"resample": -1}),
    ("resample", {"resample": "bicubic"}),
    ("resample", {"resample": True}),
    ("resample", {"resample": [3]}),
    ("do_resize", {"do_resize": "yes"}),
    ("do_rescale", {"do_rescale": 1}),
    ("do_pad", {"do_pad": True}),
    ("do_center_crop", {"do_center_crop": True}),
    ("do_thumbnail", {"do_thumbnail": True}),
    ("use_square_size", {"image_processor_type": "CLIPImageProcessor", "use_square_size": True}),
    ("rescale_factor", {"rescale_factor": "1/255"}),
    ("rescale_factor", {"rescale_factor": 0}),
    ("rescale_factor", {"rescale_factor": -0.5}),
    ("rescale_factor", {"rescale_factor": float("nan")}),
    ("rescale_factor", {"rescale_factor": float("inf")}),
    ("rescale_factor", {"rescale_factor": 1e38}),
    ("image_mean", {"image_mean": [0.5, 0.5]}),
    ("image_mean", {"image_mean": [0.5, 0.5, 0.5, 0.5]}),
    ("image_mean", {"image_mean": "0.5"}),
    ("image_mean", {"image_mean": [0.5, 0.5, "0.5"]}),
    ("image_mean", {"image_mean": [0.5, 0.5, None]}),
    ("image_mean", {"image_mean": [0.5, 0.5, float("nan")]}),
    ("image_mean", {"image_mean": 10**400}),
    ("image_mean", {"image_mean": 1e40}),
    ("image_std", {"image_std": [0.5, 0.5]}),
    ("image_std", {"image_std": 0}),
    ("image_std", {"image_std": [0.5, 0.0, 0.5]}),
    ("image_std", {"image_std": [0.5, 0.5, -0.5]}),
    ("image_std", {"image_std": [0.5, 0.5, 1e-60]}),
    ("image_std", {"image_std": {"r": 1, "g": 1, "b": 1}}),
    ("size", {"size": {"height": 8192, "width": 8192}}),  # 805 MB of pixel values
    ("crop_size", {"image_processor_type": "CLIPImageProcessor", "crop_size": 5000}),
    ("size", {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 5000}}),
    ("size", {"image_processor_type": "DonutImageProcessor", "size": [8000, 8000]}),
    ("resample", {"resample": 6}),  # of Pillow 13 only
    ("resample", {"resample": "\x1b[2J\n"}),
    ("image_processor_type", {"image_processor_type": "\x1b[2J\n" * 99}),
    ("do_", {"do_\x1b[2J\n" * 99: True}),
]

LARGE_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("size", {"size": 10**400}),
    ("size", {"size": 10**6000}),  # of more digits than Python writes
    ("size", {"size": [10**6000, 1]}),
    ("rescale_factor", {"rescale_factor": 10**6000}),
    ("image_mean", {"image_mean": [0.5] * 10**6}),
    ("image_mean", {"image_mean": "x" * 10**7}),
    ("size", {"size": {str(n): n for n in range(10**5)}}),
    ("resample", {"resample": functools.reduce(lambda inner, _: [inner], range(900), [])}),
    ("image_processor_type", {"image_processor_type": functools.reduce(lambda inner, _: [inner], range(900), [])}),
]


@pytest.mark.parametrize(("named", "config"), LARGE_CONFIGS, ids=[str(n) for n in range(len(LARGE_CONFIGS))])
def test_large_values_of_a_configuration_make_short_sentences(named: str, config: dict[str, Any]) -> None:
    test_bad_configurations(named, config)


def test_keys_that_are_not_known_do_no_harm() -> None:
    config = {"image_processor_type": "ViTImageProcessor", **{f"key{n}": [n] for n in range(10**5)}}
    assert ImageProcessor.from_config(config, WHERE).size == (224, 224)


@pytest.mark.parametrize(("named", "config"), BAD_CONFIGS, ids=[json.dumps(config)[:60] for _, config in BAD_CONFIGS])
def test_bad_configurations(named: str, config: dict[str, Any]) -> None:
    with pytest.raises(FolderError) as caught:
        ImageProcessor.from_config({"image_processor_type": "ViTImageProcessor", **config}, WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: ")
    assert named in message
    assert message.isprintable()
    assert len(message) < 600


def test_a_refusal_says_what_is_supported() -> None:
    with pytest.raises(FolderError, match=r"Pix2StructImageProcessor.*ViTImageProcessor, DeiTImageProcessor.*CLIP"):
        ImageProcessor.from_config({"image_processor_type": "Pix2StructImageProcessor"}, WHERE)
    with pytest.raises(FolderError, match=r"resample is 99; .*0 \(NEAREST\).*5 \(HAMMING\)"):
        ImageProcessor.from_config({"image_processor_type": "ViTImageProcessor", "resample": 99}, WHERE)


def test_what_is_switched_off_is_not_read() -> None:
    config = {"do_resize": False, "size": None, "do_rescale": False, "rescale_factor": "x", "do_normalize": False}
    processor = ImageProcessor.from_config({"image_processor_type": "ViTImageProcessor", **config}, WHERE)
    assert (processor.size, processor.crop, processor.rescale_factor, processor.mean_std) == (None, None, None, None)


# --- images that an image processor cannot take ---


def test_a_batch_of_different_sizes() -> None:
    processor = ImageProcessor.from_config({"image_processor_type": "ViTImageProcessor", "do_resize": False}, WHERE)
    with pytest.raises(InputError, match="one size, not 3 x 4 and 5 x 4"):
        processor([Image.new("RGB", (5, 4)), Image.new("RGB", (3, 4)), Image.new("RGB", (5, 4))])
    with pytest.raises(InputError, match="no photo at all"):
        processor([])


def test_only_rgb_is_processed() -> None:
    processor = ImageProcessor.from_config({"image_processor_type": "ViTImageProcessor"}, WHERE)
    with pytest.raises(InputError, match="not mode L; use load_image"):
        processor([Image.new("L", (5, 4))])


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)], ids=str)
def test_a_photo_too_elongated_for_a_shortest_edge(size: tuple[int, int]) -> None:
    # Its 224 x 1,120,000 pixels would take a gigabyte.
    processor = ImageProcessor.from_config({"image_processor_type": "CLIPImageProcessor"}, WHERE)
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]} pixels is too elongated"):
        processor([Image.new("RGB", size)])
