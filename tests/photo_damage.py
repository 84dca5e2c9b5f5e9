"""Damaged, hostile and odd photo files, for tests that throw many at `load_image`.

Every damage is a plain function `(random.Random) -> bytes` in the table `DAMAGES`, and gives the same bytes for the
same seed (with one version of Pillow, which encodes the photos that are damaged). Nothing is larger than 200,000 bytes.

    for seed in range(1000):
        data = damaged_photo(seed)              # of a damage that the seed chooses
        data = DAMAGES["png_chunks"](random.Random(seed))
"""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, features

Damage = Callable[[random.Random], bytes]

LARGEST = 200_000  # bytes
EXTREMES = (0, 1, 2, 3, 7, 8, 255, 256, 4095, 13_377, 16_383, 32_767, 32_768, 65_535, 99_999, 100_001)
EXTREMES += (2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 1)


# --- whole photos, which are damaged below ---


@functools.cache
def whole_photos() -> dict[str, bytes]:
    """A small photo in each kind of file that is read, by name."""
    rng = np.random.default_rng(7)
    noise = Image.fromarray(rng.integers(0, 256, (33, 47, 3), dtype=np.uint8))
    smooth = noise.resize((190, 140))
    frames = [Image.new("RGB", (40, 30), (9 * n, 200, 30)) for n in range(4)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    more: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    kinds: dict[str, tuple[str, Image.Image, dict[str, Any]]] = {
        "baseline.jpg": ("JPEG", smooth, {"exif": exif}),
        "progressive.jpg": ("JPEG", smooth, {"progressive": True}),
        "grey.jpg": ("JPEG", noise.convert("L"), {}),
        "cmyk.jpg": ("JPEG", noise.convert("CMYK"), {}),
        "two.mpo": ("MPO", frames[0], more),
        "rgb.png": ("PNG", smooth, {"exif": exif}),
        "rgba.png": ("PNG", noise.convert("RGBA"), {}),
        "palette.png": ("PNG", noise.convert("P"), {"transparency": 3}),
        "one_bit.png": ("PNG", smooth.convert("1"), {}),
        "deep.png": ("PNG", Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)), {}),
        "moving.png": ("PNG", frames[0], more),
        "still.gif": ("GIF", smooth, {}),
        "moving.gif": ("GIF", frames[0], more),
        "rgb.bmp": ("BMP", noise, {}),
        "palette.bmp": ("BMP", noise.convert("P"), {}),
        "raw.tif": ("TIFF", noise, {"exif": exif}),
        "lzw.tif": ("TIFF", smooth, {"compression": "tiff_lzw"}),
        "deflate.tif": ("TIFF", smooth, {"compression": "tiff_adobe_deflate"}),
        "jpeg.tif": ("TIFF", smooth, {"compression": "jpeg"}),
        "fax.tif": ("TIFF", smooth.convert("1"), {"compression": "group4"}),
        "float.tif": ("TIFF", noise.convert("F"), {}),
        "pages.tif": ("TIFF", frames[0], more),
        "lossy.webp": ("WEBP", smooth, {"exif": exif}),
        "lossless.webp": ("WEBP", noise, {"lossless": True}),
        "moving.webp": ("WEBP", frames[0], more),
        "rgb.jp2": ("JPEG2000", smooth, {}),
        "tiles.jp2": ("JPEG2000", smooth, {"tile_size": (64, 64), "irreversible": True}),
        "stream.j2k": ("JPEG2000", noise, {"no_jp2": True}),
        "rgb.ppm": ("PPM", noise, {}),
        "grey.pgm": ("PPM", noise.convert("L"), {}),
        "one_bit.pbm": ("PPM", smooth.convert("1"), {}),
    }
    if features.check("avif"):
        kinds["still.avif"] = ("AVIF", smooth, {"speed": 10})
    photos = {name: _saved(image, file_format, options) for name, (file_format, image, options) in kinds.items()}
    photos["plain.ppm"] = b"P3 9 7 255\n" + b" ".join(b"%d" % (n % 256) for n in range(189)) + b"\n"
    photos["runs.bmp"] = runs_bmp(16, 4, b"\x10\x05" * 4 + b"\0\1")
    dark = np.asarray(noise).astype(np.uint16) * 4  # 10 bits in 16
    photos["dark.png"], photos["dark.tif"] = png_of_16_bits(dark), tiff_of_16_bits(dark, compressed=True)
    photos["fifteen.pgm"] = b"P5 9 7 1000\n" + bytes(126)
    return photos


