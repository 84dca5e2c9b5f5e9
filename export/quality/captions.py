"""Texts of a data set's photos by several variants of a folder, kept while they come for a run that is interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from fuseline.errors import InputError
from fuseline.images import load_image
from fuseline.model import Model

from .data import DataSet

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Text:
    """What a variant said of a photo. milliseconds: from the photo's file to the text."""

    text: str
    milliseconds: float


def captions(
    models: Mapping[str, Model], data: DataSet, fields: Mapping[str, Any], partial: Path | None, progress: Progress
) -> dict[str, list[Text]]:
    """One text a photo by every variant, in the photos' order.

    The variants take turns photo by photo, so that a machine that is busy for a while slows all of them. partial: the
    file that keeps what was said so far (None: no file does); read first if it is there, removed at the end, left by a
    run that is stopped.
    """
    said = _read(partial) if partial else {}
    with _appending(partial) as keep:
        for number, photo in enumerate(data.photos):
            progress(number, len(data.photos), "captioning")
            left = [name for name in models if (name, photo.name) not in said]
            for name, text in _texts(models, left, photo.path, fields):
                said[name, photo.name] = text
                keep({"variant": name, "photo": photo.name, "text": text.text, "milliseconds": text.milliseconds})
    if partial:
        partial.unlink(missing_ok=True)
    return {name: [said[name, photo.name] for photo in data.photos] for name in models}


def _texts(
    models: Mapping[str, Model], names: Sequence[str], path: Path, fields: Mapping[str, Any]
) -> Iterator[tuple[str, Text]]:
    """By each of the variants named, for one photo; reading it counts for each."""
    if not names:
        return
    began = perf_counter()
    try:
        pixel_values = models[names[0]].image_processor([load_image(path)])
    except InputError as error:
        raise InputError(f"the data set cannot be captioned whole: {error}") from error
    reading = perf_counter() - began
    for name in names:
        began = perf_counter()
        generation = models[name].generate(pixel_values, **fields)
        text = models[name].decode(generation.sequences[:1])[0].strip()
        yield name, Text(text, round((reading + perf_counter() - began) * 1000, 2))


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
            said[entry["variant"], entry["photo"]] = Text(str(entry["text"]), float(entry["milliseconds"]))
        except (ValueError, KeyError, TypeError):
            continue
    return said


@contextmanager
def _appending(partial: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends an object to the file at once. Where no file can be made, nothing is kept."""
    file: IO[str] | None = None
    try:
        if partial is None:
            raise OSError("nothing is to be kept")
        # In a new line, whatever the run before left.
        cut = partial.exists() and not partial.read_bytes().endswith(b"\n")
        file = partial.open("a", encoding="utf-8")
        file.write("\n" if cut else "")
    except OSError:
        yield lambda entry: None
        return
    with file:

        def keep(entry: Mapping[str, Any]) -> None:
            file.write(json.dumps(entry) + "\n")
            file.flush()

        yield keep
