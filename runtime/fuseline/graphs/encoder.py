"""The encoder graph: photos in, what the decoder reads of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError, shown
from ..folders.tensors import Tensor
from .contract import Encoded
from .running import Graph

PIXELS = "pixel_values"


@dataclass(frozen=True)
class Encoder:
    """graph: the encoder's; pixels: its input as it is listed, float32 or float16[B, 3, height, width]; outputs: their
    names, K/V of all layers float32[B, S, E], or of another tool's graph the last hidden state."""

    graph: Graph
    pixels: Tensor
    outputs: Sequence[str]

    def encode(self, pixel_values: npt.NDArray[np.float32]) -> Encoded:
        """Run it on what `checked` returned. Raises FolderError, RunEnded."""
        from onnxruntime import OrtValue

        given = OrtValue.ortvalue_from_numpy(pixel_values.astype(self.pixels.type, copy=False))
        found = self.graph.run(self.outputs, {PIXELS: given}, pixel_values.size)
        return Encoded(len(pixel_values), dict(zip(self.outputs, found, strict=True)))

    def checked(self, pixel_values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """pixel_values as the encoder reads them. Raises InputError for another type or shape, NaN or infinity."""
        shape = self.pixels.shape
        right = f"float32[{', '.join(map(str, shape))}]"
        try:
            pixels = np.asarray(pixel_values)
        except Exception as error:  # rows of different lengths, or an object whose own conversion fails
            raise InputError(f"pixel_values must be {right}; this is no array: {shown(error)}") from None
        if pixels.dtype != np.float32:
            raise InputError(f"pixel_values must be {right}, not {shown(pixels.dtype)}")
        fits = pixels.ndim == 4 and all(
            isinstance(size, str) or size == found for size, found in zip(shape, pixels.shape, strict=True)
        )
        if not fits or 0 in pixels.shape:
            raise InputError(f"pixel_values must be {right}, not of shape {list(pixels.shape)}")
        pixels = np.ascontiguousarray(pixels)
        if not np.isfinite(pixels).all():
            raise InputError("pixel_values hold NaN or infinite values; every value must be finite")
        return pixels
