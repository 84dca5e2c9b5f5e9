"""Sounds, in whatever form they come, and what models of speech read of them.

`open_sound` makes a Sound of a path, bytes, a file object or an array; LogMel makes of sounds what Whisper reads,
RawSamples what Moonshine reads. Dimensions: `B` clips, `N` samples at 16,000 a second, `M` mel bands, `F` frames of 10
ms.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from ..arrays import Float32, Int64, as_array
from ..errors import InputError, written
from ..memory import check_memory
from .feature_config import SAMPLING_RATE, FeatureConfig
from .log_mel import SILENCE, Spectra, scaled
from .sounds.arrays import Samples, check_rate
from .sounds.files import open_file
from .sounds.sound import Sound
from .sounds.source import of_bytes, of_file, of_path

__all__ = ["SAMPLING_RATE", "LogMel", "RawSamples", "Sound", "SoundSource", "Windows", "load_audio", "open_sound"]

SoundSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | npt.NDArray[Any] | Sequence[Any] | "
    "Mapping[str, Any] | Sound"
)

_KEPT_FRAMES = 60_000  # ten minutes, 19 MB of 80 bands: the first pass over a shorter sound keeps its frames
_BEHIND = 3_000  # frames that stay readable behind the last one that was asked for
_MOST_BANDS, _MOST_SECONDS = 512, 3_600


def open_sound(given: SoundSource, sampling_rate: int | None = None) -> Sound:
    """A sound, of which no more is read than says what it is.

    `given` is a path (`~` is the home folder), the bytes of a sound file or a binary file object (read into memory:
    give the path of what is long); an array of samples, [N] or [N, channels] ([channels, N] too: the longer axis is
    time), of floats from -1 to 1 or of int16, int32, int8 or uint8, with its `sampling_rate`; a mapping of
    transformers' pipeline, {"array" or "raw": samples, "sampling_rate": samples a second}; or a Sound, which is
    returned itself.

    WAV files of integers (8, 16, 24, 32 bits) or floats are read without any package, all others by the package
    soundfile (`pip install "fuseline[audio]"`) or by ffmpeg, if it is on the PATH. A file of another rate than 16,000
    is resampled, several channels are averaged. Of a video the first sound track is taken.

    sampling_rate: of an array or a list alone, since files say theirs. Without it samples are taken to be at 16,000 a
    second, as transformers' pipeline does.

    A file that is cut off gives what is there, with a UserWarning at the caller's line. Raises InputError for what is
    missing, is no sound, holds none, or has a rate below 1,000 or above 768,000; a URL is not fetched. What only shows
    later, such as a sample that is not a number, is raised by Sound.blocks.
    """
    if sampling_rate is not None and (isinstance(given, Mapping | Sound) or _is_encoded(given)):
        raise InputError(f"sampling_rate={written(sampling_rate)} is for an array of samples; others say theirs")
    if isinstance(given, Sound):
        return given
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if isinstance(given, str | os.PathLike):
        return Sound(open_file(of_path(_path(given))))
    if isinstance(given, bytes | bytearray | memoryview):
        return Sound(open_file(of_bytes(bytes(given))))
    if hasattr(given, "read"):
        return Sound(open_file(of_file(given)))
    return _of_array(given, SAMPLING_RATE if sampling_rate is None else sampling_rate)


def load_audio(given: SoundSource, sampling_rate: int | None = None) -> Float32:
    """A whole sound, float32[N] at 16,000 samples a second. See `open_sound`, for arguments and errors too.

    Raises InputError also for one that the memory of this machine does not hold.
    """
    sound = open_sound(given, sampling_rate)
    if sound.duration is not None:
        right = "read it in blocks by open_sound"
        check_memory(int(8 * sound.duration * SAMPLING_RATE), f"the samples of {sound.name}", right)
    return np.concatenate(list(sound.blocks()))


class LogMel:
    """Sounds into Whisper's input_features, as transformers' WhisperFeatureExtractor to 2e-5."""

    def __init__(self, bands: int = 80, seconds: int = 30, length: int = 400, hop: int = 160) -> None:
        """bands: M; seconds: of a window; length, hop: samples of a frame, even, and between two frames."""
        self.bands = bands
        self.samples = seconds * SAMPLING_RATE
        """of a window"""
        self.frames = self.samples // hop
        """of a window"""
        self.spectra = Spectra(bands, length, hop, SAMPLING_RATE)

    @classmethod
    def from_config(cls, preprocessor_config: Mapping[str, object], where: str) -> LogMel:
        """As preprocessor_config.json says; where: that file, for messages. Raises FolderError."""
        config = FeatureConfig(preprocessor_config, where)
        config.check_kind("WhisperFeatureExtractor")
        for key, value in (("sampling_rate", SAMPLING_RATE), ("padding_value", 0.0), ("dither", 0.0)):
            config.fixed(key, value)
        config.fixed("padding_side", "right")
        length = config.number("n_fft", 400, 2, SAMPLING_RATE)
        if length % 2:
            raise config.wrong("n_fft", length, "even")
        hop = config.number("hop_length", 160, 1, length // 2)
        bands = config.number("feature_size", 80, 1, _MOST_BANDS)
        return cls(bands, config.number("chunk_length", 30, 1, _MOST_SECONDS), length, hop)

    def __call__(self, clips: Sequence[Float32]) -> dict[str, Float32]:
        """{"input_features": float32[B, M, 3000]} of float32[N] each, padded with silence or cut to 30 s."""
        features = np.empty((len(clips), self.bands, self.frames), np.float32)
        for clip, out in zip(clips, features, strict=True):
            logs = self.spectra.of_clip(clip, self.frames)
            loudest = float(logs.max(initial=SILENCE))
            scaled(logs, loudest, out[:, : len(logs)])
            if len(logs) < self.frames:
                scaled(np.full((1, self.bands), SILENCE), loudest, out[:, len(logs) :])
        return {"input_features": features}

    def windows(self, sound: Sound) -> Windows:
        """The features of a whole sound, however long: as transformers computes them with truncation=False and
        padding="longest". Reads the sound once. Raises InputError, see Sound.blocks."""
        return Windows(self.spectra, sound)


class Windows:
    """The features of a whole sound, of which any window may be asked for; forwards is cheapest.

    Features depend on the loudest value of the whole sound, so a first pass looks for it. Frames of a short sound are
    kept then, those of a long one are computed again, as they are asked for.
    """

    def __init__(self, spectra: Spectra, sound: Sound) -> None:
        self._spectra, self._sound = spectra, sound
        self.frames = 0
        """of the sound: its samples // hop"""
        self._loudest = float(SILENCE)
        self._pieces: list[Float32] = []
        self._first = 0  # the frame at which the pieces begin
        self._rest: Iterator[Float32] = iter(())
        for piece in spectra.of_sound(sound.blocks):
            self.frames += len(piece)
            self._loudest = max(self._loudest, float(piece.max(initial=SILENCE)))
            if self.frames <= _KEPT_FRAMES:
                self._pieces.append(piece)
            else:
                self._pieces.clear()
        self._short = self.frames <= _KEPT_FRAMES
        if not self._short:
            self._begin(0)

    def at(self, frame: int, count: int = 3000) -> Float32:
        """float32[M, count] from a frame on; zeros beyond the end, as generation_whisper pads. Raises InputError."""
        window = np.zeros((self._spectra.bands, count), np.float32)
        frame, end = max(0, frame), min(frame + count, self.frames)
        if not self._short:
            self._read(frame, end)
        first = self._first
        for piece in self._pieces:
            begin, stop = max(frame, first), min(end, first + len(piece))
            if begin < stop:
                scaled(piece[begin - first : stop - first], self._loudest, window[:, begin - frame : stop - frame])
            first += len(piece)
        return window

    def _begin(self, frame: int) -> None:
        self._first = frame if frame * self._spectra.hop >= self._spectra.half else 0
        self._pieces = []
        self._rest = self._spectra.of_sound(self._sound.blocks, self._first)

    def _read(self, frame: int, end: int) -> None:
        """Has the frames up to `end`, and forgets those long before."""
        if frame < self._first:
            self._begin(frame)
        have = self._first + sum(len(piece) for piece in self._pieces)
        while have < end and (piece := next(self._rest, None)) is not None:
            self._pieces.append(piece)
            have += len(piece)
            while self._pieces and self._first + len(self._pieces[0]) <= frame - _BEHIND:
                self._first += len(self._pieces.pop(0))


