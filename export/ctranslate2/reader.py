"""The binary format of CTranslate2's model.bin, versions 2 to 6: names and arrays, and which names mean the same array.

All numbers are little-endian. `text` is a uint16 length that counts a closing zero byte, and the bytes:

    uint32 binary version   text specification   uint32 its revision
    uint32 number of variables, and of each:
        text name   uint8 rank   uint32[rank] shape   uint8 type   uint32 bytes   the content
        (before version 4 the type is the size of an item, and the number after it counts items)
    from version 3: uint32 number of aliases, and of each: text alias   text name

Reference: `ModelSpec._serialize` in ctranslate2/specs/model_spec.py of CTranslate2 4.8 writes version 6.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError, shown
from fuseline.files.reading import open_regular

Array = npt.NDArray[Any]

VERSIONS = range(2, 7)
_WITH_ALIASES, _WITH_TYPES = 3, 4  # the versions that brought them
# By their number in the file. numpy has no bfloat16.
_TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
_BY_SIZE: Mapping[int, str] = {4: "float32", 2: "int16", 1: "int8"}  # before version 4
_BFLOAT16 = "bfloat16"
_MOST_VARIABLES = 1 << 20
_HIGHEST_RANK = 8


@dataclass(frozen=True)
class Binary:
    """What a model.bin holds."""

    version: int
    specification: str
    revision: int
    variables: Mapping[str, Array]
    """by name and alias, as they are stored; an alias has the very array that it stands for"""


def read_binary(path: Path) -> Binary:
    """The contents of a model.bin. Its arrays are views of what was read once.

    Raises ExportError for a file that cannot be read, of another version, or damaged, and for what is stored as
    bfloat16.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from error
    return _Reader(path, content).read()


@dataclass
class _Reader:
    path: Path
    content: bytes
    at: int = 0
    variables: dict[str, Array] = field(default_factory=dict)

    def read(self) -> Binary:
        version = self.number("<I", "the binary version")
        if version not in VERSIONS:
            known = f"{VERSIONS[0]} to {VERSIONS[-1]}"
            raise ExportError(
                f"{self.path} has binary version {version}, and versions {known} of CTranslate2 are known; if it is a "
                "model of CTranslate2, convert it again with a version of 4"
            )
        specification = self.text("the name of the specification")
        revision = self.number("<I", "the revision of the specification")
        for number in range(self.count("variables")):
            self.variable(number, version)
        if version >= _WITH_ALIASES:
            for _ in range(self.count("aliases")):
                self.alias()
        if self.at != len(self.content):
            raise self.damaged(f"{len(self.content) - self.at} bytes follow its end")
        return Binary(version, specification, revision, self.variables)

    def variable(self, number: int, version: int) -> None:
        name = self.text(f"the name of variable {number}")
        rank = self.number("<B", f"the rank of {name}")
        if rank > _HIGHEST_RANK:
            raise self.damaged(f"{name} has {rank} dimensions")
        shape = struct.unpack(f"<{rank}I", self.bytes(4 * rank, f"the shape of {name}"))
        code = self.number("<B", f"the type of {name}")
        size = self.number("<I", f"the size of {name}")
        if version >= _WITH_TYPES:
            kind = _TYPES[code] if code < len(_TYPES) else ""
        else:
            kind, size = _BY_SIZE.get(code, ""), size * code
        if not kind:
            raise self.damaged(f"{name} is of the unknown type {code}")
        item = 2 if kind == _BFLOAT16 else np.dtype(kind).itemsize
        if size != math.prod(shape) * item:
            raise self.damaged(f"{name} of shape {list(shape)} and type {kind} has {size} bytes")
        start = self.skip(size, f"the content of {name}")
        if kind == _BFLOAT16:
            raise ExportError(
                f"{self.path} stores {name} as bfloat16, which is not read; convert the model with "
                "--quantization float32, float16, int8 or int16"
            )
        if name in self.variables:
            raise self.damaged(f"it has two variables {name}")
        self.variables[name] = np.frombuffer(self.content, np.dtype(kind).newbyteorder("<"), math.prod(shape), start)
        self.variables[name] = self.variables[name].reshape(shape)

    def alias(self) -> None:
        """CTranslate2 leaves an alias of nothing out, and lets the scale of codes follow them."""
        alias, name = self.text("an alias"), self.text("what an alias stands for")
        if alias in self.variables:
            raise self.damaged(f"the alias {alias} is the name of a variable too")
        if name not in self.variables:
            raise self.damaged(f"the alias {alias} stands for {name}, which it does not hold")
        for ending in ("", "_scale", "_zero"):
            if name + ending in self.variables:
                self.variables[alias + ending] = self.variables[name + ending]

    def count(self, what: str) -> int:
        number = self.number("<I", f"the number of {what}")
        if number > _MOST_VARIABLES:
            raise self.damaged(f"it says that it has {number} {what}")
        return number

    def text(self, what: str) -> str:
        raw = self.bytes(self.number("<H", f"the length of {what}"), what)
        if not raw.endswith(b"\0"):
            raise self.damaged(f"{what} has no end")
        try:
            found = raw[:-1].decode()
        except UnicodeDecodeError:
            found = ""
        if not found.isprintable() or not found:
            raise self.damaged(f"{what} is {shown(raw[:-1])}")
        return found

    def number(self, form: str, what: str) -> int:
        (found,) = struct.unpack(form, self.bytes(struct.calcsize(form), what))
        return int(found)

    def bytes(self, size: int, what: str) -> bytes:
        start = self.skip(size, what)
        return self.content[start : start + size]

    def skip(self, size: int, what: str) -> int:
        """Where the next `size` bytes begin."""
        start = self.at
        if size > len(self.content) - start:
            left = len(self.content) - start
            raise self.damaged(f"{what} takes {size} bytes at byte {start}, and {left} are left")
        self.at += size
        return start

    def damaged(self, sentence: str) -> ExportError:
        return ExportError(f"{self.path} is not a whole model of CTranslate2: {sentence}")
