"""What is no photo file is named for what it is, and reading one never waits; pages beyond the first are mentioned."""

from __future__ import annotations

import io
import os
import pathlib
import socket
import struct
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline.inputs.images import ImageProcessor, load_image
from fuseline.inputs.photos import source
from tests.photo_damage import whole_photos
from tests.runtime.test_images_bad import encoded, refusal

# --- paths that are no regular files ---


def test_a_pipe_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "this is a pipe, not a file" in refusal(tmp_path / "pipe.jpg")


def test_a_device_and_a_socket_are_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal("/dev/zero") == "/dev/zero: this is a device, not a file; give the path of a photo"
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        assert "this is a socket" in refusal("s")


def test_a_pipe_that_takes_the_files_place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "photo.jpg").write_bytes(encoded("JPEG"))
    regular = os.stat(tmp_path / "photo.jpg")
    monkeypatch.setattr(os, "stat", lambda path: regular)
    assert "this is a pipe" in refusal(str(tmp_path / "pipe.jpg"))


def test_a_file_that_vanishes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded("JPEG"))
    regular = os.stat(tmp_path / "photo.jpg")
    monkeypatch.setattr(os, "stat", lambda path: regular)
    assert "there is no such file" in refusal(str(tmp_path / "gone.jpg"))


def test_a_photo_through_a_pipe_as_standard_input() -> None:
    program = "import sys; from fuseline.inputs.images import load_image; print(load_image(sys.stdin.buffer).size)"
    out = subprocess.run([sys.executable, "-c", program], input=encoded("PNG"), capture_output=True, timeout=60)
    assert out.stdout == b"(64, 48)\n"


def test_more_bytes_than_any_photo(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 5000)
    (tmp_path / "large.png").write_bytes(encoded("PNG"))
    assert "more than 5,000 bytes are no photo" in refusal(tmp_path / "large.png")
    assert "more than 5,000 bytes are no photo" in refusal(io.BytesIO(encoded("PNG")))


# --- file objects ---


