"""What several variants of a folder say of a data set, kept while it comes for a run that is interrupted."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from fuseline.errors import InputError, shown
from fuseline.folders.own import Folder
from fuseline.generation.config import GenerationConfig
from fuseline.model import Model

from ..writing.place import beside
from .data import DataSet
from .reading import Given, Reading

LOG = logging.getLogger("fuseline.export")
Progress = Callable[[int, int, str], None]
# How a run is called, what it runs over, and how a whole one is called, by kind of data.
_WORK = {
    "photos": ("captioning", "photo", "captioned"),
    "texts": ("writing texts", "text", "read"),
    "clips": ("transcribing", "clip", "heard"),
    "inputs": ("writing texts", "input", "read"),
}


@dataclass(frozen=True)
class Text:
    """What a variant said of a photo or a clip, or made of a text. milliseconds: from the file or text to that."""

    text: str
    milliseconds: float


def texts(
    models: Mapping[str, Model],
    data: DataSet,
    reading: Reading,
    config: GenerationConfig,
    partial: Path | None,
    progress: Progress,
) -> dict[str, list[Text]]:
    """One text an item by every variant, in the data's order.

    The variants take turns item by item, so that a machine that is busy for a while slows all of them. config: for
    generate. partial: the file that keeps what was said so far (None: no file does); read first if it is there, and
    left there.
    """
    said = _read(partial) if partial else {}
    doing, thing, done = _WORK[data.kind]
    with _appending(partial) as keep:
        for number, item in enumerate(data.items):
            progress(number, len(data.items), doing)
            left = [name for name in models if (name, item.name) not in said]
            try:
                for name, text in _texts(models, left, item.given, reading, config):
                    said[name, item.name] = text
                    keep({"variant": name, "item": item.name, "text": text.text, "milliseconds": text.milliseconds})
            except InputError as error:
                after = f"; with another {thing} in its place the same command goes on there" if partial else ""
                raise InputError(f"the data set cannot be {done} whole: {error}{after}") from error
    return {name: [said[name, item.name] for item in data.items] for name in models}


def partial_file(folder: Folder, facts: Sequence[Any]) -> Path | None:
    """The file beside the folder that keeps texts of an interrupted run; another one for other facts or weights.

    None where a link or a file of somebody else's lies there: its texts might be anything. Files of other weights and
    versions, which can be of no use any more, are removed where they are the user's own.
    """
    versions = [metadata.version(package) for package in ("fuseline", "onnxruntime")]
    start = beside(folder.path, f"evaluation-{_key([dict(folder.hashes), versions])}").name
    every = start[: start.rindex("-") + 1]
    with suppress(OSError):
        for path in folder.path.parent.iterdir():
            old = path.name.startswith((every, f".{folder.path.name}.evaluation-")) and path.suffix == ".jsonl"
            if old and not path.name.startswith(start) and _is_own(path):
                path.unlink()
    found = folder.path.parent / f"{start}-{_key(facts)}.jsonl"
    return found if not os.path.lexists(found) or _is_own(found) else None


def _is_own(path: Path) -> bool:
    about = path.lstat()
    return stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()


def _key(facts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _texts(
    models: Mapping[str, Model], names: Sequence[str], given: Given, reading: Reading, config: GenerationConfig
) -> Iterator[tuple[str, Text]]:
    """By each of the variants named, for one item; reading it counts for each."""
    if not names:
        return
    began = perf_counter()
    opened = reading.opened(models[names[0]], given)
    took = perf_counter() - began
    for name in names:
        began = perf_counter()
        text = reading.said(models[name], opened, config)
        yield name, Text(text, round((took + perf_counter() - began) * 1000, 2))


def _read(partial: Path) -> dict[tuple[str, str], Text]:
    """What an interrupted run left; its last line may be cut, and is done again."""
    said: dict[tuple[str, str], Text] = {}
    try:
        lines = partial.read_bytes().splitlines(keepends=True)
    except OSError:
        return said
    for line in lines:
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
            said[entry["variant"], entry["item"]] = Text(str(entry["text"]), float(entry["milliseconds"]))
        except (ValueError, KeyError, TypeError):
            continue
    return said


@contextmanager
def _appending(partial: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends an object to the file at once. Where that fails, nothing is kept from there on."""
    file: IO[bytes] | None = None
    with suppress(OSError):
        if partial is not None:
            # In a new line, whatever the run before left. No link is followed, since others may write there too.
            cut = partial.exists() and not partial.read_bytes().endswith(b"\n")
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            file = open(os.open(partial, flags, 0o600), "ab", buffering=0)  # noqa: SIM115 - closed below
            file.write(b"\n" if cut else b"")

    def keep(entry: Mapping[str, Any]) -> None:
        nonlocal file
        if file is None:
            return
        try:
            file.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:  # a full disk: what is there may still be of use
            LOG.warning("%s cannot keep what comes now: %s", shown(partial), error.strerror)
            file.close()
            file = None

    try:
        yield keep
    finally:
        if file is not None:
            file.close()
