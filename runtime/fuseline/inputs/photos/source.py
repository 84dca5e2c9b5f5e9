"""The bytes of an encoded photo, from a path, a file object or memory: bounded, and never waiting for a pipe."""

from __future__ import annotations

import os
import re
import stat
from typing import Any

from fuseline.errors import InputError, shown

# The most bytes a photo may have: as many as the largest photo takes uncompressed, at 6 bytes a pixel.
MAX_BYTES = 2**30

URL = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)
NOT_FETCHED = (
    "a URL is not fetched; give one of http or https as a text with allow_downloads=True, or download the photo and "
    "give the path of the file"
)
_AT_ONCE = 2**20
# What is open already, as a shell's <(...) is: whoever wrote that waits for it knowingly.
_OPEN = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")

_NO_FILES = {
    stat.S_IFDIR: "a folder; give the path of a photo",
    stat.S_IFIFO: "a pipe, not a file; give the photo's path, or its bytes on standard input",
    stat.S_IFSOCK: "a socket, not a file; give the path of a photo",
    stat.S_IFCHR: "a device, not a file; give the path of a photo",
    stat.S_IFBLK: "a device, not a file; give the path of a photo",
}


def path_bytes(path: str) -> tuple[bytes, str]:
    """A file's bytes and its name for messages; of a path that begins with ~ and is not there, that in the home folder.

    Raises InputError for what is no regular file, or cannot be read.
    """
    if URL.match(path) and not os.path.exists(path):
        raise InputError(f"{shown(public(path))}: {NOT_FETCHED}")
    name = shown(path) or "''"
    if path.startswith("~") and not os.path.lexists(path):
        path = os.path.expanduser(path)
    try:
        if _OPEN.fullmatch(path):
            with open(path, "rb", buffering=0) as file:
                return _read(file, name), name
        _check_regular(os.stat(path), name)
        # A pipe may have come in the file's place meanwhile: O_NONBLOCK, or opening one waits for its writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(number, "rb", buffering=0) as file:
            _check_regular(os.fstat(number), name)
            return _read(file, name), name
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file; give the path of a photo") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = _reason(error) or "its name cannot be that of a file"
        raise InputError(f"{name}: the file cannot be opened ({reason}); give one that may be read") from None


def public(url: str) -> str:
    """A URL as messages have it: without user, password, query and fragment, which may hold keys."""
    start, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{start}{mark}{host.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


def _check_regular(found: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = _NO_FILES.get(stat.S_IFMT(found.st_mode), "no regular file; give the path of a photo")
        raise InputError(f"{name}: this is {what}")
    if found.st_size > MAX_BYTES:
        raise _too_many_bytes(name)


def file_bytes(file: Any) -> tuple[bytes, str]:
    """A file object's bytes, from its beginning if it can seek, and its name. Raises InputError."""
    try:
        name = shown(getattr(file, "name", None) or "the file object")
    except Exception:  # whatever somebody's `name` and its `str` do
        name = "the file object"
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
    except Exception as error:  # a file object is anybody's code
        raise _unreadable(name, error) from error
    return _read(file, name), name


def _read(file: Any, name: str) -> bytes:
    """All that `file` gives, whatever piece it gives at a time."""
    pieces: list[bytes] = []
    total = 0
    while True:
        try:
            piece = file.read(_AT_ONCE)
        except Exception as error:
            raise _unreadable(name, error) from error
        if isinstance(piece, str):
            raise InputError(f"{name}: the file is open as text, not as bytes; open it with mode 'rb'")
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            kind = type(piece).__name__
            raise InputError(f"{name}: its read() gave {kind}, not bytes; give a file that is open for reading")
        if len(piece) == 0:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.append(bytes(piece))
        total += len(pieces[-1])
        if total > MAX_BYTES:
            raise _too_many_bytes(name)


def _too_many_bytes(name: str) -> InputError:
    return InputError(f"{name}: more than {MAX_BYTES:,} bytes are no photo; give a smaller file")


def _unreadable(name: str, error: Exception) -> InputError:
    reason = _reason(error) or type(error).__name__
    return InputError(f"{name}: the file cannot be read ({reason}); give one that is whole and open")


def _reason(error: Exception) -> str | None:
    """What the system says of it, in plain words."""
    if isinstance(error, OSError) and error.strerror:
        return shown(error.strerror)
    if isinstance(error, ValueError) and "closed file" in str(error):
        return "it is closed"
    return None
