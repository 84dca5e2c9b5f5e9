"""Sounds made here: something like speech, for what must hear that somebody speaks, and what is no speech."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fuseline.arrays import Float32

RATE = 16_000
_VOWELS = [(730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240)]  # a e i o u
_WIDTHS = (90, 110, 170)  # Hz, of the formants


def speech(seconds: float, seed: int = 0, loudness: float = -20.0, pitch: float = 120.0) -> Float32:
    """Words of one to four syllables with short pauses between them, float32[N] at 16 kHz, as loud as that in dB (RMS).

    A syllable is a hiss or a closure and then a vowel: harmonics of a falling pitch under three formants.
    """
    random = np.random.default_rng(seed)
    parts: list[Float32] = []
    while sum(map(len, parts)) < seconds * RATE:
        for _ in range(random.integers(1, 5)):
            parts += [_consonant(random), _vowel(random, pitch)]
        parts.append(np.zeros(int(RATE * random.uniform(0.05, 0.3)), np.float32))
    sound = np.concatenate(parts)[: int(seconds * RATE)]
    return (sound * 10 ** (loudness / 20) / np.sqrt(np.mean(sound**2))).astype(np.float32)


def _vowel(random: np.random.Generator, pitch: float) -> Float32:
    count = int(RATE * random.uniform(0.08, 0.2))
    at = np.linspace(0, 1, count)
    pitches = pitch * random.uniform(0.85, 1.25) * (1.08 - 0.16 * at)
    phase = 2 * np.pi * np.cumsum(pitches) / RATE
    begin, end = (np.array(_VOWELS[random.integers(len(_VOWELS))], float) for _ in range(2))
    formants = begin + (end - begin) * at[:, None] ** 2
    sound = np.zeros(count)
    for harmonic in range(1, int(4000 / pitches.max())):
        hertz = harmonic * pitches[:, None]
        gains = 1 / (1 + ((hertz - formants) / _WIDTHS) ** 2) * (1, 0.6, 0.3)
        sound += gains.sum(axis=1) * np.sin(harmonic * phase) / harmonic**0.5
    return (sound * np.minimum(1, 8 * np.minimum(at, 1 - at))).astype(np.float32)


def _consonant(random: np.random.Generator) -> Float32:
    hiss = np.diff(random.standard_normal(int(RATE * random.uniform(0.03, 0.09)) + 1))
    return (hiss * random.choice([0.0, 0.02, 0.08])).astype(np.float32)


def white(seconds: float, loudness: float, seed: int = 0) -> Float32:
    """White noise, float32[N], as loud as that in dB (RMS)."""
    noise = np.random.default_rng(seed).standard_normal(int(seconds * RATE), np.float32)
    return noise * np.float32(10 ** (loudness / 20))


def pink(seconds: float, loudness: float, seed: int = 0) -> Float32:
    """Noise that has the same power in every octave."""
    count = int(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20 * seconds))
    noise = np.fft.irfft(spectrum, count)
    return (noise * 10 ** (loudness / 20) / noise.std()).astype(np.float32)


def tone(seconds: float, hertz: float, loudness: float = -20.0, harmonics: int = 1) -> Float32:
    """A steady tone; a hum is one of 50 or 60 Hz with harmonics."""
    at = np.arange(int(seconds * RATE)) / RATE
    sound = sum(
        (np.sin(2 * np.pi * hertz * number * at) / number for number in range(1, harmonics + 1)), np.zeros(len(at))
    )
    return (sound * 10 ** (loudness / 20) / sound.std()).astype(np.float32)


NOT_VOICES: dict[str, Callable[[float], Float32]] = {
    "zeros": lambda seconds: np.zeros(int(seconds * RATE), np.float32),
    "white at -40 dB": lambda seconds: white(seconds, -40),
    "white at -20 dB": lambda seconds: white(seconds, -20),
    "pink at -40 dB": lambda seconds: pink(seconds, -40),
    "pink at -20 dB": lambda seconds: pink(seconds, -20),
    "hum of 50 Hz": lambda seconds: tone(seconds, 50, -30, harmonics=8),
    "hum of 100 Hz": lambda seconds: tone(seconds, 100, -30, harmonics=8),
    "hum in noise": lambda seconds: tone(seconds, 50, -30, harmonics=8) + white(seconds, -50),
    "a tone of 220 Hz": lambda seconds: tone(seconds, 220),
    "a tone of 1 kHz": lambda seconds: tone(seconds, 1000),
}
