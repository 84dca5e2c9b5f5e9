"""What a text stands for, as in transformers' `load_image`: a file's path, a URL, or the photo itself in base64."""

from __future__ import annotations

import binascii
import os
import re

from fuseline.errors import InputError, shown

from .signatures import format_of
from .source import MAX_BYTES, NOT_FETCHED, URL, path_bytes, public

_WEB = re.compile(r"https?://", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")  # of both alphabets
_STANDARD = str.maketrans("-_", "+/")
_HEAD, _LEAST = 64, 16  # characters by which base64 is recognized, as far as there are so many
_NO_PATH = 128  # so many characters of base64 without a point, a space or the like are no path
_LONGEST_PATH = 4096  # what systems allow


def text_bytes(text: str, allow_downloads: bool, timeout: float | None) -> tuple[bytes, str]:
    """The bytes of the photo that a text stands for, and its name for messages: of base64 only how long it is.

    What is there under that name is a path, whatever it looks like. Raises InputError.
    """
    if len(text) <= _LONGEST_PATH and os.path.lexists(text):
        return path_bytes(text)
    if _WEB.match(text):
        if not allow_downloads:
            raise InputError(f"{shown(public(text))}: {NOT_FETCHED}")
        from .download import download  # urllib takes a while to load

        return download(text, timeout)
    if text[:5].lower() == "data:":
        return _data_url(text)
    if not URL.match(text):
        if is_base64(text):
            name = f"the base64 text of {len(text):,} characters"
            return _decoded(text, name), name
        if len(text) > _LONGEST_PATH:
            what = f"a text of {len(text):,} characters is no path, and no photo in base64"
            raise InputError(f"{what}; give the path of a photo")
    return path_bytes(text)


def _data_url(text: str) -> tuple[bytes, str]:
    name = f"the data: URL of {len(text):,} characters"
    _, comma, body = text.partition(",")
    if not comma:
        raise InputError(f"{name}: it has no comma, after which its bytes stand; give data:image/png;base64,...")
    return _decoded(body, name), name


def is_base64(text: str) -> bool:
    """Whether it begins as a photo in base64 does, or has no other characters and is longer than paths are."""
    head = "".join(text[: 2 * _HEAD].split())[:_HEAD]
    if len(head) < _LEAST or not _BASE64.fullmatch(head):
        return False
    head = head.rstrip("=").translate(_STANDARD)
    if format_of(binascii.a2b_base64(head[: len(head) // 4 * 4])) is not None:
        return True
    return len(text) >= _NO_PATH and _BASE64.fullmatch("".join(text.split())) is not None


def _decoded(text: str, name: str) -> bytes:
    if len(text) > MAX_BYTES * 3 // 2:
        raise InputError(f"{name}: more than {MAX_BYTES:,} bytes are no photo; give a smaller one")
    try:
        return binascii.a2b_base64("".join(text.split()).translate(_STANDARD), strict_mode=True)
    except ValueError as error:  # binascii.Error, and for characters that are not ASCII
        raise InputError(f"{name}: this is no whole base64; encode the photo's bytes again") from error
