"""Sounds for tests, made here: speech-like samples, WAV files of every kind, and damaged ones."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]

_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def speech_like(samples: int, rate: int = 16_000, seed: int = 0) -> npt.NDArray[np.float32]:
    """float32[N]: a gliding voice of twenty harmonics, in syllables, with breath."""
    generator = np.random.default_rng(seed)
    seconds = np.arange(samples) / rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * seconds)) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 21))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * seconds), 0, None) ** 2 + 0.025
    sound = 0.3 * voice * syllables + 0.002 * generator.standard_normal(samples)
    return np.clip(sound, -1, 1).astype(np.float32)


def sine(hertz: float, samples: int, rate: int) -> npt.NDArray[np.float32]:
    return np.sin(2 * np.pi * hertz * np.arange(samples) / rate).astype(np.float32)


def chunk(name: bytes, body: bytes, padding: bool = True) -> bytes:
    return name + struct.pack("<I", len(body)) + body + (b"\0" if len(body) % 2 and padding else b"")


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def form(kind: int, channels: int, rate: int, bits: int, width: int | None = None) -> bytes:
    """The fmt chunk. width: bytes a sample."""
    frame = channels * (-(-bits // 8) if width is None else width)
    return chunk(b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * frame & 0xFFFFFFFF, frame, bits))


def extensible(kind: int, channels: int, rate: int, bits: int, width: int | None = None) -> bytes:
    body = form(0xFFFE, channels, rate, bits, width)[8:]
    return chunk(b"fmt ", body + struct.pack("<HHIH", 22, bits, 0, kind) + _GUID_TAIL)


def stored(samples: Samples, bits: int, floats: bool = False) -> bytes:
    """Samples from -1 to 1, [N] or [N, channels], as they lie in a WAV file."""
    if floats:
        return samples.astype(f"<f{bits // 8}").tobytes()
    scaled = np.clip(np.rint(samples.astype(np.float64) * 2 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if bits == 8:
        return (scaled + 128).astype(np.uint8).tobytes()
    if bits == 24:
        return scaled.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return scaled.astype(f"<i{bits // 8}").tobytes()


def wav(samples: Samples, rate: int = 16_000, bits: int = 16, floats: bool = False) -> bytes:
    """A WAV file of samples from -1 to 1, [N] or [N, channels]."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return riff(form(3 if floats else 1, channels, rate, bits), chunk(b"data", stored(samples, bits, floats)))


def by_ffmpeg(source: bytes, target: Path, *options: str) -> Path:
    """A file that ffmpeg makes of a WAV file, in the format that the target's name ends in."""
    command = [shutil.which("ffmpeg") or "ffmpeg", "-y", "-loglevel", "error", "-i", "pipe:0", *options, str(target)]
    subprocess.run(command, input=source, check=True)
    return target
