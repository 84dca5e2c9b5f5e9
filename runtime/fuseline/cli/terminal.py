"""What the commands write: results to standard output; sentences, notes and a bar to standard error.

Whatever goes out goes through here, so that it is whole lines that a terminal can show and nothing else.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, Protocol, TextIO, TypeVar

from ..errors import LONGEST, Error, shown
from .naming import as_typed
from .streams import Stream, Unwritable, printable

Item = TypeVar("Item")
Progress = Callable[[int, int, str], None]

# What --data takes, in the help of both commands that have it.
DATA_HELP = """\
FILE is COCO's captions JSON (.json), or has an object a line (captions.jsonl), such as these two:
  {"file": "images/dogs.jpg", "captions": ["two dogs run", "dogs on grass"], "split": "val"}
  {"file": "images/boy.jpg", "captions": ["a boy jumps into a pool"], "split": "test"}
where "file" starts from the folder that FILE lies in, and "split" may be left out.
For a model that reads texts FILE is a table (.tsv: text, tab, reference), has a text a line with --references beside
it, or has an object a line:
  {"source": "Guten Morgen!", "references": ["Good morning!", "Morning!"], "split": "val"}
For a model that hears speech FILE is a table (metadata.csv: file, text), has an object a line, has a clip's name, a
blank and a text a line (transcripts.txt), or is a folder with such a file or with LibriSpeech's *.trans.txt below it:
  {"file": "clips/one.flac", "text": "what is said in it", "split": "val"}
