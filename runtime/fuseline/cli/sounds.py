"""Which sounds are meant by names: files, standard input, raw samples, a microphone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from ..errors import InputError, shown
from .generating import check_once

if TYPE_CHECKING:
    from ..inputs.audio import Sound

MICROPHONE_RATE = 16_000
LEAST_RATE, MOST_RATE = 1_000, 768_000
_PIECE = 0.1  # seconds of samples that a stream gives at once
_RIGHT = "give the path of a sound file, or - for standard input"


def check_names(names: list[str], raw: int | None) -> None:
    """Raise InputError for a name or a rate that can stand for no sound."""
    if raw is not None and not LEAST_RATE <= raw <= MOST_RATE:
        raise InputError(f"--raw must be from {LEAST_RATE:,} to {MOST_RATE:,} samples a second, not {raw:,}")
    check_once(names)
    if "" in names:
        raise InputError(f"'' names no sound; {_RIGHT}")


@contextmanager
def opened(name: str, raw: int | None = None) -> Iterator[Sound]:
    """The sound of a file, or for - of standard input, as long as the `with` lasts.

    raw: samples a second where it is nothing but int16 samples of one channel, low byte first. Raises InputError.
    """
    import numpy as np

    from ..inputs.audio import open_sound

    if raw is None:
        yield open_sound(standard_input() if name == "-" else name)
        return
    with _in_a_file(name) as file:  # a sound is read several times, which standard input cannot be
        count = os.fstat(file.fileno()).st_size // 2
        if not count:
            raise _no_samples(name)
        yield _samples(np.memmap(file, "<i2", "r", shape=(count,)), raw, _shown(name))


def _samples(array: Any, raw: int, name: str) -> Sound:
    from ..inputs.audio import Sound
    from ..inputs.sounds.arrays import Samples

    return Sound(Samples(array, raw, name))


@contextmanager
def _in_a_file(name: str) -> Iterator[IO[bytes]]:
    if name != "-":
        with _opened(name) as file:
            yield file
        return
    with TemporaryFile() as copy:
        while chunk := standard_input().read(1 << 20):
            copy.write(chunk)
        copy.flush()
        yield copy


def _opened(name: str) -> BinaryIO:
    if not os.path.isfile(name):
        what = "this is a folder" if os.path.isdir(name) else "there is no such file"
        raise InputError(f"{shown(name)}: {what}; {_RIGHT}")
    return open(name, "rb")


def _no_samples(name: str) -> InputError:
    return InputError(f"{_shown(name)}: there are no samples in it; --raw reads int16 of one channel")


def _shown(name: str) -> str:
    return "standard input" if name == "-" else shown(name)


def standard_input() -> BinaryIO:
    """Raises InputError where nothing can come from it."""
    if sys.stdin is None or sys.stdin.isatty():
        is_ = "closed" if sys.stdin is None else "a terminal"
        raise InputError(f"standard input is {is_}, and - reads a sound from it; give one, as in < talk.mp3")
    return sys.stdin.buffer


def raw_pieces(name: str, rate: int) -> Iterator[bytes]:
    """Samples of int16 as soon as they come, a tenth of a second at most, whole ones. Raises InputError, and where none
    came too."""
    size, come = 2 * max(1, int(rate * _PIECE)), False
    with nullcontext(standard_input()) if name == "-" else _opened(name) as file:
        for piece in _whole(file, size):
            come = come or bool(piece)
            yield piece
    if not come:
        raise _no_samples(name)


def _whole(file: BinaryIO, size: int) -> Iterator[bytes]:
    read = getattr(file, "read1", file.read)  # which does not wait for all of it
    odd = b""
    while chunk := read(size):
        whole = odd + chunk
        even = len(whole) // 2 * 2
        odd = whole[even:]
        yield whole[:even]


def check_microphone() -> Any:
    """The package sounddevice, by which a microphone is heard. Raises InputError where it cannot be imported."""
    try:
        import sounddevice
    except ImportError:
        right = "install it with pip install sounddevice"
        raise InputError(f"--microphone needs the package sounddevice, which is missing; {right}") from None
    except OSError as error:  # the package is there and the system's library is not
        right = "install the system's package of it, such as libportaudio2"
        raise InputError(f"--microphone needs PortAudio, which cannot be loaded ({error}); {right}") from None
    return sounddevice


@contextmanager
def microphone() -> Iterator[Iterator[bytes]]:
    """What the microphone hears, int16 at MICROPHONE_RATE: all that has come since the last time. Raises InputError
    where there is none."""
    from queue import SimpleQueue

    sounddevice = check_microphone()
    heard: SimpleQueue[bytes] = SimpleQueue()

    def take(samples: Any, frames: int, time: object, status: object) -> None:
        heard.put(bytes(samples))

    def coming() -> Iterator[bytes]:
        while True:
            parts = [heard.get()]
            while not heard.empty():
                parts.append(heard.get())
            yield b"".join(parts)

    size = int(MICROPHONE_RATE * _PIECE)
    try:
        stream = sounddevice.RawInputStream(MICROPHONE_RATE, size, dtype="int16", channels=1, callback=take)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(f"no microphone can be opened ({error}); see whether one is connected") from None
    with stream:
        yield coming()
