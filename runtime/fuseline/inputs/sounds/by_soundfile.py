"""Sound files through the package soundfile, which is libsndfile: WAV of every kind, FLAC, OGG, Opus, MP3, AIFF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from fuseline.arrays import Float32
from fuseline.errors import InputError, shown
from fuseline.warning import warn

from . import by_ffmpeg
from .recording import BLOCK, NotReadable, check_format
from .source import Encoded

# Where a jump lands on the sample that was asked for, and what follows is as if it had been read from the beginning.
_JUMPS = {"WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"}

_MOST_FRAMES = 2**62  # libsndfile says 2 ** 63 - 1 for "as many as there are"
_SMALL = 256  # frames that are read at a time up to a damaged place, which costs all that were asked for with it
_MISSING = 0.02  # of the frames that a header names: the headers of MP3 are not always exact


class SoundFile:
    """A file that libsndfile reads. See fuseline.inputs.sounds.recording."""

    def __init__(self, library: Any, encoded: Encoded) -> None:
        """Raises NotReadable, and InputError for rates and numbers of channels that cannot be."""
        self._library, self._encoded = library, encoded
        self._warned = False
        self._instead: by_ffmpeg.FfmpegFile | None = None
        self.name = encoded.name
        with encoded.open() as file, self._opened(file) as sound:
            check_format(encoded.name, sound.samplerate, sound.channels)
            self.sampling_rate: int = sound.samplerate
            self._format: str = sound.format
            self.frames: int | None = sound.frames if 0 <= sound.frames < _MOST_FRAMES else None

    def blocks(self, start: int) -> Iterator[Float32]:
        """float32[n, channels] from frame `start` on. Warns where a file ends before the end that it names, or is
        damaged. Raises InputError where nothing of it can be read."""
        if self._instead is not None:
            yield from self._instead.blocks(start)
            return
        at, other = 0, None
        for size in (BLOCK, _SMALL):
            damage = None
            try:
                for read, end in self._frames(start, size):
                    new = end - max(at, start)
                    if new > 0:
                        yield read[-new:].copy()
                    at = max(at, end)
            except self._library.SoundFileError as error:
                damage = _reason(error)
                other = self._another()
            if damage is None or other is not None:
                break
        if damage is None:
            self._check_end(at)
            return
        if other is not None:
            self._instead = other
            for block in other.blocks(max(at, start)):
                yield block
                at += len(block)
        self._tell_of_damage(max(at, start), damage)

    def _frames(self, start: int, size: int) -> Iterator[tuple[Float32, int]]:
        """Frames from `start` on, or from before it, so many at a time, and the place at which they end: first none and
        where they begin. Raises SoundFileError at a damaged place."""
        with self._encoded.open() as file, self._opened(file) as sound:
            jumps = start and size == BLOCK and sound.format in _JUMPS and sound.seekable()
            at = sound.seek(min(start, sound.frames)) if jumps else 0
            block = np.empty((size, sound.channels), np.float32)
            yield block[:0], at
            while len(read := sound.read(out=block)):
                at += len(read)
                yield read, at

    def _another(self) -> by_ffmpeg.FfmpegFile | None:
        """The file as ffmpeg reads it, which goes on behind a damaged place: of FLAC alone, of which both say the same
        before it."""
        program = by_ffmpeg.program() if self._format == "FLAC" else None
        if program is not None:
            with suppress(NotReadable):
                return by_ffmpeg.FfmpegFile(program, self._encoded, quiet=True)
        return None

    def _opened(self, file: BinaryIO) -> Any:
        # A number, so that no name of a file decides what it is, and nothing calls back; else what is in memory.
        given = file if self._encoded.path is None else file.fileno()
        try:
            return self._library.SoundFile(given, closefd=False)
        except (self._library.SoundFileError, OSError) as error:
            raise NotReadable(self._encoded.name, "soundfile", _reason(error)) from error

    def _tell_of_damage(self, at: int, reason: str) -> None:
        """at: how many frames could be read. A damaged place ends a file as far as libsndfile can tell."""
        if not at:
            right = "give one that is whole"
            raise InputError(f"{self.name}: the file is damaged ({reason}) and nothing of it can be read; {right}")
        if not self._warned:
            self._warned = True
            used = "what comes before that place" if self._instead is None else "what ffmpeg reads of it"
            warn(f"{self.name}: the file is damaged ({reason}); {used} is used")

    def _check_end(self, at: int) -> None:
        if self.frames is None or self._warned or at >= self.frames * (1 - _MISSING):
            return
        self._warned = True
        has, should = at / self.sampling_rate, self.frames / self.sampling_rate
        if at:
            warn(f"{self.name}: the file is cut off: {has:.1f} s are there and used, its header says {should:.1f} s")
        else:
            raise InputError(f"{self.name}: the file ends before its sound begins; give one that is whole")


def library() -> Any | None:
    """The package soundfile; None where it, or the library that it needs, is not installed."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package without libsndfile
        return None
    return soundfile


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return shown(text[:1].lower() + text[1:])
