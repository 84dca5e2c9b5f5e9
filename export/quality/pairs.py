"""Texts with what people wrote for them (translations, summaries): reads lines of two files, tables and JSON lines."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseline.errors import InputError, counted

from .lines import lines_of, read_bytes

_SURROGATES = re.compile("[\ud800-\udfff]")
_RIGHT = "a table (.tsv), JSON lines, or two files of lines"


@dataclass(frozen=True)
class Pair:
    """One text. name: its line in the file; references: what people wrote for it, at least one text."""

    name: str
    source: str
    references: tuple[str, ...]
    split: str | None = None

    @property
    def given(self) -> str:
        """What a model is given."""
        return self.source


def read_pairs(path: Path, references: Path | None) -> tuple[list[Pair], str]:
    """The texts of a file with their references, and what tells the content from another (a sha256).

    path: with `references`, a file of sources, a line each, where that one has as many references; else a table
    (.tsv: source, tab, one or more references with tabs between), or an object a line: {"source": text, "references":
    [texts], "split": word}. Raises InputError naming the line that is wrong.
    """
    content = read_bytes(path, _RIGHT)
    sha256 = hashlib.sha256(content)
    if references is not None:
        others = read_bytes(references, "a file with a reference a line")
        sha256.update(hashlib.sha256(others).digest())
        found = _of_two(lines_of(content, path), path, lines_of(others, references), references)
    elif path.suffix == ".tsv":
        found = _of_table(lines_of(content, path), path)
    else:
        found = _of_objects(lines_of(content, path), path)
    if not found:
        raise InputError(f"{path} has no texts; it must be {_RIGHT}")
    return found, sha256.hexdigest()


def _of_two(sources: list[str], path: Path, references: list[str], other: Path) -> list[Pair]:
    if len(sources) != len(references):
        raise InputError(
            f"{path} has {counted(len(sources), 'line')} and {other} has {len(references):,}; "
            "line by line they must be texts and their references"
        )
    found = []
    for number, (source, reference) in enumerate(zip(sources, references, strict=True), start=1):
        if source.strip() or reference.strip():
            blank = path if not source.strip() else other
            found.append(_pair(source, [reference], number, f"{blank}, line {number}"))
    return found


def _of_table(lines: list[str], path: Path) -> list[Pair]:
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            source, *references = line.split("\t")
            if not references:
                raise InputError(f"{path}, line {number} has no tab; it must be a text, a tab and a reference")
            found.append(_pair(source, references, number, f"{path}, line {number}"))
    return found


def _of_objects(lines: list[str], path: Path) -> list[Pair]:
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {number}"
            entry = _object(line, where)
            source, references, split = entry.get("source"), entry.get("references"), entry.get("split")
            if not isinstance(source, str):
                raise InputError(f'{where}: "source" must be a text, and "references" a list of one or more')
            if not isinstance(references, list) or not references or not all(isinstance(r, str) for r in references):
                raise InputError(f'{where}: "references" must be a list of one or more texts')
            if split is not None and not isinstance(split, str):
                raise InputError(f'{where}: "split" must be a text')
            found.append(_pair(source, references, number, where, split))
    return found


def _pair(source: str, references: list[str], number: int, where: str, split: str | None = None) -> Pair:
    """Raises InputError for blank texts, and for half a pair of surrogates, which nothing but Python could read."""
    for text in (source, *references):
        if not text.strip():
            raise InputError(f"{where}: a text or a reference is empty; give both, or leave the line out")
        if _SURROGATES.search(text) or "\0" in text:
            raise InputError(f"{where}: a text must be of whole characters, without zero bytes")
    return Pair(f"line {number}", source, tuple(references), split)


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}; files of texts are {_RIGHT}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} must hold a JSON object")
    return value
