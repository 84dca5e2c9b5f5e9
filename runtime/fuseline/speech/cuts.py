"""A window's tokens cut into segments at their timestamps, and how far the next window begins after this one.

As `_retrieve_segment` of transformers 4.57 (models/whisper/generation_whisper.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .vocabulary import TIMESTAMP

FRAME = 0.01  # seconds
FRAMES = 2  # from one timestamp to the next


@dataclass(frozen=True)
class Cut:
    """The tokens of one segment, from `begin` to before `end` of its window's, and its times in seconds."""

    begin: int
    end: int
    start_time: float
    end_time: float


def seconds(frame: int) -> float:
    """When a frame begins, from the beginning of the sound; computed as there, in float64."""
    return frame * TIMESTAMP / FRAMES


def cut(tokens: Sequence[int], first: int, seek: int, frames: int) -> tuple[list[Cut], int]:
    """The segments of a window and how many frames of 10 ms the next window begins after it.

    tokens: without prompt and end token; first: the token of 0.00 s; seek: the window's first frame; frames: how many
    it has of the sound. A pair of timestamps ends one segment and begins the next; what comes after the last pair is
    said again in the next window, which begins there. A single timestamp at the end says that nothing follows.
    """
    offset = seconds(seek)
    is_time = [token >= first for token in tokens]
    pairs = [at for at in range(1, len(tokens)) if is_time[at - 1] and is_time[at]]
    if not pairs:
        return [Cut(0, len(tokens), offset, offset + _last(tokens, first, frames) * TIMESTAMP)], frames
    single = is_time[-2:] == [False, True]
    ends = [*pairs, len(tokens)] if single else [*pairs[:-1], pairs[-1] + 1]
    cuts, begin = [], 0
    for end in ends:
        last = tokens[end - 2] if end == ends[-1] and not single else tokens[end - 1]
        times = (offset + (token - first) * TIMESTAMP for token in (tokens[begin], last))
        cuts.append(Cut(begin, end, *times))
        begin = end
    return cuts, frames if single else (tokens[begin - 2] - first) * FRAMES


def _last(tokens: Sequence[int], first: int, frames: int) -> int:
    """The last timestamp of tokens without a pair, in timestamps after 0.00 s; without any the end of the window."""
    times = [token - first for token in tokens if token >= first]
    if times and times[-1]:
        return times[-1]
    return int(np.float32(frames) * np.float32(FRAME) / np.float32(TIMESTAMP))  # in float32, as there