class RawSamples:
    """Sounds into input_values, as transformers' Wav2Vec2FeatureExtractor makes them for Moonshine."""

    def __init__(self, normalize: bool = False) -> None:
        """normalize: whether every clip is shifted and scaled to mean 0 and variance 1. Moonshine's are not."""
        self.normalize = normalize

    @classmethod
    def from_config(cls, preprocessor_config: Mapping[str, object], where: str) -> RawSamples:
        """As preprocessor_config.json says; where: that file, for messages. Raises FolderError."""
        config = FeatureConfig(preprocessor_config, where)
        config.check_kind("Wav2Vec2FeatureExtractor")
        for key, value in (("feature_size", 1), ("sampling_rate", SAMPLING_RATE), ("padding_value", 0.0)):
            config.fixed(key, value)
        config.fixed("padding_side", "right")
        return cls(config.switch("do_normalize", True))

    def __call__(self, clips: Sequence[Float32]) -> dict[str, Float32 | Int64]:
        """{"input_values": float32[B, N], "attention_mask": int64[B, N]} of float32[n] each, padded with zeros to the
        longest; the mask is 1 where a clip is."""
        longest = max((len(clip) for clip in clips), default=0)
        values = np.zeros((len(clips), longest), np.float32)
        mask = np.zeros((len(clips), longest), np.int64)
        for clip, row, counts in zip(clips, values, mask, strict=True):
            row[: len(clip)] = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7) if self.normalize else clip
            counts[: len(clip)] = 1
        return {"input_values": values, "attention_mask": mask}


def _is_encoded(given: object) -> bool:
    return isinstance(given, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(given, "read")


def _path(given: str | os.PathLike[str]) -> str:
    try:
        return os.fsdecode(given)
    except Exception as error:  # a `__fspath__` is anybody's code
        raise InputError(f"a {type(given).__name__} is no path; give the path of a sound file") from error


def _of_mapping(given: Mapping[str, Any]) -> Sound:
    samples = given.get("raw")
    samples = given.get("array") if samples is None else samples
    if samples is not None and "sampling_rate" in given and given["sampling_rate"] is None:
        raise InputError('"sampling_rate" of a mapping is None; give how many samples a second "array" has')
    if samples is None or given.get("sampling_rate") is None:
        keys = written(sorted(map(str, given)))
        raise InputError(f'a mapping with {keys} is no sound; give "array" (or "raw") and "sampling_rate"')
    return _of_array(samples, given["sampling_rate"])


def _of_array(given: Any, sampling_rate: int) -> Sound:
    array = as_array(given)
    if array.dtype.kind not in "biufc":
        right = "give a path, bytes, a file, or an array of samples with its sampling_rate"
        raise InputError(f"a sound cannot be read from {written(given)}; {right}")
    return Sound(Samples(array, check_rate(sampling_rate, "the array")))
