"""What makes an encoder's inputs: the one contract of photos, texts and what else a model may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError


class Inputs(Protocol):
    """From what people have to what an encoder reads."""

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[str, npt.NDArray[Any]]:
        """The inputs of B photos or texts, by Hugging Face's names: {"pixel_values": float32[B, 3, height, width]}, or
        {"input_ids": int64[B, S], "attention_mask": int64[B, S]}. Raises InputError."""
        ...

    def least(self, size: tuple[int, int], fast: bool | None = None) -> tuple[int, int] | None:
        """Of photos: how small one of this size may be when it is given; see ImageProcessor.least."""
        return None


def together(made: Sequence[Mapping[Any, Any]]) -> Mapping[Any, Any]:
    """Inputs of photos that were made one by one, as one batch: arrays of the same name one below the other.

    Raises InputError for different sizes.
    """
    joined: dict[Any, Any] = {}
    for name, first in made[0].items():
        each = [one[name] for one in made]
        if isinstance(first, Mapping):
            joined[name] = together(each)
        elif len({array.shape[1:] for array in each}) > 1:
            raise InputError("this model leaves photos their sizes, so these cannot go together; use batch_size=1")
        else:
            joined[name] = np.concatenate(each)
    return joined
