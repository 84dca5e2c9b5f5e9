"""Photos in all forms that they may come in: paths, bytes, files, arrays, images, and what is none of them."""

from __future__ import annotations

import base64
import io
import os
import struct
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from fuseline.inputs.images import ImageProcessor, load_image
from fuseline.inputs.photos.text import is_base64
from tests.fuzz.kinds import Kind, Place, Trial, Wrong
from tests.fuzz.photo_files import GENERATORS, LARGE, WEIGHTS, Photo

_PROCESSOR = ImageProcessor.from_config({"image_processor_type": "ViTImageProcessor", "size": 32}, "the fuzzer")


def _odd_path(random: Random, place: Place) -> tuple[str, Any]:
    """A path that is no file with a photo."""
    match random.randrange(6):
        case 0:
            os.mkfifo(place.case / "fifo.jpg")
            return "a FIFO", str(place.case / "fifo.jpg")
        case 1:
            return "a folder", str(place.case)
        case 2:
            os.symlink("loop.png", place.case / "loop.png")
            return "a link to itself", str(place.case / "loop.png")
        case 3:
            name = random.choice(("a" * 300, "\ud800.jpg", "a\0b.jpg", "new\nline \x1b[31m.jpg", "", "~/cat.jpg", " "))
            return f"no file {name!r:.60}", name and f"{place.case}/{name}"
        case 4:
            (place.case / "empty.png").touch()
            return "an empty file", place.case / "empty.png"
        case _:
            urls = ("http://localhost/cat.jpg", "file:///etc/hostname", "data:image/png;base64,AAAA", "data:,", "data:")
            name = random.choice(urls)
            return f"the URL {name}", name


def _odd_value(random: Random, place: Place) -> tuple[str, Any]:
    """An array, an image or an object that is no photo, or is an odd one."""
    shape = random.choice(
        ((), (3,), (0, 5), (5, 0, 3), (4, 5), (4, 5, 1), (4, 5, 2), (4, 5, 4), (1, 4, 5, 3), (3, 4, 5))
    )
    kind = random.choice((np.uint8, np.float32, np.float64, np.float16, np.int64, bool, object, np.complex64, "U1"))
    array = np.zeros(shape, kind)
    if array.size and kind in (np.float32, np.float64, np.float16):
        array.flat[0] = random.choice((0.5, -1, 2, np.nan, np.inf, 1e-300))
    mode = random.choice(
        (
            "1",
            "L",
            "P",
            "RGB",
            "RGBA",
            "CMYK",
            "YCbCr",
            "LAB",
            "HSV",
            "I",
            "F",
            "LA",
            "PA",
            "La",
            "RGBa",
            "RGBX",
            "I;16",
        )
    )
    values = [
        array,
        Image.new(mode, (random.choice((0, 1, 9)), random.choice((0, 1, 9)))),
        None,
        3,
        [1, 2],
        {"a": 1},
        io.StringIO("text"),
        object(),
        memoryview(b"ab"),
    ]
    value = random.choice(values)
    return f"{type(value).__name__} {getattr(value, 'mode', '')} {shape} {kind}", value


def _make(random: Random, place: Place) -> Trial:
    draw = random.random()
    if draw < 0.04:
        what, source = (_odd_path if draw < 0.02 else _odd_value)(random, place)
        return Trial(what, lambda: _loaded(source, None))
    made = random.choices(GENERATORS, WEIGHTS)[0](random)
    photo = made if isinstance(made, Photo) else Photo("a generated photo", made)
    path = place.case / random.choice(("photo", "photo.jpg", "photo \n.png", "ph\u00f6to\x1b[2J.gif"))
    path.write_bytes(photo.data)
    forms = {
        "a text": str(path),
        "a path": path,
        "bytes": photo.data,
        "a file": io.BytesIO(photo.data),
        "a bytearray": bytearray(photo.data),
        "base64": base64.b64encode(photo.data).decode(),
        "base64 in lines": base64.encodebytes(photo.data).decode(),
        "a data: URL": f"data:image/jpeg;base64,{base64.b64encode(photo.data).decode()}",
    }
    form, source = random.choice(list(forms.items()))
    if form.startswith("base64") and not is_base64(source):  # as a path, it is too short or begins as none does
        form, source = "bytes", photo.data
    what = f"{photo.what}, as {form}"
    small = len(photo.data) <= LARGE
    return Trial(what, lambda: _loaded(source, photo), cpu_seconds=2.0 if small else 10.0)


def _loaded(source: Any, photo: Photo | None) -> str:
    """Load it as the pipeline does, and look whether the result is what the file says it is."""
    image = load_image(source)
    if image.mode != "RGB":
        raise Wrong(f"load_image gave mode {image.mode}")
    if photo is not None:
        right = photo.size or _size_in_header(photo.data)
        if right is not None and image.size not in ((right, right[::-1]) if photo.size is None else (right,)):
            raise Wrong(f"an image of {image.size} from a photo of {right}")
    if max(image.size) < 50 * min(image.size):
        pixel_values = _PROCESSOR([image])
        if not np.isfinite(pixel_values).all():
            raise Wrong("pixel_values that are not finite")
    return "loaded"


def _size_in_header(data: bytes) -> tuple[int, int] | None:
    """(width, height) as the file's first bytes say, read here by hand; None where they say it more than once.

    Not of a GIF, which a first frame that reaches beyond it makes larger.
    """
    if data.count(b"IHDR") > 1 or sum(data.count(bytes((255, mark))) for mark in (0xC0, 0xC1, 0xC2)) > 1:
        return None
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        return struct.unpack_from(">II", data, 16)  # type: ignore[return-value]
    if data[:2] == b"BM" and len(data) > 26 and data[14] >= 40:
        width, height = struct.unpack_from("<ii", data, 18)
        return (width, abs(height))
    if data[:2] == b"\xff\xd8":
        at = 2
        while at + 9 < len(data) and data[at] == 0xFF and data[at + 1] not in (0xC0, 0xC1, 0xC2, 0xD9, 0xDA, 0xFF):
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        if at + 9 < len(data) and data[at] == 0xFF and data[at + 1] in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (width, height)
    return None


KIND = Kind("photos", _make, cpu_seconds=10.0, megabytes=700.0, templates=False)
