"""What the text of an error must be, and texts without what differs from case to case."""

from __future__ import annotations

import re

from fuseline.errors import LONGEST

_FAULTS = (
    ("is the repr of an object", re.compile(r"<[^<>]* object at 0x|<(?:function|class|module) |at 0x[0-9a-f]{6}")),
    (
        "names a source file of a library",
        re.compile(r"onnxruntime_src|onnxruntime/core|/build/|\.cargo|[\w/]+\.(?:cc|cpp|hpp|rs|py):\d+|\.cc\b|\.rs\b"),
    ),
    ("names a C++ or Rust function", re.compile(r"onnxruntime::|\w+::\w+\(|called `\w+::unwrap|panicked at")),
    ("is a traceback", re.compile(r"Traceback \(most recent|^\s+File \"")),
)


def faults(text: str) -> list[str]:
    """Why the text is no good message; empty for a good one. One printable line of at most LONGEST characters."""
    found = []
    if not text.strip():
        found.append("is empty")
    if len(text.splitlines()) > 1:
        found.append("has several lines")
    elif not text.isprintable():
        found.append("is not printable")
    if len(text) > LONGEST:
        found.append(f"has more than {LONGEST} characters")
    return found + [why for why, pattern in _FAULTS if pattern.search(text)]


_VARYING = (
    (re.compile(r"\x1b\[[\d;]*m|\[(?:\d+;)*\d*m\b"), ""),
    (re.compile(r"^\d{4}-\d\d-\d\d \S+ "), ""),
    (re.compile(r"running \w+ node.*", re.DOTALL), "running a node ..."),
    (re.compile(r"Exception during initialization:.*", re.DOTALL), "Exception during initialization ..."),
    (re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""), "'...'"),
    (re.compile(r"/[^\s:,;()']*"), "PATH"),
    (re.compile(r"\\[xuU][0-9a-fA-F]+"), "?"),
    (re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{12}\b"), "HEX"),
    (re.compile(r"-?\d[\d_,.]*(?:e[+-]?\d+)?"), "N"),
    (re.compile(r"(?:N, )+N"), "N"),
)


def normalised(text: str) -> str:
    """The sentence without names, paths and numbers, so that sentences of one kind are equal."""
    for pattern, common in _VARYING:
        text = pattern.sub(common, text)
    return " ".join(text.split())[:200]
