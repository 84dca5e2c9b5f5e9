"""Sound files through the package soundfile, which is libsndfile: WAV of every kind, FLAC, OGG, Opus, MP3, AIFF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from fuseline.arrays import Float32
from fuseline.errors import InputError, shown
from fuseline.warning import warn

from .recording import BLOCK, NotReadable, check_format
from .source import Encoded

# Where a jump lands on the sample that was asked for, and what follows is as if it had been read from the beginning.
_JUMPS = {"WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"}

_MOST_FRAMES = 2**62  # libsndfile says 2 ** 63 - 1 for "as many as there are"
_MISSING = 0.02  # of the frames that a header names: the headers of MP3 are not always exact


class SoundFile:
    """A file that libsndfile reads. See fuseline.inputs.sounds.recording."""

    def __init__(self, library: Any, encoded: Encoded) -> None:
        """Raises NotReadable, and InputError for rates and numbers of channels that cannot be."""
        self._library, self._encoded = library, encoded
        self._warned = False
        self.name = encoded.name
        with encoded.open() as file, self._opened(file) as sound:
            check_format(encoded.name, sound.samplerate, sound.channels)
            self.sampling_rate: int = sound.samplerate
            self.frames: int | None = sound.frames if 0 <= sound.frames < _MOST_FRAMES else None

    def blocks(self, start: int) -> Iterator[Float32]:
        """float32[n, channels] from frame `start` on. Warns where a file ends before the end that it names."""
        with self._encoded.open() as file, self._opened(file) as sound:
            at = 0
            if start and sound.format in _JUMPS and sound.seekable():
                at = sound.seek(min(start, sound.frames))
            block = np.empty((BLOCK, sound.channels), np.float32)
            while len(read := self._read(sound, block)):
                if at + len(read) > start:
                    yield read[max(0, start - at) :].copy()
                at += len(read)
            self._check_end(at)

    def _opened(self, file: BinaryIO) -> Any:
        # A number, so that no name of a file decides what it is, and nothing calls back; else what is in memory.
        given = file if self._encoded.path is None else file.fileno()
        try:
            return self._library.SoundFile(given, closefd=False)
        except (self._library.SoundFileError, OSError) as error:
            raise NotReadable(self._encoded.name, "soundfile", _reason(error)) from error

    def _read(self, sound: Any, block: Float32) -> Float32:
        """The next frames. A damaged place ends a file as far as libsndfile can tell."""
        try:
            read: Float32 = sound.read(out=block)
        except self._library.SoundFileError as error:
            if not self._warned:
                self._warned = True
                warn(f"{self.name}: the file is damaged ({_reason(error)}); what comes before that place is used")
            return block[:0]
        return read

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