class Reader:
    """A file object whose `read` does as it is told."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def read(self, size: int = -1) -> Any:
        answer = self._answers.pop(0) if self._answers else b""
        if isinstance(answer, BaseException):
            raise answer
        return answer


def test_pieces_of_any_length_make_a_photo() -> None:
    data = encoded("PNG")
    pieces = [data[:3], data[3:5000], bytearray(data[5000:5001]), memoryview(data[5001:])]
    assert load_image(Reader(*pieces)).size == (64, 48)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("words", "open as text"),
        (None, "gave NoneType, not bytes"),
        (7, "gave int, not bytes"),
        (RuntimeError("a\nb"), "the file cannot be read (RuntimeError)"),
        (OSError(5, "Input/output error", "/secret"), "the file cannot be read (Input/output error)"),
        (ValueError("I/O operation on closed file."), "the file cannot be read (it is closed)"),
        (MemoryError(), "the file cannot be read (MemoryError)"),
    ],
    ids=repr,
)
def test_file_objects_that_fail(answer: Any, reason: str) -> None:
    assert reason in refusal(Reader(answer))
    assert reason in refusal(Reader(encoded("PNG")[:100], answer))


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        load_image(Reader(KeyboardInterrupt()))  # type: ignore[arg-type]


def test_a_path_that_is_none() -> None:
    class Path(os.PathLike[str]):
        def __fspath__(self) -> Any:
            return 7

    assert refusal(Path()) == "a Path is no path; give the path of a photo"


# --- arrays and PIL images ---


def test_an_array_of_much_that_is_not_there() -> None:
    assert "more than the limit" in refusal(np.broadcast_to(np.uint8(0), (10**6, 10**6, 3)))


def test_arrays_of_other_byte_orders_and_strides() -> None:
    eighths = np.arange(48).reshape(6, 8) / 47
    straight = np.asarray(load_image(eighths))
    np.testing.assert_array_equal(np.asarray(load_image(eighths.astype(">f8"))), straight)
    np.testing.assert_array_equal(np.asarray(load_image(eighths[::-1, ::-1])), straight[::-1, ::-1])
    assert "is no photo" in refusal(np.zeros((2, 2), [("a", "f4")]))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_modes_with_odd_transparency(mode: str) -> None:
    image = Image.new(mode, (3, 2))
    image.info["transparency"] = object()
    assert load_image(image).mode == "RGB"


def test_pil_images_that_cannot_be_read() -> None:
    assert "mode La cannot be turned into RGB" in refusal(Image.new("La", (2, 2)))
    closed = Image.new("RGB", (2, 2))
    closed.close()
    assert "damaged or cut off" in refusal(closed)


def test_a_decoder_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(image: Image.Image) -> None:
        raise MemoryError

    image = Image.new("L", (30, 20))
    monkeypatch.setattr(Image.Image, "load", load)
    assert refusal(image) == "the PIL image: there is too little memory for its 30 x 20 pixels; make the photo smaller"


# --- formats that are known and not read ---

OTHERS = [
    (b"%PDF-1.7\n", "a PDF document"),
    (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    (b"8BPS\0\1", "a Photoshop document"),
    (b"\0\0\1\0\1\0", "an icon"),
    (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "a video"),
    (b"\x1aE\xdf\xa3\x93", "a video"),
    (b"\0\0\0\x18ftypcrx \0\0\0\0", "a camera's RAW file (CR3)"),
    (b"II*\0\x10\0\0\0CR\2\0", "a camera's RAW file (CR2)"),
    (b"\xff\x0a\0\0", "a JPEG XL image"),
    (b"PK\3\4", "an archive"),
    (b"<!DOCTYPE html><html>", "a web page"),
]


@pytest.mark.parametrize(("data", "what"), OTHERS, ids=[what for _, what in OTHERS])
def test_other_formats_are_named(data: bytes, what: str) -> None:
    message = refusal(data)
    assert f"this is {what}" in message
    assert ", not a photo that can be read; " in message


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    assert refusal(HEIC) == (
        "the image bytes: this is a HEIC image, which is read only where the package pillow-heif is installed; "
        "install it, or save the photo as JPEG"
    )


def test_heic_with_its_package() -> None:
    heif = pytest.importorskip("pillow_heif")
    readers = dict(Image.OPEN)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (90, 64), (200, 30, 10))).save(data, exif=exif.tobytes())
    assert load_image(data).size == (64, 90)
    assert np.abs(np.asarray(load_image(data))[5, 5].astype(int) - (200, 30, 10)).max() < 8
    assert readers == Image.OPEN
    large = bytearray(data.getvalue())
    at = large.index(b"ispe") + 8
    large[at : at + 8] = struct.pack(">II", 60_000, 60_000)
    assert "more than the limit" in refusal(bytes(large))


# --- pages ---


def _pages(count: int, **more: Any) -> bytes:
    data = io.BytesIO()
    frames = [Image.new("RGB", (8, 6), (n, 200, 30)) for n in range(count)]
    frames[0].save(data, "TIFF", save_all=True, append_images=frames[1:], **more)
    return data.getvalue()


def test_pages_beyond_the_first_are_a_warning_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="the image bytes: it has 2 pages, of which only the first is read") as caught:
        assert load_image(_pages(2)).getpixel((0, 0)) == (0, 200, 30)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("name", ["raw.tif", "two.mpo", "moving.gif", "moving.png", "moving.webp"])
def test_stills_and_animations_have_no_pages(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image(whole_photos()[name])


def test_directories_that_follow_each_other_in_a_circle() -> None:
    data = bytearray(_pages(1))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(bytes(data)).size == (8, 6)


# --- what an image processor is asked for ---


def test_a_photo_that_would_become_too_large() -> None:
    config = {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 2560}}
    processor = ImageProcessor.from_config(config, "x")
    assert "too elongated" in _processor_refusal(processor, Image.new("RGB", (2, 60_000)))


def _processor_refusal(processor: ImageProcessor, image: Image.Image) -> str:
    from fuseline.errors import InputError

    with pytest.raises(InputError) as caught:
        processor([image])
    return str(caught.value)