def _saved(image: Image.Image, file_format: str, options: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    # Copies, since an encoder leaves its settings in the image.
    more = {"append_images": [frame.copy() for frame in options["append_images"]]} if "append_images" in options else {}
    image.copy().save(data, file_format, **{**options, **more})
    return data.getvalue()


def _photo(rng: random.Random, ending: str = "") -> bytes:
    photos = whole_photos()
    return photos[rng.choice(sorted(name for name in photos if name.endswith(ending)))]


def _extreme(rng: random.Random, size: int) -> int:
    """Of EXTREMES, or anything, that goes into so many bytes."""
    return rng.choice([value for value in EXTREMES if value < 256**size] + [rng.randrange(256**size)])


# --- damage that knows nothing of formats ---


def _few_bits(rng: random.Random) -> bytes:
    data = bytearray(_photo(rng))
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _bits_of_the_header(rng: random.Random) -> bytes:
    data = bytearray(_photo(rng))
    for _ in range(rng.choice([1, 2, 4])):
        data[rng.randrange(min(len(data), 120))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _numbers_of_the_header(rng: random.Random) -> bytes:
    data = bytearray(_photo(rng))
    for _ in range(rng.choice([1, 1, 2, 3])):
        size = rng.choice([1, 2, 4])
        at = rng.randrange(2, min(len(data), 200) - size)
        data[at : at + size] = _extreme(rng, size).to_bytes(size, rng.choice(["big", "little"]))
    return bytes(data)


def _cut_off(rng: random.Random) -> bytes:
    data = _photo(rng)
    return data[: rng.randrange(len(data))]


def _cut_off_and_filled(rng: random.Random) -> bytes:
    data = _photo(rng)
    kept = rng.randrange(len(data))
    return data[:kept] + bytes([rng.choice([0, 255, 170])]) * (len(data) - kept)


def _a_piece_missing(rng: random.Random) -> bytes:
    data = _photo(rng)
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 2, 9, 100]) :]


def _a_piece_more(rng: random.Random) -> bytes:
    data = _photo(rng)
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 2, 9, 100, 5000])) + data[at:]


def _a_piece_twice(rng: random.Random) -> bytes:
    data = _photo(rng)
    at = rng.randrange(len(data))
    piece = data[at : at + rng.choice([4, 30, 300, 3000])]
    times = rng.choice([1, 2, 50])
    return (data[:at] + piece * times + data[at:])[:LARGEST]


def _two_spliced(rng: random.Random) -> bytes:
    one, two = _photo(rng), _photo(rng)
    return one[: rng.randrange(len(one))] + two[rng.randrange(len(two)) :]


def _one_after_another(rng: random.Random) -> bytes:
    return (_photo(rng) + _photo(rng))[:LARGEST]


def _noise_after_a_signature(rng: random.Random) -> bytes:
    return _photo(rng)[: rng.choice([2, 4, 8, 12, 16, 30])] + rng.randbytes(rng.choice([0, 10, 500, 20_000]))


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([1, 2, 16, 300]))


# --- colours of 16 bits, which Pillow does not write ---


def png_of_16_bits(colours: np.ndarray[Any, Any]) -> bytes:
    """UInt16[height, width, 3]."""
    height, width, _ = colours.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return _png([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def tiff_of_16_bits(colours: np.ndarray[Any, Any], order: str = "<", compressed: bool = False) -> bytes:
    """UInt16[height, width, 3 or 4] as one strip."""
    height, width, samples = colours.shape
    body = colours.astype(f"{order}u2").tobytes()
    body = zlib.compress(body) if compressed else body
    at = 8 + len(body) + len(body) % 2
    tags = [(256, width), (257, height), (258, None), (259, 8 if compressed else 1), (262, 2), (273, 8), (277, samples)]
    tags += [(278, height), (279, len(body)), (284, 1), *([(338, 2)] if samples == 4 else [])]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    entries = struct.pack(f"{order}H", len(tags))
    for tag, value in tags:
        if value is None:  # the bits of each sample, which stand behind the directory
            entries += struct.pack(f"{order}HHII", tag, 3, samples, at + 2 + 12 * len(tags) + 4)
        else:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, value)
    end = struct.pack(f"{order}I", 0) + struct.pack(f"{order}{samples}H", *[16] * samples)
    return head + body + b"\0" * (len(body) % 2) + entries + end


# --- damage that knows the format ---


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_parts(data: bytes) -> list[tuple[bytes, bytes]]:
    parts, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def _png(parts: list[tuple[bytes, bytes]]) -> bytes:
    return (b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts))[:LARGEST]


