"""Files of photos: of all formats that Pillow writes, damaged as bytes and as what they mean, and bombs.

A generator makes the bytes of a file, and says how large its image must be where it knows that.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests import photo_damage

LARGE = 200_000  # bytes from which on a photo may take longer
_EXTREMES = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Photo:
    """An encoded photo. size: (width, height) that it must load with, being whole; None where damage may forbid it."""

    what: str
    data: bytes
    size: tuple[int, int] | None = None


# --- whole photos ---


# Format, modes and options of all that Pillow writes.
_FORMATS: tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...] = (
    ("JPEG", "RGB L CMYK", ({"quality": 60},)),
    ("JPEG", "RGB", ({"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0})),
    ("PNG", "RGB RGBA L LA 1 P I;16", ({},)),
    ("GIF", "P L RGB", ({},)),
    ("GIF", "P", ({"save_all": True, "append_images": 2}, {"interlace": 0}, {"transparency": 3})),
    ("BMP", "RGB L P 1 RGBA", ({},)),
    ("PPM", "RGB L 1 I;16", ({},)),
    ("WEBP", "RGB RGBA", ({}, {"lossless": True}, {"save_all": True, "append_images": 2})),
    ("TIFF", "RGB", ({"compression": "raw"}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"})),
    ("TIFF", "RGB", ({"compression": "packbits"}, {"compression": "jpeg"}, {"compression": "tiff_adobe_deflate"})),
    ("TIFF", "RGB", ({"compression": "zstd"}, {"compression": "webp"})),
    ("TIFF", "1", ({"compression": "group3"}, {"compression": "group4"}, {"compression": "tiff_ccitt"})),
    ("TIFF", "I;16 F I CMYK LAB YCbCr P LA RGBA", ({},)),
    ("JPEG2000", "RGB L RGBA", ({}, {"irreversible": True, "quality_layers": [40]}, {"tile_size": (16, 16)})),
    ("AVIF", "RGB RGBA", ({"speed": 10},)),
)


@cache
def _writable() -> tuple[tuple[str, str, tuple[tuple[str, Any], ...]], ...]:
    """Those that this Pillow really writes."""
    kept = []
    for file_format, modes, variants in _FORMATS:
        for mode, options in product(modes.split(" "), variants):
            try:
                _encoded(Random(0), file_format, mode, options, (8, 8))
            except Exception:  # a codec that this build lacks
                continue
            kept.append((file_format, mode, tuple(options.items())))
    return tuple(kept)


def _pixels(random: Random, mode: str, size: tuple[int, int]) -> Image.Image:
    width, height = size
    coarse = np.frombuffer(random.randbytes(16 * 16 * 3), np.uint8).reshape(16, 16, 3)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    if mode in ("I;16", "I", "F"):
        deep = np.asarray(image.convert("L")).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
        return Image.fromarray(deep * (1 if mode == "F" else 200))
    if mode == "LAB":
        return Image.frombytes("LAB", size, random.randbytes(3 * width * height))
    return image.convert(mode)


def _encoded(random: Random, file_format: str, mode: str, options: dict[str, Any], size: tuple[int, int]) -> bytes:
    image = _pixels(random, mode, size)
    more = dict(options)
    if "append_images" in more:
        more["append_images"] = [_pixels(random, mode, size) for _ in range(more["append_images"])]
    data = io.BytesIO()
    image.save(data, file_format, **more)
    return data.getvalue()


def whole(random: Random) -> Photo:
    """A photo as Pillow writes it; with EXIF data now and then."""
    file_format, mode, items = random.choice(_writable())
    options = dict(items)
    size = (random.randint(1, 90), random.randint(1, 90))
    turned = 1
    if file_format in ("JPEG", "PNG", "WEBP") and random.random() < 0.2:
        exif = Image.Exif()
        turned = random.randint(0, 9)
        exif[0x0112] = turned
        options["exif"] = exif.tobytes()
    data = _encoded(random, file_format, mode, options, size)
    shown = size[::-1] if turned in range(5, 9) else size
    return Photo(f"{file_format} {mode} {dict(items)} {size}, turned {turned}", data, shown)


# --- damage to any bytes ---


def _flipped(random: Random, data: bytearray) -> str:
    places = [random.randrange(len(data)) for _ in range(random.choice((1, 1, 2, 5, 30)))]
    for place in places:
        data[place] = random.choice((random.randrange(256), data[place] ^ 1 << random.randrange(8), 0, 255))
    return f"bytes changed at {places[:5]}"


def _header_number(random: Random, data: bytearray) -> str:
    """A number at an extreme, in the header more often than later."""
    width = random.choice((1, 2, 4, 4, 8))
    place = random.randrange(max(1, min(len(data) - width, random.choice((32, 64, 300, len(data))))))
    order = random.choice("<>")
    value = random.choice(_EXTREMES) if width < 8 else 2**64 - random.choice((1, 16, 2**63))
    data[place : place + width] = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[width], value % 256**width)
    return f"{value} in {order}{width} bytes at {place}"


def _cut(random: Random, data: bytearray) -> str:
    length = random.choice((random.randrange(len(data)), random.randrange(min(64, len(data))), len(data) - 1))
    del data[length:]
    return f"cut to {length} bytes"


def _repeated(random: Random, data: bytearray) -> str:
    start = random.randrange(len(data))
    piece = data[start : start + random.randint(1, 200)]
    times = random.choice((1, 2, 50))
    place = random.randrange(len(data))
    data[place:place] = piece * times
    return f"{len(piece)} bytes of {start} put {times} times at {place}"


def _removed(random: Random, data: bytearray) -> str:
    start = random.randrange(len(data))
    length = random.randint(1, 100)
    del data[start : start + length]
    return f"{length} bytes removed at {start}"


def _spliced(random: Random, data: bytearray) -> str:
    other = whole(random)
    place = random.randrange(len(data))
    data[place:] = other.data[random.randrange(len(other.data)) :]
    return f"from {place} on bytes of {other.what}"


def _appended(random: Random, data: bytearray) -> str:
    more = random.choice((random.randbytes(random.randint(1, 5000)), whole(random).data, bytes(100_000)))
    data += more
    return f"{len(more)} bytes more"


_ANY = (_flipped, _flipped, _header_number, _header_number, _cut, _repeated, _removed, _spliced, _appended)


def damaged(random: Random) -> Photo:
    """A whole photo, and one to three of the changes above."""
    photo = whole(random)
    data, done = bytearray(photo.data), []
    for _ in range(random.choice((1, 1, 2, 3))):
        if data:
            done.append(random.choice(_ANY)(random, data))
    return Photo(f"{photo.what}: {', '.join(done)}", bytes(data))


# --- damage to chunks, with checksums and lengths right again ---


def png_chunks(random: Random) -> Photo:
    """PNG chunks repeated, moved, removed, resized, unknown, all with a right checksum."""
    mode = random.choice(("RGB", "L", "P", "1", "RGBA", "I;16"))
    data = _encoded(random, "PNG", mode, {}, (random.randint(1, 60), random.randint(1, 60)))
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    done = []
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(chunks))
        name, body = chunks[place]
        match random.randrange(7):
            case 0:
                chunks.insert(random.randrange(len(chunks) + 1), chunks[place])
                done.append(f"{name!r} twice")
            case 1:
                chunks.insert(random.randrange(len(chunks)), chunks.pop(place))
                done.append(f"{name!r} moved")
            case 2 if len(chunks) > 1:
                del chunks[place]
                done.append(f"{name!r} removed")
            case 3:
                header = (
                    list(struct.unpack(">IIBBBBB", chunks[0][1]))
                    if chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13
                    else [1, 1, 8, 2, 0, 0, 0]
                )
                field = random.randrange(7)
                header[field] = random.choice(_EXTREMES) if field < 2 else random.randrange(256)
                if random.random() < 0.5 and field < 2:
                    header[field] = random.randint(1, 20000)
                chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *header))
                done.append(f"IHDR {header}")
            case 4:
                new = random.choice(
                    (
                        b"tEXt",
                        b"zTXt",
                        b"iTXt",
                        b"iCCP",
                        b"eXIf",
                        b"PLTE",
                        b"tRNS",
                        b"acTL",
                        b"fcTL",
                        b"fdAT",
                        b"gAMA",
                        b"cHRM",
                        b"sRGB",
                        b"pHYs",
                        b"ABCD",
                    )
                )
                content = random.choice(
                    (
                        b"",
                        random.randbytes(30),
                        b"a\0\0" + zlib.compress(bytes(random.choice((10, 10**6, 5 * 10**7))), 9),
                    )
                )
                chunks.insert(random.randint(1, len(chunks)), (new, content))
                done.append(f"{new!r} with {len(content)} bytes added")
            case 5:
                chunks[place] = (name, body[: random.randrange(len(body) + 1)])
                done.append(f"{name!r} shorter")
            case _:
                raw = zlib.compress(random.choice((b"", bytes(10**7), random.randbytes(1000))), 9)
                chunks[place] = (b"IDAT", raw)
                done.append(f"{name!r} with IDAT of {len(raw)} bytes")
    made = data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return Photo(f"PNG {mode}: {', '.join(done)}", made)


def jpeg_segments(random: Random) -> Photo:
    """JPEG segments repeated, moved, removed, with other lengths, sizes, components and tables."""
    data = _encoded(
        random, "JPEG", random.choice(("RGB", "L", "CMYK")), {"progressive": random.random() < 0.5}, (40, 30)
    )
    segments, at = [], 2
    while at + 4 <= len(data) and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append(bytearray(data[at : at + 2 + length]))
        at += 2 + length
    rest, done = data[at:], []
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(segments))
        segment = segments[place]
        name = f"{segment[1]:02x}"
        match random.randrange(6):
            case 0:
                segments[place:place] = [segment] * random.choice((1, 3, 300))
                done.append(f"{name} repeated")
            case 1:
                segments.insert(random.randrange(len(segments)), segments.pop(place))
                done.append(f"{name} moved")
            case 2 if len(segments) > 1:
                del segments[place]
                done.append(f"{name} removed")
            case 3:
                for each in segments:
                    if each[1] in (0xC0, 0xC2) and len(each) > 9:
                        size = [random.choice((0, 1, 30, 40, 16000, 65500, 65535)) for _ in range(2)]
                        struct.pack_into(">HH", each, 5, *size)
                        done.append(f"height and width {size}")
            case 4:
                segment[1] = random.choice(
                    (
                        0xC0,
                        0xC1,
                        0xC2,
                        0xC3,
                        0xC9,
                        0xCA,
                        0xC4,
                        0xDB,
                        0xDD,
                        0xE1,
                        0xE2,
                        0xED,
                        0xEE,
                        0xFE,
                        0xD8,
                        0xD9,
                        0x01,
                    )
                )
                done.append(f"{name} is {segment[1]:02x}")
            case _:
                if len(segment) > 4:
                    segment[random.randrange(4, len(segment))] = random.randrange(256)
                done.append(f"{name} changed")
    return Photo(f"JPEG: {', '.join(done)}", data[:2] + b"".join(segments) + rest)


def many_scans(random: Random) -> Photo:
    """A progressive JPEG whose scans come hundreds of times, over as many pixels as it says."""
    size = random.choice(((64, 64), (1024, 1024), (2500, 2500)))
    data = _encoded(random, "JPEG", "L", {"progressive": True}, size)
    first = data.index(b"\xff\xda")
    scans = data[first:-2]
    room = max(1, (LARGE - first) // len(scans))
    times = random.randint(1, min(1000, room))
    return Photo(f"JPEG {size} with its scans {times} times", data[:first] + scans * times + b"\xff\xd9")


def tiff_tags(random: Random) -> Photo:
    """A TIFF by hand: entries with extreme types, counts and values."""
    order = random.choice("<>")
    size = random.randint(1, 40)
    tags = {
        256: (4, 1, size), 257: (4, 1, size), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 400),
        277: (3, 1, 1), 278: (4, 1, size), 279: (4, 1, size * size),
    }  # fmt: skip
    done = []
    for _ in range(random.randint(0, 3)):
        tag = random.choice((*tags, 317, 320, 322, 323, 324, 325, 330, 338, 339, 347, 530, 34665, 34675, 700, 33723))
        tags[tag] = (
            random.choice((1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 0)),
            random.choice((0, 1, 1, 1, 2, 2**31, 2**32 - 1)),
            random.choice((random.randrange(9), *_EXTREMES, 32773, 34712, 50000, 50001, 34925)),
        )
        done.append(f"{tag} {tags[tag]}")
    body = struct.pack(order + "H", len(tags))
    for tag in sorted(tags) if random.random() < 0.8 else tags:
        kind, count, value = tags[tag]
        shift = value << 16 if order == ">" and kind == 3 and value < 65536 else value
        body += struct.pack(order + "HHII", tag, kind, count, shift % 2**32)
    body += struct.pack(order + "I", random.choice((0, 0, 8, 2**32 - 1)))
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + body
    data = data.ljust(400, b"\0") + random.randbytes(size * size)
    return Photo(f"TIFF {order} {size} x {size}: {', '.join(done)}", data, (size, size) if not done else None)


def bmp_header(random: Random) -> Photo:
    """A BMP by hand, run lengths too: as large as its header likes, its bytes few."""
    width, height = (random.choice((1, 16, 300, 13000, 20000, 46000, 2**31 - 1, -5)) for _ in range(2))
    bits, compression = random.choice(
        ((8, 1), (4, 2), (8, 0), (24, 0), (32, 3), (16, 3), (1, 0), (8, 2), (24, 1), (99, 9))
    )
    colours = random.choice((0, 2, 256, 2**31))
    header = struct.pack(
        "<IiiHHIIiiII",
        random.choice((40, 40, 40, 12, 108, 124, 0)),
        width,
        height,
        1,
        bits,
        compression,
        random.choice((0, 100, 2**32 - 1)),
        0,
        0,
        colours,
        0,
    )
    body = b"".join(
        random.choice((b"\0\0", b"\0\1", b"\0\2\xff\xff", b"\xff\x07", b"\0\5abcdef", random.randbytes(2)))
        for _ in range(random.choice((3, 200, 60_000)))
    )
    data = header + random.randbytes(random.choice((0, 16, 1024))) + body
    start = random.choice((14 + len(header) + 1024, 54, 0, len(data), 2**32 - 1))
    return Photo(
        f"BMP {width} x {height}, {bits} bits, compression {compression}, {len(body)} bytes",
        b"BM" + struct.pack("<IHHI", len(data) + 14, 0, 0, start) + data,
    )


def bombs(random: Random) -> Photo:
    """Files that are small and say that they are large, or are large once they are read."""
    edge = random.choice((10_000, 13_000, 13_377, 13_378, 16_383, 30_000, 65_535))
    match random.randrange(8):
        case 0:
            raw = zlib.compress(bytes(min(edge * (edge // 8 + 2), 30_000_000)), 9)
            parts = [(b"IHDR", struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)), (b"IDAT", raw), (b"IEND", b"")]
            made = b"\x89PNG\r\n\x1a\n" + b"".join(
                struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
                for name, body in parts
            )
            return Photo(f"PNG of {edge} x {edge} bits", made)
        case 1:
            made = b"GIF89a" + struct.pack("<HHBBB", edge, edge, 0x80, 0, 0) + bytes(6)
            made += b"," + struct.pack("<HHHHB", 0, 0, edge, edge, 0) + b"\x02\x02\x4c\x01\0;"
            return Photo(f"GIF of {edge} x {edge}", made)
        case 2:
            return Photo(
                f"PPM of {edge} x {edge}", b"P%d\n%d %d\n255\n" % (random.randint(1, 7), edge, edge) + bytes(99)
            )
        case 3:
            data = bytearray(_encoded(random, "WEBP", "RGB", {"lossless": random.random() < 0.5}, (20, 20)))
            struct.pack_into("<I", data, random.choice((21, 26)), random.getrandbits(32) | 0x3FFF3FFF)
            return Photo("WebP with a header that says 16,384", bytes(data))
        case 4:
            box = bytearray(_encoded(random, "JPEG2000", random.choice(("RGB", "L")), {}, (20, 20)))
            siz = box.find(b"\xff\x51")
            struct.pack_into(
                ">IIIIIIII",
                box,
                siz + 6,
                edge,
                edge,
                0,
                0,
                random.choice((edge, 64, 1)),
                random.choice((edge, 64, 1)),
                0,
                0,
            )
            return Photo(
                f"JPEG 2000 codestream of {edge} x {edge}", bytes(box[siz - 2 :] if random.random() < 0.5 else box)
            )
        case 5:
            chunk = random.choice((b"zTXt", b"iCCP"))
            body = b"a\0\0" + zlib.compress(bytes(150_000_000), 9)
            one = _encoded(random, "PNG", "L", {}, (9, 9))
            added = struct.pack(">I", len(body)) + chunk + body + struct.pack(">I", zlib.crc32(chunk + body))
            return Photo(f"PNG with {chunk!r} of 150 MB", one[:33] + added + one[33:])
        case 6:
            lines = b"\0\0" * random.choice((10, 40_000))
            header = struct.pack("<IiiHHIIiiII", 40, edge, edge, 1, 8, 1, 0, 0, 0, 256, 0)
            return Photo(
                f"BMP of runs of {edge} x {edge}",
                b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + header + bytes(1024) + lines,
            )
        case _:
            digits = b"9" * random.choice((5, 10, 400, 5000))
            return Photo(f"PPM with a width of {len(digits)} digits", b"P6\n" + digits + b" 1\n255\n" + bytes(99))


# Functions that give bytes alone may stand here too.
GENERATORS: tuple[Callable[[Random], Photo | bytes], ...] = (
    whole, damaged, damaged, damaged, png_chunks, jpeg_segments, many_scans, tiff_tags, bmp_header, bombs,
    lambda random: photo_damage.damaged_photo(random.getrandbits(32)),
)  # fmt: skip
WEIGHTS = (10, 15, 15, 15, 10, 10, 1, 8, 6, 4, 60)