For a model with several sources FILE has an object a line, with files or texts by the names of the sources:
  {"sources": {"image": "images/dogs.jpg", "hint": "two dogs"}, "captions": ["two dogs run"], "split": "val"}"""

_PACKAGE = __name__.partition(".")[0]  # whose parts log as fuseline.export and so on

FAILED = 2  # the exit status of a command that has said with `fail` what it could not do


class Bar(Protocol):
    """A bar at the bottom of the terminal. Between `erase` and `draw` the cursor is at the start of an empty line."""

    def erase(self) -> None: ...

    def draw(self) -> None: ...


class Terminal:
    """Both streams of one run of a command. as_json: whether failures are objects on standard output too; options: the
    command's, by argparse's names, which sentences call as they are typed."""

    def __init__(self, as_json: bool = False) -> None:
        self.out, self._err = Stream(sys.stdout), Stream(sys.stderr, optional=True)
        self.as_json = as_json
        self.options: Mapping[str, Any] = {}
        self._said: set[str] = set()
        self._bar: Bar | None = None
        self._erased = False  # whether nothing was written since a bar was erased

    def lines(self, texts: Iterable[str]) -> None:
        """Results, each on a line of its own whatever it holds. Raises Unwritable."""
        self._put(self.out, "".join(f"{printable(text)}\n" for text in texts))

    def rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Results as a table: a line each, its fields apart by tabs. Raises Unwritable."""
        self._put(self.out, "".join("\t".join(map(printable, row)) + "\n" for row in rows))

    def record(self, content: Mapping[str, Any], indent: int | None = None) -> None:
        """A result as JSON; infinity and NaN, which JSON has not, become null. Raises Unwritable."""
        import json

        self._put(self.out, json.dumps(_finite(content), indent=indent, allow_nan=False) + "\n")

    def say(self, sentence: object) -> None:
        """A sentence on standard error."""
        self._put(self._err, f"fuseline: {shown(sentence, LONGEST)}\n")

    def note(self, text: str) -> None:
        """What is worth knowing and no failure, each once."""
        text = as_typed(text, self.options)
        if text not in self._said:
            self._said.add(text)
            self.say(f"note: {text}")

    def remark(self, text: str) -> None:
        """What is worth knowing to somebody who is looking: a note on a terminal, nothing elsewhere."""
        if self._err.isatty():
            self.note(text)

    def fail(self, error: BaseException, file: str | None = None, where: str | None = None, **facts: object) -> None:
        """What could not be done: a sentence, and if asked for an object. file: the photo, or the file of texts; where:
        the place that the sentence names, if that is more; facts: what else the object holds.

        An exception that nobody foresaw is named as a fault of fuseline, with its traceback if FUSELINE_DEBUG is set.
        """
        sentence = shown(as_typed(_sentence(error, where or file), self.options), LONGEST)
        if self.as_json:
            self.record({**({} if file is None else {"file": file}), **facts, "error": sentence})
        self.say(sentence)
        if debugging() and not isinstance(error, Error):
            import traceback

            lines = "".join(traceback.format_exception(error)).splitlines()
            self._put(self._err, "".join(f"{printable(line)}\n" for line in lines))

    def interrupted(self, by_key: bool) -> None:
        """Leave a terminal's cursor at the start of a line. by_key: the terminal has shown ^C where it was."""
        stream = next((each for each in (self._err, self.out) if each.isatty()), None)
        in_line = by_key or (self.out.in_line and self.out.isatty())
        if stream is not None and in_line and not self._erased:
            with suppress(Unwritable):
                stream.write("\n")

    def _put(self, stream: Stream, text: str) -> None:
        self._erased = False
        bar = self._bar if stream.isatty() else None
        if bar is None:
            stream.write(text)
            return
        bar.erase()
        try:
            stream.write(text)
        finally:
            bar.draw()

    @contextmanager
    def counted(
        self,
        items: Iterable[Item],
        show: bool,
        doing: str = "captioning",
        unit: str = "photo",
        total: int | None = None,
        look: bool = True,
        through: Callable[[Iterator[Any]], Iterator[Any]] = iter,
    ) -> Iterator[Iterable[Item]]:
        """The items, with a bar on standard error meanwhile, if there are several and it is a terminal.

        doing, unit: what the bar says. total: how many there are, if known; look: whether to look for it, which makes
        the first items before one is given. through: what the items go through before they are given, and counted.
        """
        if not show or not self._err.moves():
            yield through(iter(items))
            return
        from .bars import Counter

        counter = Counter(self._err, items, doing, unit, total, look, through)
        if counter.total in (0, 1):
            yield counter
            return
        with self._below(counter):
            yield counter

    @contextmanager
    def seconds(self, doing: str, total: float | None) -> Iterator[Callable[[float], None]]:
        """A function that is told how many seconds of a sound are done; on a terminal it moves a bar.

        doing: what the bar says. total: seconds of the sound, None where that is not known.
        """
        if not self._err.moves():
            yield lambda seconds: None
            return
        from .bars import Seconds

        bar = Seconds(self._err, doing, total)
        with self._below(bar):
            yield bar.tell

    @contextmanager
    def steps(self) -> Iterator[Progress]:
        """A function that is told the step, the number of steps and what is done; on a terminal it moves a bar.

        What libraries print meanwhile goes to standard error: standard output is for the result. Warnings that the
        work logs are notes.
        """
        from .bars import Steps

        steps = Steps.on(self._err) if self._err.moves() else None
        with redirect_stdout(sys.stderr), self._noting_log():
            if steps is None:
                yield lambda step, steps, what: None
                return
            with self._below(steps):
                yield steps.tell

    @contextmanager
    def _noting_log(self) -> Iterator[None]:
        """What this package logs as a warning, or worse, is a note meanwhile; libraries' own handlers see it too."""
        import logging

        note = self.note

        class Notes(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                note(record.getMessage())

        ours, handler = logging.getLogger(_PACKAGE), Notes(logging.WARNING)
        ours.addHandler(handler)
        try:
            yield
        finally:
            ours.removeHandler(handler)

    @contextmanager
    def _below(self, bar: Bar) -> Iterator[None]:
        """Everything that is written meanwhile is written above the bar, which leaves nothing."""
        self._bar = bar
        try:
            bar.draw()
            yield
        finally:
            self._bar = None
            bar.erase()
            self._erased = True

    @contextmanager
    def noting_warnings(self) -> Iterator[None]:
        """Python's warnings are notes meanwhile. Those about libraries, not about what is done, only for debugging."""

        def note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if debugging():
                self.note(f"{message} ({category.__name__}, {filename}:{lineno})")
            elif issubclass(category, UserWarning | RuntimeWarning):
                self.note(str(message))

        with warnings.catch_warnings():
            warnings.showwarning = note
            yield


def readable(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def debugging() -> bool:
    """Whether the user wants to see where an unforeseen exception came from."""
    return os.environ.get("FUSELINE_DEBUG", "0") not in ("", "0")


def _sentence(error: BaseException, file: str | None) -> str:
    """What to say of an exception. Errors of fuseline say it themselves, the photo's name included."""
    where = "" if file is None else f"{shown(file)}: "
    if isinstance(error, Error):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{where}there is not enough memory for this; a smaller photo or model, or fewer beams, needs less"
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package == _PACKAGE:
            return f"{where}this needs {error.name}, which is left out of this program; install fuseline for it"
        return f"{where}this needs {package}, which is missing; install it with pip install {package}"
    if isinstance(error, OSError) and error.strerror:
        named = f"{shown(error.filename)}: " if error.filename is not None else where
        return f"{named}{error.strerror}"
    kind = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{where}a fault of fuseline itself, please report it ({kind}); FUSELINE_DEBUG=1 shows where it is"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
