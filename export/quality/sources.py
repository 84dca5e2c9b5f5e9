"""Inputs of several sources with what people wrote about them: reads JSON lines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseline.errors import InputError, shown, written
from fuseline.folders.tensors import REFUSE, Source

from .lines import LARGEST, is_text, lines_of, object_of, read_bytes

_SOURCES, _REFERENCES, _SPLIT = "sources", ("captions", "references", "text"), "split"
_RIGHT = 'JSON lines, each {"sources": {NAME: a file or a text}, "captions": [texts]}'


@dataclass(frozen=True)
class File:
    """A photo or a clip. name: as the data set calls it."""

    name: str
    path: Path


@dataclass(frozen=True)
class Several:
    """One input. name: its line in the file; given: of each source that it has a text, or the path of a photo or a
    clip; references: what people wrote, at least one text; files: those of given."""

    name: str
    given: Mapping[str, Path | str]
    references: tuple[str, ...]
    split: str | None = None
    files: tuple[File, ...] = ()


def has_sources(path: Path) -> bool:
    """Whether the first line of a file is of an input with sources. Of what cannot be read: no."""
    try:
        if path.suffix == ".json" or not path.is_file():
            return False
        with path.open("rb") as file:
            line = next((line for line in iter(lambda: file.readline(LARGEST), b"") if line.strip()), b"")
        return _SOURCES in object_of(line.removeprefix(b"\xef\xbb\xbf"), str(path))
    except (OSError, ValueError, InputError):
        return False


def read_inputs(path: Path, sources: Mapping[str, Source]) -> tuple[list[Several], str]:
    """The inputs of a file, their files not yet looked for, and what tells the content from another (a sha256).

    An object a line: {"sources": {"image": "a.jpg", "hint": "a text"}, "captions": [texts], "split": word}, with texts
    as they are and files from the folder that the file lies in; a source that is left out, or null, is absent; for
    "captions" there may be "references", or "text". sources: those of the model. Raises InputError naming the line
    that is wrong.
    """
    content = read_bytes(path, _RIGHT)
    found = []
    for number, line in enumerate(lines_of(content, path), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            found.append(_input(object_of(line, where), sources, path.parent, f"line {number}", where))
    if not found:
        raise InputError(f"{path} has no inputs; it must be {_RIGHT}")
    return found, hashlib.sha256(content).hexdigest()


def lacking(sources: Mapping[str, Source], there: Mapping[str, Any]) -> str | None:
    """The first source that may not be absent and is."""
    return next((name for name, source in sources.items() if source.absent == REFUSE and name not in there), None)


def _input(entry: Mapping[str, Any], sources: Mapping[str, Source], folder: Path, name: str, where: str) -> Several:
    given, split = entry.get(_SOURCES), entry.get(_SPLIT)
    if not isinstance(given, dict):
        some = ", ".join(sources)
        raise InputError(f'{where}: "sources" must be an object with some of {some}, not {written(given)}')
    if unknown := [each for each in given if each not in sources]:
        raise InputError(f"{where}: this model has no source {shown(unknown[0], 40)}; it has {', '.join(sources)}")
    there = {each: _given(each, value, sources[each], where) for each, value in given.items() if value is not None}
    if (lacks := lacking(sources, there)) is not None:
        raise InputError(f"{where} is without {lacks}, and this model needs it; give every line one")
    if not there:
        raise InputError(f"{where} has no source; give it one or more of {', '.join(sources)}")
    if split is not None and not isinstance(split, str):
        raise InputError(f'{where}: "split" must be a text, not {shown(split)}')
    files = {each: File(text, folder / text) for each, text in there.items() if not sources[each].reads_text}
    paths = {each: file.path for each, file in files.items()}
    return Several(name, {**there, **paths}, _references(entry, where), split, tuple(files.values()))


def _given(name: str, value: object, source: Source, where: str) -> str:
    if isinstance(value, str) and is_text(value) and "\0" not in value:
        return value
    right = "a text of whole characters" if source.reads_text else "the path of a file"
    raise InputError(f"{where}: {name} must be {right}, not {written(value)}; leave it out where an input has none")


def _references(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    found = next((entry[key] for key in _REFERENCES if key in entry), None)
    texts: list[Any] = found if isinstance(found, list) else [found]
    if not texts or not all(is_text(each) for each in texts):
        raise InputError(f'{where}: "captions" must be a list of one or more texts, of whole characters')
    return tuple(texts)
