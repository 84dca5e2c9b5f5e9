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

    Of a source that not all of them have, or whose texts differ in length, they stay a list with an entry a photo, None
    where it is without, as Model.generate takes it. Raises InputError for different sizes.
    """
    joined: dict[Any, Any] = {}
    for name in dict.fromkeys(name for one in made for name in one):
        each = [one.get(name) for one in made]
        there = [value for value in each if value is not None]
        if isinstance(there[0], Mapping):
            whole = len(there) == len(each) and not _lengths_differ(there)
            joined[name] = together(there) if whole else [_of_one(value) for value in each]
        elif len({array.shape[1:] for array in there}) > 1:
            raise InputError("this model leaves photos their sizes, so these cannot go together; use batch_size=1")
        else:
            joined[name] = np.concatenate(there)
    return joined


def _lengths_differ(made: Sequence[Mapping[Any, Any]]) -> bool:
    """Whether these are texts or samples, [1, S], of several lengths."""
    return any(
        getattr(array, "ndim", 0) == 2 and len({one[name].shape for one in made}) > 1 for name, array in made[0].items()
    )


def _of_one(made: Mapping[Any, Any] | None) -> dict[Any, Any] | None:
    """What one input gives, without the dimension B."""
    return None if made is None else {name: array[0] for name, array in made.items()}
