"""The files of a model folder: that they lie inside it, are regular, and can be read; what JSON they hold.

Every error of the file system becomes a FolderError here, whose sentence names the file.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from fuseline.kernels import guard_files

from ..errors import FolderError, shown

DESCRIPTION = "fuseline.json"  # the file that makes a folder one of fuseline's

# config.json of the largest models is some tens of kB; a description with thousands of files stays below this too.
LARGEST_JSON = 4 << 20
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to would be waited for
_BINARY = getattr(os, "O_BINARY", 0)
_INT64 = 1 << 63
# Bytes of a file up to which it is read. A larger one is mapped, since a copy of it would be felt; what is mapped must
# be guarded against being cut short.
_READ_WHOLE = 512 << 20


@dataclass(frozen=True)
class Stamp:
    """By which it is noticed that a file was written to or replaced: device, inode, bytes, time of the change in ns.

    Not the time of the inode's change: a new name of the same file, as export makes them, is none to who reads it.
    """

    device: int
    inode: int
    size: int
    modified: int


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what the file system refuses, or what no name can be, into a FolderError about path."""
    try:
        yield
    except OSError as error:
        raise FolderError(f"{shown(path, 400)} cannot be read: {error.strerror or error}") from error


def inside(root: Path, name: str, source: Path | None = None) -> Path:
    """The regular file of that name, links resolved. Raises FolderError if it lies elsewhere or is not there.

    root: the resolved folder; source: the file that gives the name, for the message.
    """
    check_name(name, source or root)
    path = root / name
    try:
        resolved = path.resolve(strict=True)
    except FileNotFoundError:
        what = "is a link to a file that is not there" if path.is_symlink() else "is missing"
        raise FolderError(f"{_of(root, name)} {what}; copy or export the folder again") from None
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FolderError(f"{_of(root, name)} cannot be opened: {reason}") from error
    if not any(resolved.is_relative_to(home) for home in (root, *_blobs(root))):
        raise FolderError(f"{_of(root, name)} is a link out of the folder, to {resolved}; put the file itself there")
    with reading(path):
        if not stat.S_ISREG(resolved.stat().st_mode):
            raise FolderError(f"{_of(root, name)} is not a regular file")
    return resolved


def check_name(name: str, source: object) -> None:
    """Raises FolderError for what is no path inside a folder. source: what gives the name."""
    pure = PurePosixPath(name)
    odd = not name or "\\" in name or ":" in name or not name.isprintable()  # also NUL and lone surrogates
    if odd or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise FolderError(f"{source} lists {shown(name)!r}, which is not a path inside the folder")


def open_regular(path: Path) -> BufferedReader:
    """Open to read, never waiting for a pipe or a device. Raises OSError; FolderError for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FolderError(f"{path} is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def contents(path: Path) -> Iterator[tuple[bytes | mmap.mmap, Stamp]]:
    """What a regular file holds, and the stamp it had when it was opened; a large one is mapped, not read.

    Raises FolderError.
    """
    with reading(path), open_regular(path) as file:
        stamp = stamp_of(file)
        if stamp.size <= _READ_WHOLE:
            yield file.read(stamp.size), stamp
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            guard = guard_files([path])
            try:
                yield content, stamp
            finally:
                guard.release()
        if guard.broken:
            raise FolderError(f"{path} was cut short while it was read; copy or export it again")


def stamp_of(file: str | Path | BufferedReader) -> Stamp:
    """Of a path, or of a file that is open. Raises OSError."""
    found = os.stat(file) if isinstance(file, str | Path) else os.fstat(file.fileno())
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def sha256_of(path: Path) -> str:
    """In hexadecimal. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_small(root: Path, name: str, most: int = LARGEST_JSON) -> tuple[bytes, Stamp]:
    """What a file of the folder holds, at most so many bytes, and its stamp. Raises FolderError."""
    with reading(root / name), open_regular(inside(root, name)) as file:
        stamp = stamp_of(file)
        content = file.read(most + 1) if stamp.size <= most else b""
    if max(stamp.size, len(content)) > most:
        raise FolderError(f"{root / name} has {stamp.size} bytes and may have {most}; it should hold a few thousand")
    return content, stamp


def read_json(root: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder. Raises FolderError naming file, line and column of what is malformed.

    A whole number beyond 64 bits is read as a float, which no check takes for a whole number.
    """
    return parsed(read_small(root, name)[0], root / name)


def parsed(content: bytes, where: Path) -> dict[str, Any]:
    """The object in the content of a JSON file. Raises FolderError as read_json does."""
    try:
        text = content.decode("utf-8")
        value = json.loads(text, parse_int=_whole, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise FolderError(f"{where} is not JSON: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise FolderError(f"{where} is not JSON: {place}: {error.msg}") from error
    except RecursionError as error:
        raise FolderError(f"{where} is not JSON that can be read: it is nested too deep") from error
    except ValueError as error:
        raise FolderError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise FolderError(f"{where} must hold a JSON object")
    return value


def some(names: Iterable[str], most: int = 6) -> str:
    """The first names of a list as a sentence has them, and how many more there are."""
    each = list(names)
    more = f" and {len(each) - most} more" if len(each) > most else ""
    return ", ".join(shown(name, 80) for name in each[:most]) + more


def _of(root: Path, name: str) -> str:
    return f"{root}/{shown(name)}"


def _whole(digits: str) -> int | float:
    if len(digits) < 19:
        return int(digits)
    value = float(digits)
    return int(digits) if abs(value) < _INT64 else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it has {shown(twice)!r} twice")
    return found


def _blobs(root: Path) -> tuple[Path, ...]:
    """In the hub's cache a snapshot's files are links to the blobs of the same repository: the folder of those."""
    return (root.parents[1] / "blobs",) if root.parent.name == "snapshots" else ()
