"""Small photos that would take gigabytes or minutes are refused by their headers; honest extremes are not.

Each runs in a process of its own, whose time and growth of memory are measured by the system.
"""

from __future__ import annotations

import io
import json
import pathlib
import random
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from fuseline.errors import InputError
from fuseline.inputs.images import load_image
from tests.photo_damage import (
    DAMAGES,
    LARGEST,
    damaged_photo,
    jpeg_of_many_scans,
    jpeg_of_size,
    png_chunk,
    runs_bmp,
    whole_photos,
)

SECONDS, MEGABYTES = 2.0, 700  # of the processor, since others may use it meanwhile

MEASURE = """
import json, resource, sys, time
from PIL import Image
from fuseline.errors import InputError
from fuseline.images import load_image
Image.preinit()
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    said = list(load_image(sys.argv[1]).size)
except InputError as error:
    said = str(error)
seconds = time.process_time() - began
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps([said, seconds, grown]))
"""


def measured(path: pathlib.Path) -> tuple[Any, float, float]:
    """What is said of a photo or its size, the seconds and the megabytes that it took."""
    out = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    assert out.stderr == ""
    said, seconds, grown = json.loads(out.stdout)
    return said, seconds, grown


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, file_format, **options)
    return data.getvalue()


def png(width: int, height: int, *chunks: bytes, bits: int = 1) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    rows = zlib.compress(bytes(min(height * (1 + width * bits // 8 + 1), 3 * 10**7)), 9)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """Little-endian, of one directory: (tag, type, count, value)."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + body + bytes(4)


def lossless_webp(width: int, height: int) -> bytes:
    body = b"\x2f" + (width - 1 | height - 1 << 14).to_bytes(4, "little") + bytes(9)
    return b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def jpeg2000(**fields: int) -> bytes:
    """A small one with other numbers: `width`, `height` (bytes of SIZ), `layers`, `across` and `down` of blocks."""
    data = bytearray(whole_photos()["stream.j2k"])
    for name, value in fields.items():
        at, size = {"width": (8, 4), "height": (12, 4), "tile_width": (24, 4), "tile_height": (28, 4)}.get(name, (0, 0))
        if not size:
            at, size = {"layers": (6, 2), "across": (10, 1), "down": (11, 1)}[name]
            at += data.index(b"\xff\x52")
        data[at : at + size] = value.to_bytes(size, "big")
    return bytes(data)


PLAIN = saved(Image.new("RGB", (1600, 1200), "white"), "JPEG", progressive=True)
LARGE_TIFF = [(256, 4, 1, 13_000), (257, 4, 1, 13_000), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1)]

TRAPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "runs of a BMP": (lambda: runs_bmp(13_000, 13_000, b"\0\2\xff\xff" * 8), "too many for a file of"),
    "1,000 scans": (lambda: jpeg_of_many_scans(PLAIN, 1000), "101 scans of 1600 x 1200 pixels"),
    "scans of a large JPEG": (lambda: jpeg_of_many_scans(jpeg_of_size(PLAIN, 6000, 5000), 60), "scans of 6000 x 5000"),
    "a large JPEG of few bytes": (
        lambda: jpeg_of_size(whole_photos()["baseline.jpg"], 13_000, 13_000),
        "cannot hold its",
    ),
    "34 bytes of WebP": (lambda: lossless_webp(13_000, 13_000), "too many for a file of"),
    "a TIFF of one strip": (lambda: tiff(*LARGE_TIFF, (273, 4, 1, 8), (278, 4, 1, 13_000)), "cannot hold its"),
    "a TIFF tag of gigabytes": (lambda: tiff(*LARGE_TIFF, (273, 4, 2**30, 8)), "tag 273 lies beyond the end"),
    "a TIFF of huge tiles": (
        lambda: tiff((256, 4, 1, 9), (257, 4, 1, 9), (322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8)),
        "tiles of 60000 x 60000 pixels are larger than the image",
    ),
    "a row of a PNG": (lambda: png(100_000_000, 1), "longer than the limit of 100,000"),
    "a column of a PNG": (lambda: png(1, 100_000_000), "longer than the limit of 100,000"),
    "a PNG without the bytes": (lambda: png(9000, 9000)[:9000], "cannot hold its"),
    "a large GIF": (lambda: b"GIF89a" + struct.pack("<HHBBB", 13_000, 13_000, 0, 0, 0), "too many for a file of"),
    "plain text without the numbers": (lambda: b"P3 9999 9999 255 " + b"0 " * 9000, "cannot hold its"),
    "a large JPEG 2000": (lambda: jpeg2000(width=9000, height=9000, tile_width=9000, tile_height=9000), "too many for"),
    "tiles of a JPEG 2000": (lambda: jpeg2000(width=4000, height=4000, tile_width=9, tile_height=9), "tiles"),
    "layers of a JPEG 2000": (lambda: jpeg2000(layers=65_535), "packets"),
    "blocks of a JPEG 2000": (
        lambda: jpeg2000(width=2000, height=2000, tile_width=2000, tile_height=2000, across=0, down=0),
        "blocks of 4 x 4 are",
    ),
}

HONEST: dict[str, Callable[[], bytes]] = {
    "a white page of 10,000 x 10,000, 1 bit": lambda: saved(Image.new("1", (10_000, 10_000), 1), "PNG"),
    "a white page of 10,000 x 10,000, grey": lambda: saved(Image.new("L", (10_000, 10_000), 255), "PNG"),
    "a fax": lambda: saved(Image.new("1", (1728, 2292), 1), "TIFF", compression="group4"),
    "a drawing of 10,000 x 10,000": lambda: saved(Image.new("1", (10_000,) * 2, 1), "TIFF", compression="group4"),
    "a page of A4 at 600 dpi": lambda: saved(Image.new("RGB", (4960, 7016), "white"), "PNG"),
    "a blank screen": lambda: saved(Image.new("RGB", (3840, 2160)), "WEBP", lossless=True, method=0, quality=0),
    "a long screenshot": lambda: saved(Image.new("RGB", (1080, 30_000), "white"), "PNG"),
    "60,000 x 2": lambda: saved(Image.new("RGB", (60_000, 2)), "PNG"),
    "plain JPEG 2000": lambda: saved(Image.new("RGB", (2480, 3508), "white"), "JPEG2000"),
    "an animation": lambda: whole_photos()["moving.webp"],
    "much text": lambda: png(9, 9, png_chunk(b"zTXt", b"words\0\0" + zlib.compress(bytes(2 * 10**7), 9)) * 5),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_small_photo_cannot_take_much(tmp_path: pathlib.Path, name: str) -> None:
    make, reason = TRAPS[name]
    path = tmp_path / "photo"
    path.write_bytes(make())
    assert path.stat().st_size <= LARGEST
    said, seconds, grown = measured(path)
    assert seconds < SECONDS
    assert grown < MEGABYTES
    assert isinstance(said, str)
    assert said.startswith(f"{path}: ")
    assert reason in said


@pytest.mark.parametrize("name", HONEST)
def test_honest_extremes_are_read(tmp_path: pathlib.Path, name: str) -> None:
    path = tmp_path / "photo"
    path.write_bytes(HONEST[name]())
    said, seconds, grown = measured(path)
    assert isinstance(said, list), said
    assert seconds < SECONDS
    assert grown < MEGABYTES


def test_much_text_does_not_cost_the_photo() -> None:
    text = png_chunk(b"zTXt", b"words\0\0" + zlib.compress(bytes(3 * 10**6), 9))
    with pytest.raises(ValueError, match="too large"):  # the case is real: Pillow itself gives up
        Image.open(io.BytesIO(png(9, 9, text)))
    assert load_image(png(9, 9, text)).size == (9, 9)


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_damaged_photos_are_read_or_refused_in_one_sentence(name: str) -> None:
    for seed in range(6):
        data = DAMAGES[name](random.Random(seed))
        assert len(data) <= LARGEST
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                assert load_image(data).mode == "RGB"
            except InputError as error:
                message = str(error)
                assert message.isprintable()
                assert len(message) < 500


def test_a_seed_gives_the_same_damage_again() -> None:
    assert [damaged_photo(seed) for seed in range(40)] == [damaged_photo(seed) for seed in range(40)]


def test_damaged_photos_leave_standard_error_alone(tmp_path: pathlib.Path) -> None:
    fax = bytearray(whole_photos()["fax.tif"])
    fax[300:320] = b"\x55" * 20
    for number, data in enumerate([bytes(fax), DAMAGES["tiff_entries"](random.Random(2))]):
        path = tmp_path / str(number)
        path.write_bytes(data)
        measured(path)  # which looks at standard error
