"""The files of a model folder: that they lie inside it, what JSON they hold, which weight files a graph points to."""

from __future__ import annotations

import hashlib
import json
import mmap
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import FolderError

# config.json of the largest models is some tens of kB; a description with thousands of files stays below this too.
LARGEST_JSON = 4 << 20
# How protobuf writes the place of external data: StringStringEntryProto.key = "location", and the tag of its value.
_LOCATION = b"\x0a\x08location\x12"


def inside(root: Path, name: str, source: Path | None = None) -> Path:
    """The regular file of that name, links resolved. Raises FolderError if it lies elsewhere or is not there.

    root: the resolved folder; source: the file that gives the name, for the message.
    """
    pure = PurePosixPath(name)
    if not name or "\\" in name or "\0" in name or ":" in name or pure.is_absolute() or ".." in pure.parts:
        raise FolderError(f"{source or root} lists {name!r}, which is not a path inside the folder")
    try:
        resolved = (root / name).resolve(strict=True)
    except FileNotFoundError:
        raise FolderError(f"{root / name} is missing; copy or export the folder again") from None
    except (OSError, RuntimeError) as error:
        raise FolderError(f"{root / name} cannot be opened: {error}") from error
    if not any(resolved.is_relative_to(home) for home in (root, *_blobs(root))):
        raise FolderError(f"{root / name} is a link out of the folder, to {resolved}; put the file itself there")
    if not resolved.is_file():
        raise FolderError(f"{root / name} is not a regular file")
    return resolved


def sha256_of(path: Path) -> str:
    """In hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(root: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder. Raises FolderError naming file, line and column of what is malformed."""
    file = inside(root, name)
    size = file.stat().st_size
    if size > LARGEST_JSON:
        raise FolderError(f"{root / name} has {size} bytes and may have {LARGEST_JSON}; it should hold a few thousand")
    try:
        value = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise FolderError(f"{root / name} is not JSON: {place}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{root / name} is not JSON: {error}") from error
    except OSError as error:
        raise FolderError(f"{root / name} cannot be read: {error.strerror}") from error
    if not isinstance(value, dict):
        raise FolderError(f"{root / name} must hold a JSON object")
    return value


def external_locations(graph: Path) -> set[str]:
    """Where the ONNX file at that path keeps weights outside itself, relative to its own folder.

    A search for the bytes of the field, not a parse: enough to notice a file that was forgotten. That no location leads
    out of the folder is what onnxruntime itself insists on when it loads the graph.
    """
    found: set[str] = set()
    if graph.stat().st_size == 0:
        return found
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_LOCATION)
        while at >= 0:
            start = at + len(_LOCATION) + 1
            length = content[start - 1] if start <= len(content) else 0  # in one byte: names here are below 128 bytes
            found.add(content[start : start + length].decode("utf-8", "replace"))
            at = content.find(_LOCATION, start)
    return found


def _blobs(root: Path) -> tuple[Path, ...]:
    """In the hub's cache a snapshot's files are links to the blobs of the same repository: the folder of those."""
    return (root.parents[1] / "blobs",) if root.parent.name == "snapshots" else ()
