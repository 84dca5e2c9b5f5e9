"""Where `fuseline transcribe` puts what is said: lines on standard output, objects there, or files in a folder."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Protocol

from ..errors import InputError, shown, written
from ..files.whole import write_whole
from ..outputs.subtitles import FORMATS, record, subtitles, written_as
from ..speech.segments import Segment, Transcription
from .terminal import Terminal

ALL = "all"
_STANDARD_INPUT = "standard-input"  # what files of it are called


class Running(Protocol):
    """A transcription in progress: segments as they are done. The rest is known once the last has come."""

    @property
    def language(self) -> str | None: ...
    @property
    def duration(self) -> float: ...
    def __iter__(self) -> Iterator[Segment]: ...


class Coming:
    """The segments of one sound as they come. After Ctrl-C no more of them come, and `interrupted` is true."""

    def __init__(self, name: str, running: Running, duration: float | None) -> None:
        """duration: seconds that the sound says to have."""
        self.name, self._running, self.seconds = name, running, math.inf if duration is None else duration
        self._began = perf_counter()
        self._done: list[Segment] = []
        self.interrupted = False

    def __iter__(self) -> Iterator[Segment]:
        try:
            for segment in self._running:
                self._done.append(segment)
                yield segment
        except KeyboardInterrupt:
            self.interrupted = True

    @property
    def transcription(self) -> Transcription:
        """What has come."""
        return Transcription.of(self._done, self._running.language, self._running.duration)

    @property
    def whole(self) -> Transcription:
        """What comes, all of it."""
        for _ in self:
            pass
        return self.transcription

    @property
    def milliseconds(self) -> float:
        """Since it began."""
        return round((perf_counter() - self._began) * 1000, 1)


class Output(Protocol):
    """Takes one sound after the other."""

    def take(self, coming: Coming) -> None:
        """Write what is said in a sound. Raises Unwritable, InputError, and what comes with the segments."""
        ...


class Lines:
    """Standard output, in one format; lines as soon as the segments are there."""

    def __init__(self, terminal: Terminal, format: str, several: bool) -> None:
        """several: whether the sound's name goes before each line."""
        self._terminal, self._format, self._several = terminal, format, several

    def take(self, coming: Coming) -> None:
        """See Output."""
        before = f"{coming.name}: " if self._several else ""
        pieces: Iterable[str]
        if self._format == "json":
            pieces = [subtitles(coming.whole, "json")]
        else:
            pieces = written_as(self._format, coming, coming.seconds)
        for piece in pieces:
            self._terminal.rows(f"{before}{line}".split("\t") for line in piece.splitlines())


class Objects:
    """Standard output, an object a sound."""

    def __init__(self, terminal: Terminal, model: str, variant: str) -> None:
        """model: its name."""
        self._terminal, self._model, self._variant = terminal, model, variant

    def take(self, coming: Coming) -> None:
        """See Output."""
        made = record(coming.whole)
        facts = {"milliseconds": coming.milliseconds, "model": self._model, "variant": self._variant}
        also = {"interrupted": True} if coming.interrupted else {}
        self._terminal.record({"file": coming.name, **made, **facts, **also})


class Files:
    """A folder, with a file of each format for each sound. Their paths go to standard output."""

    def __init__(self, terminal: Terminal, formats: Sequence[str], folder: str) -> None:
        """Makes the folder. Raises InputError where it cannot be."""
        self._terminal, self._formats, self._folder = terminal, formats, Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            right = "give --output-dir a folder that can be made"
            raise InputError(f"{shown(folder)}: {error.strerror}; {right}") from error

    def take(self, coming: Coming) -> None:
        """See Output. A file is there as a whole or not at all."""
        said = coming.whole
        if coming.interrupted and all(segment.dropped is not None for segment in said.segments):
            self._terminal.note(f"{shown(coming.name)}: interrupted before anything was heard; nothing is written")
            return
        for format in self._formats:
            path = _place(self._folder, coming.name, format)
            write_whole(path, subtitles(said, format).encode("utf-8", "replace"))
            self._terminal.lines([str(path)])
        if coming.interrupted:
            end = max((segment.end for segment in said.segments), default=0.0)
            self._terminal.note(f"{shown(coming.name)}: interrupted; what is written ends at {end:.1f} s")


def check_output(format: str, names: Sequence[str], folder: str | None, *, alone: bool, as_json: bool) -> Sequence[str]:
    """The formats to write. alone: whether only a text can be printed, since it is shown while it is made. Raises
    InputError for what does not go together."""
    if folder == "":
        raise InputError("--output-dir is empty; give it a folder, or . for the current one")
    if format not in (*FORMATS, ALL):
        raise InputError(f"--format must be {', '.join(FORMATS)} or {ALL}, not {written(format)}")
    formats = FORMATS if format == ALL else (format,)
    if (alone or as_json) and (formats != ("txt",) or folder is not None):
        option = "--json prints objects" if as_json else "--stream and --microphone print a text as it is spoken"
        raise InputError(f"{option}, so neither --format nor --output-dir goes with them; leave them out")
    if folder is None:
        if format == ALL:
            raise InputError("--format all makes several files of a sound; say where by --output-dir")
        if len(names) > 1 and format != "txt":
            raise InputError(f"several sounds make several {format} files; say where by --output-dir")
        return formats
    stems: dict[str, str] = {}
    for name in names:
        other = stems.setdefault(_stem(name), name)
        if other != name:
            both = f"{shown(other)} and {shown(name)}"
            raise InputError(f"{both} would both become {_stem(name)}.{formats[0]}; transcribe them into two folders")
    _check_not_over_sounds(names, [_place(Path(folder), name, each) for name in stems.values() for each in formats])
    return formats


def _check_not_over_sounds(names: Sequence[str], made: Sequence[Path]) -> None:
    """Raise InputError where a file that is to be made is a sound that is to be read, whatever either is called."""
    for name in names:
        for path in made:
            # One that is not there, a name of no file, or no standard input.
            with suppress(OSError, ValueError, AttributeError):
                if os.path.samestat(os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name), os.stat(path)):
                    right = "give --output-dir another folder, or the sound another name"
                    raise InputError(f"{shown(name)}: {shown(path)} would be written over it; {right}")


def _place(folder: Path, name: str, format: str) -> Path:
    """Where what is said in a sound goes."""
    return folder / f"{_stem(name)}.{format}"


def _stem(name: str) -> str:
    return _STANDARD_INPUT if name == "-" else Path(name).stem
