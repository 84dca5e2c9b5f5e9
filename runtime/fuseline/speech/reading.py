"""The beginning of a sound, to see how long it is without reading all of it."""

from __future__ import annotations

import numpy as np

from ..arrays import Float32
from ..inputs.audio import Sound


def beginning(sound: Sound, most: int | None) -> Float32:
    """The first samples of a sound, float32[N], N at most `most` (None: all). Raises InputError, see Sound.blocks."""
    found, count = [], 0
    for block in sound.blocks():
        found.append(block)
        count += len(block)
        if most is not None and count >= most:
            break
    return np.concatenate(found)[:most]
