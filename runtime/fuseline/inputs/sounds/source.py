"""An encoded sound where it lies, in a file or in memory: opened again for every time that it is read."""

from __future__ import annotations

import io
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from typing import Any, BinaryIO

from fuseline.errors import InputError, shown

from ..photos.source import URL, public

MAX_BYTES = 2**31  # of a sound in memory: more than three hours of uncompressed stereo; files may be longer

_AT_ONCE = 2**20
_HEAD = 64

# What is open already, as a shell's <(...) is: whoever wrote that waits for it knowingly. It is read once, into memory.
_OPEN = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")

_NO_FILES = {
    stat.S_IFDIR: "a folder; give the path of a sound file",
    stat.S_IFIFO: "a pipe, not a file; give the path of a sound file",
    stat.S_IFSOCK: "a socket, not a file; give the path of a sound file",
    stat.S_IFCHR: "a device, not a file; give the path of a sound file",
    stat.S_IFBLK: "a device, not a file; give the path of a sound file",
}


@dataclass(frozen=True)
class Encoded:
    """The bytes of a sound file: on the disk, or in memory."""

    name: str
    path: str | None
    data: bytes
    """where there is no path"""
    size: int
    """bytes"""

    def open(self) -> BinaryIO:
        """From the first byte on, apart from every other that is open. Raises InputError."""
        if self.path is None:
            return io.BytesIO(self.data)
        return _opened(self.path, self.name)

    def open_file(self) -> BinaryIO:
        """The same as what the system knows as a file, for other programs. Raises InputError."""
        if self.path is not None:
            return self.open()
        file = _in_memory()
        file.write(self.data)
        file.seek(0)
        return file

    def head(self) -> bytes:
        """Its first bytes, by which formats are told."""
        with self.open() as file:
            return file.read(_HEAD)


def of_path(path: str) -> Encoded:
    """A file; of a path that begins with ~ and is not there, that in the home folder.

    Raises InputError for a URL, for what is no regular file, for what is empty and for what cannot be read.
    """
    if URL.match(path) and not os.path.exists(path):
        right = "a URL is not fetched; download the sound and give the path of the file"
        raise InputError(f"{shown(public(path))}: {right}")
    name = shown(path) or "''"
    if path.startswith("~") and not os.path.lexists(path):
        path = os.path.expanduser(path)
    if _OPEN.fullmatch(path):
        try:
            with open(path, "rb", buffering=0) as pipe:
                return of_bytes(_whole(pipe, name), name)
        except OSError as error:
            raise _closed(name, error) from None
    with _opened(path, name) as file:
        size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise _empty(name)
    return Encoded(name, path, b"", size)


def of_bytes(data: bytes, name: str = "the sound's bytes") -> Encoded:
    """What is in memory. Raises InputError where that is nothing."""
    if not data:
        raise _empty(name)
    return Encoded(name, None, data, len(data))


def of_file(file: Any) -> Encoded:
    """All bytes of a file object, from its beginning if it can seek. Raises InputError."""
    try:
        name = shown(getattr(file, "name", None) or "the file object")
    except Exception:  # whatever somebody's `name` and its `str` do
        name = "the file object"
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        data = _whole(file, name)
    except InputError:
        raise
    except Exception as error:  # a file object is anybody's code
        reason = _reason(error)
        raise InputError(f"{name}: the file cannot be read ({reason}); give one that is whole and open") from error
    return of_bytes(data, name)


def _opened(path: str, name: str) -> BinaryIO:
    try:
        _check_regular(os.stat(path).st_mode, name)
        # A pipe may have come in the file's place meanwhile: O_NONBLOCK, or opening one waits for its writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = os.fdopen(number, "rb")
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file; give the path of a sound file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise _closed(name, error) from None
    try:
        _check_regular(os.fstat(number).st_mode, name)
    except InputError:
        file.close()
        raise
    return file


def _check_regular(mode: int, name: str) -> None:
    if not stat.S_ISREG(mode):
        what = _NO_FILES.get(stat.S_IFMT(mode), "no regular file; give the path of a sound file")
        raise InputError(f"{name}: this is {what}")


def _whole(file: Any, name: str) -> bytes:
    """All that `file` gives, whatever piece it gives at a time."""
    pieces: list[bytes] = []
    total = 0
    while True:
        piece = file.read(_AT_ONCE)
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
            raise InputError(f"{name}: more than {MAX_BYTES:,} bytes are not kept in memory; give the path of a file")


def _in_memory() -> BinaryIO:
    """A file that is in no folder: in memory where the system has such, else in the folder of temporary files."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("sound"), "w+b")
    return tempfile.TemporaryFile()


def _empty(name: str) -> InputError:
    return InputError(f"{name}: there are no bytes in it; give a file that holds a sound")


def _closed(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: the file cannot be opened ({_reason(error)}); give one that may be read")


def _reason(error: Exception) -> str:
    """What the system says of it, in plain words."""
    if isinstance(error, OSError) and error.strerror:
        return shown(error.strerror)
    if isinstance(error, ValueError):
        return "it is closed" if "closed file" in str(error) else "its name cannot be that of a file"
    return type(error).__name__
