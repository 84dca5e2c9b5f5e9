"""Clips of given lengths for benchmarks.speech, joined of whole sounds: WAV of 16 bits, 16,000 a second."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fuseline.inputs.audio import SAMPLING_RATE, load_audio

_PAUSE = SAMPLING_RATE // 2  # samples of silence between two sounds

Samples = npt.NDArray[np.float32]


def write_clips(sounds: Sequence[Path], seconds: Sequence[int], folder: Path) -> dict[int, Path]:
    """A file for each number of seconds, by that number. sounds: whatever load_audio reads."""
    folder.mkdir(parents=True, exist_ok=True)
    loaded = [load_audio(sound) for sound in sounds]
    clips = {}
    for each in seconds:
        clips[each] = folder / f"{each}s.wav"
        _write(joined(loaded, each * SAMPLING_RATE), clips[each])
    return clips


def joined(sounds: Sequence[Samples], length: int) -> Samples:
    """float32[length]: sounds in turn, each whole, with pauses, as many as there is room for, then silence.

    A sound that finds no room is passed over, so that no word is cut. Of one that is longer than all the beginning is
    taken where no other fits at all.
    """
    clip, at, passed = np.zeros(length, np.float32), 0, 0
    for sound in cycle(sounds):
        if at + len(sound) <= length:
            clip[at : at + len(sound)] = sound
            at, passed = at + len(sound) + _PAUSE, 0
        else:
            passed += 1
        if passed == len(sounds):
            break
    if at == 0:
        clip[:] = sounds[0][:length]
    return clip


def _write(samples: Samples, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
