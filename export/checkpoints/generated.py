"""Photos, texts and clips to compare models on where there are none: made here, always the same ones."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
import numpy.typing as npt
from PIL import Image

from fuseline.folders.tensors import ATTENTION_MASK, INPUT_IDS

_LENGTHS = (1, 60, 7, 33, 2, 15)  # tokens


def generated_photos(count: int, edge: int = 256) -> list[Image.Image]:
    """Photos of coloured fields, each of its own coarseness and contrast; always the same ones."""
    random = np.random.default_rng(0)
    made = []
    for index in range(count):
        cells = 2 + index % 7
        colours = random.normal(128, random.uniform(20, 120), (cells, cells, 3)).clip(0, 255).astype(np.uint8)
        made.append(Image.fromarray(colours).resize((edge, edge), Image.Resampling.BICUBIC))
    return made


def generated_texts(
    vocab_size: int, longest: int | None, end: int | None, count: int = len(_LENGTHS)
) -> list[list[int]]:
    """So many texts of 1 to 60 tokens of a vocabulary, each with the end token behind it, where there is one.

    longest: how many tokens a text may have. Tokens are drawn evenly, without the first tenth of a vocabulary, where
    tokens lie that have a meaning of their own.
    """
    random, behind = np.random.default_rng(0), [] if end is None else [end]
    lengths = (min(length, (longest or length) - len(behind)) for length in islice(cycle(_LENGTHS), count))
    return [random.integers(vocab_size // 10, vocab_size, max(length, 1)).tolist() + behind for length in lengths]


def generated_text_inputs(
    vocab_size: int, longest: int | None, end: int | None, count: int = len(_LENGTHS), pad: int = 0
) -> dict[str, npt.NDArray[np.int64]]:
    """The same as an encoder reads them: input_ids int64[count, S], filled up with pad, and their attention_mask."""
    rows = generated_texts(vocab_size, longest, end, count)
    ids = np.full((len(rows), max(map(len, rows))), pad, np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    lengths = np.array([[len(tokens)] for tokens in rows])
    return {INPUT_IDS: ids, ATTENTION_MASK: (np.arange(ids.shape[1]) < lengths).astype(np.int64)}


def generated_clips(count: int) -> list[npt.NDArray[np.float32]]:
    """Clips of 1 to 4 seconds at 16 kHz: voices of a few tones that glide and pause, as different as can be.

    Always the same ones.
    """
    random, made = np.random.default_rng(0), []
    for index in range(count):
        seconds = np.arange(16_000 * (1 + index % 4) + 123 * index) / 16_000
        pitch = random.uniform(80, 300) * (1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.3, 2) * seconds))
        phase = 2 * np.pi * np.cumsum(pitch) / 16_000
        loud = random.uniform(0.2, 1, 12)
        voice = sum(loud[step - 1] / step * np.sin(step * phase) for step in range(1, 13))
        syllables = np.clip(np.sin(2 * np.pi * random.uniform(1, 4) * seconds), 0, 1)
        made.append((0.2 * voice * syllables + random.normal(0, 0.003, len(seconds))).astype(np.float32))
    return made
