"""fuseline-embed.bin: what fuseline.h must know of an embedded model, so that no JSON is read in C.

A text is its length in bytes, uint32, and they; all numbers are little-endian. The file is a CRC-32 of what follows,
and names and what they stand for in turn, each a text:

- `format`: int64
- `file.NAME`: of each file that it reads the length and the CRC-32, two uint64
- `start.needed`, `start.optional`, `start.outputs`, `step.needed` ...: names of inputs and outputs, texts
- `texts`: the inputs that are texts to be read
- `option.NAME`: the model's own value, int64 or float32
- `language.NAME`, `task.NAME`: tokens, int64; of a Whisper of several languages alone, whose language may be "auto"
- `words.later`, `words.first`, `words.begins`, `words.clean_up`: as in words.json, texts, but begins, a byte a token;
  `first` is empty where it is `later`; none of a tokenizer without words
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .options import Option
from .whisper import HEARD
from .words import Words

_GRAPHS = ("start", "step")


def flat(
    description: Mapping[str, Any], texts: Sequence[str], options: Mapping[str, Option], words: Words | None
) -> bytes:
    """The content of the file.

    description: that of fuseline-embed.json, whose `files` have all that fuseline.h reads; texts: the inputs that are
    texts to be read; words: None of a tokenizer without.
    """
    found = {"format": _whole(description["format"])} | _files(description["files"])
    for name in _GRAPHS:
        graph = description["graphs"][name]
        for kind, optional in (("needed", False), ("optional", True)):
            found[f"{name}.{kind}"] = _names(each for each in graph["inputs"] if ("default" in each) is optional)
        found[f"{name}.outputs"] = _names(graph["outputs"])
    found["texts"] = _texts(each.encode() for each in texts)
    for name, option in options.items():
        if option.default.ndim == 0:
            found[f"option.{name}"] = option.default.astype(option.default.dtype.newbyteorder("<")).tobytes()
    speech = description.get("speech", {})
    languages, tasks = speech.get("languages", {}), speech.get("tasks", {})
    heard = {"auto": HEARD} if languages else {}
    found |= {f"language.{name}": _whole(token) for name, token in (languages | heard).items()}
    found |= {f"task.{name}": _whole(token) for name, token in tasks.items()}
    return packed(found | ({} if words is None else _words(words)))


def packed(entries: Mapping[str, bytes]) -> bytes:
    """A file of such entries."""
    content = _texts(part for name, value in entries.items() for part in (name.encode(), value))
    return struct.pack("<I", zlib.crc32(content)) + content


def _files(listed: Mapping[str, Any]) -> dict[str, bytes]:
    names = ("fuseline-embed.json", *(f"{name}.onnx" for name in _GRAPHS), "weights.bin")
    return {f"file.{name}": struct.pack("<QQ", listed[name]["bytes"], listed[name]["crc32"]) for name in names}


def _words(words: Words) -> dict[str, bytes]:
    return {
        "words.later": _texts(words.later),
        "words.first": _texts(() if words.first == words.later else words.first),
        "words.begins": np.array(words.begins, np.uint8).tobytes(),
        "words.clean_up": _texts(each.encode() for pair in words.clean_up for each in pair),
    }


def _names(tensors: Iterable[Mapping[str, Any]]) -> bytes:
    return _texts(each["name"].encode() for each in tensors)


def _texts(texts: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in texts)


def _whole(number: int) -> bytes:
    return struct.pack("<q", number)
