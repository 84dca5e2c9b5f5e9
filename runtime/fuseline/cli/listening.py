"""`fuseline transcribe --stream` and `--microphone`: a text while it is spoken, a line up to each pause."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from .interrupts import check as check_interrupts
from .live import show
from .sounds import MICROPHONE_RATE, microphone, opened, raw_pieces
from .streams import Unwritable, printable
from .terminal import FAILED, Terminal

if TYPE_CHECKING:
    from ..arrays import Float32
    from ..model import Model
    from ..speech.live import Heard, Live
    from ..speech.options import SpeechOptions

_PIECE = 8_000  # samples of a file that are heard at once, half a second


def listen(options: argparse.Namespace, model: Model, asked: SpeechOptions, terminal: Terminal) -> int:
    """Print what is said in each sound while it is heard; 2 if one could not be."""
    from ..speech.live import live

    if options.microphone:
        with microphone() as pieces:
            terminal.note("listening; Ctrl-C ends it")
            _tell(_heard(live(model, MICROPHONE_RATE, asked), pieces), terminal, "")
        return 0
    failed = False
    for name in options.files:
        try:
            stream = live(model, options.raw, asked)
            before = f"{printable(name)}: " if len(options.files) > 1 else ""
            _tell(_heard(stream, _pieces(name, options.raw)), terminal, before)
        except Unwritable:
            raise
        except Exception as error:  # whatever it is, it is this sound's and must not cost the others
            check_interrupts()
            terminal.fail(error, name)
            failed = True
        check_interrupts()
    return FAILED if failed else 0


def _pieces(name: str, raw: int | None) -> Iterator[bytes | Float32]:
    if raw is not None:
        yield from raw_pieces(name, raw)
        return
    with opened(name) as sound:
        for block in sound.blocks():
            for at in range(0, len(block), _PIECE):
                yield block[at : at + _PIECE]


def _heard(stream: Live, pieces: Iterable[bytes | Float32]) -> Iterator[Heard]:
    """What is new as it is heard; after Ctrl-C what was said until then."""
    try:
        for piece in pieces:
            yield from stream.feed(piece)
    except KeyboardInterrupt:
        yield from stream.finish()
        raise
    yield from stream.finish()


def _tell(heard: Iterator[Heard], terminal: Terminal, before: str) -> None:
    """Write a line for what is said up to each pause."""
    for first in heard:
        if first.text.strip() or first.tentative.strip():
            show(_until_pause(first, heard), terminal.out, before)


def _until_pause(first: Heard, heard: Iterator[Heard]) -> Iterator[Heard]:
    for each in chain([first], heard):
        yield each
        if each.pause:
            return
