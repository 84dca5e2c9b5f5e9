"""What makes an encoder's inputs: the one contract of photos, texts and what else a model may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt


class Inputs(Protocol):
    """From what people have to what an encoder reads."""

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[str, npt.NDArray[Any]]:
        """The inputs of B photos or texts, by Hugging Face's names: {"pixel_values": float32[B, 3, height, width]}, or
        {"input_ids": int64[B, S], "attention_mask": int64[B, S]}. Raises InputError."""
        ...
