"""Files of a text a line: read as UTF-8, and what is wrong named with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuseline.errors import InputError

LARGEST = 1 << 30  # bytes
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_lines(path: Path) -> list[str]:
    """The lines of a file without their ends, see lines_of. Raises InputError."""
    return lines_of(read_bytes(path), path)


def lines_of(content: bytes, path: Path) -> list[str]:
    """The lines of a file's content, which end in LF or CRLF and nothing else, as other tools count them.

    Raises InputError for what is no UTF-8 and for zero bytes, naming the line.
    """
    found = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], start=1):
        try:
            text = line.removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}: byte {error.start + 1} is no UTF-8; save the file as UTF-8"
            ) from error
        if "\0" in text:
            raise InputError(f"{path}, line {number} has a zero byte, which no text has; is this a text file?")
        found.append(text)
    return found


def read_bytes(path: Path, right: str = "a file with a text a line") -> bytes:
    """What a regular file holds. right: what should have been given. Raises InputError."""
    try:
        if path.exists() and not path.is_file():  # of a pipe, reading might never end
            raise InputError(f"{path} cannot be read: it is no regular file; give {right}")
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} has more than {LARGEST >> 30} GiB; give a part of it")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a zero byte in the path
        raise InputError(f"{path!r} cannot be read: {error}") from error


def is_text(value: object) -> bool:
    """Not blank, and no half of a pair of surrogates, which nothing but Python could read."""
    return isinstance(value, str) and bool(value.strip()) and not _SURROGATES.search(value)


def object_of(content: bytes | str, where: str) -> Mapping[str, Any]:
    """The JSON object that this is. Raises InputError, which begins with where it stands."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} must hold a JSON object")
    return value
