"""What a file is by its first bytes: a photo that is read, or something that is not and has a name."""

from __future__ import annotations

import re

# The brands of ISO base media files (AVIF, HEIC, videos) stand in their first box.
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

_AS_JPEG = "save it as JPEG or PNG"
_DEVELOP = "give the JPEG beside it, or develop it into one"
_STILL = "give a still of it as JPEG or PNG"
_PAGE = "save the page as JPEG or PNG"

# (pattern at the file's beginning, what it is, what to do)
_OTHERS = [
    (rb"%PDF-|.{1,1000}%PDF-", "a PDF document", _PAGE),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript or EPS document", _PAGE),
    (rb"\s*(<\?xml.{0,900}|<!--.{0,900}|<!DOCTYPE svg.{0,900})?<svg[\s>]", "an SVG drawing", _AS_JPEG),
    (rb"(?i)\s*(<!doctype html|<html|<head)", "a web page", "download the photo itself"),
    (rb"8BPS", "a Photoshop document (PSD)", _AS_JPEG),
    (rb"gimp xcf", "a GIMP document (XCF)", _AS_JPEG),
    (rb"\x00\x00[\x01\x02]\x00", "an icon (ICO or CUR)", "save it as PNG"),
    (rb"icns", "an icon (ICNS)", "save it as PNG"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL image", _AS_JPEG),
    (rb"II\xbc\x01", "a JPEG XR image", _AS_JPEG),
    (rb"(?s)II\*\x00.{4}CR", "a camera's RAW file (CR2)", _DEVELOP),
    (rb"(?s).{4}ftypcrx ", "a camera's RAW file (CR3)", _DEVELOP),
    (rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\x00|FOVb|\x00MRM", "a camera's RAW file", _DEVELOP),
    (rb"(?s).{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |\x00\x00\x01[\xb3\xba]|FLV\x01|0&\xb2u", "a video", _STILL),
    (rb"v/1\x01|#\?RADIANCE|SIMPLE  =", "an image of high dynamic range", _AS_JPEG),
    (rb"qoif|DDS |AT&TFORM|BPG\xfb|FLIF", "an image of a kind that is not read", _AS_JPEG),
    (rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf", "an archive", "unpack it and give a photo of it"),
]


def format_of(data: bytes) -> str | None:
    """The name, in Pillow's words, of the format that a file of these bytes is in; None if it is no photo."""
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else None
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:1] == b"P" and data[1:2] in b"123456f" and len(data) > 2 and data[2:3] in b" \t\n\x0b\x0c\r#":
        return "PPM"
    if data[8:10] == b"CR" and data.startswith(b"II*\0"):
        return None  # Canon's RAW, which begins as a TIFF does
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    return None


_STARTS = [
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
]


def _brands(data: bytes) -> set[bytes]:
    size = min(int.from_bytes(data[:4], "big"), 200)
    return {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}


def what_else(data: bytes) -> tuple[str, str] | None:
    """What a file is that is no photo, and what to do about it, as two clauses; None if it is nothing known."""
    start = data[:1100]
    for pattern, what, to_do in _OTHERS:
        if re.match(pattern, start, re.DOTALL):
            return what, to_do
    return None
