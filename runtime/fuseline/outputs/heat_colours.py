"""Colours of heat: from dark blue over green to yellow, lighter with every step, so that people who see fewer colours,
and prints in grey, keep the order. The ten stops are those of viridis (van der Walt and Smith, 2015; CC0)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..arrays import Float32

_STOPS = np.array(
    [
        *((68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142)),
        *((31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37)),
    ],
    np.float32,
)
_OPACITY = 0.78  # of the strongest place
_FAINTEST = 0.06  # of the strongest: what is weaker is coloured as this


def colours(heat: Float32) -> npt.NDArray[np.uint8]:
    """Red, green and blue of heat from 0 to 1: [...] -> uint8[..., 3]."""
    at = np.clip(heat, 0, 1) * (len(_STOPS) - 1)
    low = np.minimum(at.astype(np.int64), len(_STOPS) - 2)
    share = (at - low)[..., np.newaxis]
    found: npt.NDArray[np.uint8] = np.rint(_STOPS[low] * (1 - share) + _STOPS[low + 1] * share).astype(np.uint8)
    return found


def relative(map: Float32) -> Float32:
    """A map beside its own strongest place: from 0 to 1; a map of zeros stays."""
    most = float(map.max(initial=0))
    return map / np.float32(most) if most > 0 else map


def layer(map: Float32) -> Image.Image:
    """A map as a layer to lay over the photo, RGBA of its size: the stronger, the lighter and the less transparent."""
    heat = relative(map)
    alpha = np.rint(255 * _OPACITY * np.sqrt(np.clip(heat, _FAINTEST, 1))).astype(np.uint8)
    return Image.fromarray(np.dstack([colours(heat), alpha]))