def _png_chunks(rng: random.Random) -> bytes:
    """Chunks twice, missing, in another order; their sums are right."""
    parts = _png_parts(_photo(rng, ".png"))
    for _ in range(rng.choice([1, 2])):
        at = rng.randrange(len(parts))
        if rng.random() < 0.4:
            parts.insert(rng.randrange(len(parts)), parts[at])
        elif rng.random() < 0.5:
            del parts[at]
        else:
            kind, body = parts[at]
            parts[at] = (kind, body[: rng.randrange(len(body) + 1)])
    return _png(parts)


def _png_header(rng: random.Random) -> bytes:
    parts = _png_parts(_photo(rng, ".png"))
    fields = list(struct.unpack(">IIBBBBB", parts[0][1]))
    for _ in range(rng.choice([1, 2])):
        at = rng.randrange(7)
        fields[at] = _extreme(rng, 4) if at < 2 else rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
    parts[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
    if rng.random() < 0.5:
        parts[1:-1] = [(b"IDAT", zlib.compress(bytes(rng.choice([1000, 10**6, 3 * 10**7])), 9))]
    return _png(parts)


def _png_bombs(rng: random.Random) -> bytes:
    """Text and profiles that unpack to much, many of them, EXIF data that name gigabytes."""
    parts = _png_parts(_photo(rng, ".png"))
    packed = zlib.compress(bytes(rng.choice([10**5, 3 * 10**6, 2 * 10**7])), 9)
    bombs = [
        (b"zTXt", b"Raw profile type exif\0\0" + packed),
        (b"zTXt", b"words\0\0" + packed),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        (b"iCCP", b"profile\0\0" + packed),
        (b"eXIf", _exif(rng)),
        (b"acTL", struct.pack(">II", _extreme(rng, 4), 0)),
        (b"tEXt", b"Raw profile type exif\0\nexif\n 9\n" + b"zz"),
    ]
    bomb = rng.choice(bombs)
    return _png(parts[:1] + [bomb] * rng.choice([1, 3, 70]) + parts[1:])


def _exif(rng: random.Random) -> bytes:
    order, mark = rng.choice([("<", b"II"), (">", b"MM")])
    entries = rng.choice([0, 1, 3, 200])
    body = (
        mark
        + struct.pack(order + "HI", 42, rng.choice([8, 8, 8, _extreme(rng, 4)]))
        + struct.pack(order + "H", entries)
    )
    for _ in range(min(entries, 5)):
        tag = rng.choice([0x0112, 0x8769, 0x8825, 0x010E, 0xA005])
        body += struct.pack(order + "HHII", tag, rng.randrange(20), _extreme(rng, 4), _extreme(rng, 4))
    return body


def _jpeg_segments(rng: random.Random) -> bytes:
    """Markers with other lengths and contents, EXIF data that lie."""
    data = _photo(rng, ".jpg")
    at = 2
    places = []
    while data[at + 1] != 0xDA:
        places.append(at)
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    place = rng.choice([*places, at])
    length = 2 + struct.unpack_from(">H", data, place + 2)[0]
    segment = bytearray(data[place : place + length])
    choice = rng.randrange(5)
    if choice == 0:
        return (data[:place] + bytes(segment) * rng.choice([2, 9, 1000]) + data[place + length :])[:LARGEST]
    if choice == 1:
        return data[:place] + data[place + length :]
    if choice == 2:
        segment[2:4] = _extreme(rng, 2).to_bytes(2, "big")
    elif choice == 3:
        segment[rng.randrange(4, len(segment))] = _extreme(rng, 1)
    else:
        body = b"Exif\0\0" + _exif(rng)
        segment[:0] = b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body
    return data[:place] + bytes(segment) + data[place + length :]


def jpeg_of_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame says another size than its data have."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def jpeg_of_many_scans(data: bytes, times: int) -> bytes:
    """A progressive JPEG in which the last scan comes again and again."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + data[-2:]


def _jpeg_frames(rng: random.Random) -> bytes:
    data = _photo(rng, ".jpg")
    if rng.random() < 0.6:
        data = jpeg_of_size(data, _extreme(rng, 2), _extreme(rng, 2))
    if b"\xff\xc2" in data and rng.random() < 0.8:
        data = jpeg_of_many_scans(data, rng.choice([3, 60, 90, 150, 1500]))
    return data[:LARGEST]


def _gif_fields(rng: random.Random) -> bytes:
    data = bytearray(_photo(rng, ".gif"))
    for _ in range(rng.choice([1, 2])):
        places = [6, 8, *(at + offset for at in range(len(data) - 9) if data[at] == 0x2C for offset in (1, 3, 5, 7))]
        at = rng.choice(places[:8])
        data[at : at + 2] = _extreme(rng, 2).to_bytes(2, "little")
    if rng.random() < 0.3:
        comment = b"\x21\xfe" + (b"\xff" + b"c" * 255) * rng.choice([1, 100, 500]) + b"\0"
        place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
        data[place:place] = comment
    return bytes(data[:LARGEST])


def runs_bmp(width: int, height: int, runs: bytes, bits: int = 8, compression: int = 1) -> bytes:
    """A BMP of run-length coded rows."""
    palette = bytes(4 << bits)
    start = 54 + len(palette)
    header = struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(runs), 0, 0, 0, 0)
    return header + palette + runs


def _bmp_fields(rng: random.Random) -> bytes:
    data = bytearray(_photo(rng, ".bmp"))
    for _ in range(rng.choice([1, 2])):
        at, size = rng.choice([(10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (46, 4), (34, 4)])
        data[at : at + size] = _extreme(rng, size).to_bytes(size, "little")
    return bytes(data)


def _bmp_runs(rng: random.Random) -> bytes:
    """Runs, rows that end early and jumps far over the edge."""
    pieces = [
        b"\0\0",
        b"\0\1",
        b"\0\2\xff\xff",
        b"\0\2\0\xff",
        b"\xff\x05",
        b"\1\7",
        b"\0\5abcdef",
        b"\0\xff" + bytes(256),
    ]
    runs = b"".join(rng.choices(pieces, weights=[9, 1, 3, 3, 9, 3, 3, 1], k=rng.choice([3, 100, 20_000])))
    side = rng.choice([9, 500, 3000, 16_000, 90_000])
    bits, compression = rng.choice([(8, 1), (4, 2)])
    return runs_bmp(side, rng.choice([1, 9, side, 178_000_000 // side]), runs, bits, compression)[:LARGEST]


def _tiff_entries(rng: random.Random) -> bytes:
    """Entries of the first directory with other types, counts and values; twice, or missing; chains of directories."""
    data = bytearray(_photo(rng, ".tif"))
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, first)
    for _ in range(rng.choice([1, 1, 2, 3])):
        entry = first + 2 + 12 * rng.randrange(count)
        choice = rng.randrange(6)
        if choice == 0:
            struct.pack_into(order + "H", data, entry + 2, rng.randrange(20))
        elif choice == 1:
            struct.pack_into(order + "I", data, entry + 4, _extreme(rng, 4))
        elif choice == 2:
            struct.pack_into(order + "I", data, entry + 8, _extreme(rng, 4))
        elif choice == 3:
            other = first + 2 + 12 * rng.randrange(count)
            data[entry : entry + 12] = data[other : other + 12]
        elif choice == 4:
            struct.pack_into(
                order + "H", data, entry, rng.choice([256, 257, 258, 259, 262, 277, 278, 284, 322, 323, 324, 330])
            )
        else:
            struct.pack_into(order + "I", data, first + 2 + 12 * count, rng.choice([first, 8, 0, _extreme(rng, 4)]))
    return bytes(data)


def _webp_fields(rng: random.Random) -> bytes:
    data = bytearray(_photo(rng, ".webp"))
    for _ in range(rng.choice([1, 2])):
        at, size = rng.choice([(4, 4), (16, 4), (20, 1), (21, 4), (24, 3), (27, 3), (26, 2), (28, 2)])
        data[at : at + size] = _extreme(rng, size).to_bytes(size, "little")
    return bytes(data)


def _webp_of_nothing(rng: random.Random) -> bytes:
    """A header that declares much and holds little."""
    wide, high = rng.choice([99, 5000, 16_383]), rng.choice([99, 5000, 16_383])
    body = b"\x2f" + ((wide - 1) | (high - 1) << 14).to_bytes(4, "little") + rng.randbytes(rng.choice([3, 9, 40]))
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _jpeg2000_markers(rng: random.Random) -> bytes:
    """Sizes, tiles, components, layers, resolutions, blocks and precincts."""
    data = bytearray(_photo(rng, rng.choice([".jp2", ".j2k"])))
    start = data.index(b"\xff\x4f\xff\x51")
    coding = data.index(b"\xff\x52", start)
    for _ in range(rng.choice([1, 1, 2, 4])):
        if rng.random() < 0.5:
            at, size = start + 6 + rng.choice([2, 6, 10, 14, 18, 22, 26, 30, 34]), 4
            if at == start + 40:
                size = 2
        else:
            at, size = coding + rng.choice([4, 5, 6, 8, 9, 10, 11, 12, 13]), 1
        data[at : at + size] = _extreme(rng, size).to_bytes(size, "big")
    if rng.random() < 0.2 and b"ihdr" in data:
        at = data.index(b"ihdr") + 4 + rng.choice([0, 4])
        data[at : at + 4] = _extreme(rng, 4).to_bytes(4, "big")
    return bytes(data)


def _boxes(rng: random.Random) -> bytes:
    """Boxes of AVIF and JPEG 2000 with other sizes and names."""
    names = [name for name in whole_photos() if name.endswith((".avif", ".jp2"))]
    data = bytearray(whole_photos()[rng.choice(names)])
    boxes = [b"ispe", b"meta", b"iinf", b"infe", b"iloc", b"ipma", b"av1C", b"jp2h", b"ihdr", b"colr", b"jp2c", b"mdat"]
    for _ in range(rng.choice([1, 2])):
        at = data.find(rng.choice(boxes))
        if at > 4:
            where, size = at + rng.choice([-4, 0, 4, 8, 12]), rng.choice([1, 2, 4])
            data[where : where + size] = _extreme(rng, size).to_bytes(size, "big")
    return bytes(data)


def _ppm_headers(rng: random.Random) -> bytes:
    kind = rng.choice(["P1", "P2", "P3", "P4", "P5", "P6", "Pf", "P7"])
    numbers = [_extreme(rng, rng.choice([1, 2, 4])) for _ in range(3)]
    between = rng.choice([" ", "\n", "\n# words\n", "\t", "  "])
    header = between.join([kind, *(str(number) for number in numbers)]).encode() + b"\n"
    body = rng.choice([b"1 ", b"0", b"255 ", b"99999999999 ", b"# words\n", b"-1 ", b"\xff", b"x "])
    return (header + body * rng.choice([0, 9, 1000, 40_000]))[:LARGEST]


# --- honest photos that look like traps, and traps that are whole ---


def _plain(rng: random.Random) -> bytes:
    """A page of one colour: much in few bytes."""
    side = rng.choice([500, 2000, 3000])
    image = Image.new(rng.choice(["1", "L", "RGB"]), (side, side), 255 if rng.random() < 0.5 else 0)
    choices: list[tuple[str, dict[str, Any]]] = [("PNG", {}), ("GIF", {}), ("JPEG", {"quality": 30})]
    choices += [("WEBP", {"lossless": True, "method": 0, "quality": 0}), ("TIFF", {"compression": "tiff_lzw"})]
    file_format, options = rng.choice(choices)
    return _saved(image.convert("L") if image.mode == "1" and file_format != "PNG" else image, file_format, options)


def _elongated(rng: random.Random) -> bytes:
    long, short = rng.choice([9000, 65_000, 99_000, 120_000]), rng.choice([1, 2, 7])
    return _saved(Image.new("L", (long, short) if rng.random() < 0.5 else (short, long)), "PNG", {})


DAMAGES: dict[str, Damage] = {
    "few_bits": _few_bits,
    "bits_of_the_header": _bits_of_the_header,
    "numbers_of_the_header": _numbers_of_the_header,
    "cut_off": _cut_off,
    "cut_off_and_filled": _cut_off_and_filled,
    "a_piece_missing": _a_piece_missing,
    "a_piece_more": _a_piece_more,
    "a_piece_twice": _a_piece_twice,
    "two_spliced": _two_spliced,
    "one_after_another": _one_after_another,
    "noise_after_a_signature": _noise_after_a_signature,
    "noise": _noise,
    "png_chunks": _png_chunks,
    "png_header": _png_header,
    "png_bombs": _png_bombs,
    "jpeg_segments": _jpeg_segments,
    "jpeg_frames": _jpeg_frames,
    "gif_fields": _gif_fields,
    "bmp_fields": _bmp_fields,
    "bmp_runs": _bmp_runs,
    "tiff_entries": _tiff_entries,
    "webp_fields": _webp_fields,
    "webp_of_nothing": _webp_of_nothing,
    "jpeg2000_markers": _jpeg2000_markers,
    "boxes": _boxes,
    "ppm_headers": _ppm_headers,
    "plain": _plain,
    "elongated": _elongated,
}


def damaged_photo(seed: int) -> bytes:
    """A photo with a damage that the seed chooses."""
    rng = random.Random(seed)
    return DAMAGES[rng.choice(sorted(DAMAGES))](rng)
