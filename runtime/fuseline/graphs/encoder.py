"""The encoder graph: inputs in, what the decoder reads of them out.

Dimensions: `B` inputs of a call, `S` encoder positions, `E` width of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Int64
from ..errors import InputError, shown, written
from ..folders.tensors import ATTENTION_MASK, INPUT_IDS, PIXEL_VALUES, Source, Tensor
from .contract import Encoded
from .running import Graph

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Encoder:
    """graph: the encoder's; source: what it reads; inputs: as they are listed, by name; outputs: their names, K/V of
    all layers float32[B, S, E], or of another tool's graph the last hidden state."""

    graph: Graph
    source: Source
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]

    def encode(self, given: Arrays) -> Encoded:
        """Run it on what `checked` returned. Raises FolderError, RunEnded."""
        from onnxruntime import OrtValue

        values = {
            name: OrtValue.ortvalue_from_numpy(array.astype(self.inputs[name].type, copy=False))
            for name, array in given.items()
        }
        first = next(iter(given.values()))
        found = self.graph.run(self.outputs, values, first.size)
        lengths = _lengths(given[ATTENTION_MASK]) if ATTENTION_MASK in given else None
        return Encoded(len(first), dict(zip(self.outputs, found, strict=True)), lengths, given.get(INPUT_IDS))

    def checked(self, given: object) -> Arrays:
        """What is given as the graph reads it: an array for a graph of one input, or a mapping by the inputs' names.

        `pixel_values`: float32[B, 3, height, width]. `input_ids`: whole numbers [B, S], with `attention_mask`, ones and
        then zeros in each row (all ones where it is left out); what no input of the batch has is cut off. Raises
        InputError for others, NaN or infinity, and for more positions than the encoder has.
        """
        arrays = self._named(given)
        return _texts(arrays, self.source) if self.source.reads_text else {PIXEL_VALUES: self._pixels(arrays)}

    def _named(self, given: object) -> Mapping[str, Any]:
        """By the names of the inputs; of the source it may be named, too."""
        if isinstance(given, Mapping) and list(given) == [self.source.name]:
            given = given[self.source.name]
        first, *others = self.source.inputs
        if not isinstance(given, Mapping):
            return {first: given}
        if first not in given or not set(given) <= set(self.source.inputs):
            if not self.source.reads_text and not given:
                return {first: given}
            right = f"{first}{''.join(f', and may have {name}' for name in others)}"
            found = ", ".join(shown(name, 40) for name in list(given)[:8]) or "nothing"
            raise InputError(f"the inputs of this model must have {right}; these have {found}")
        return {str(name): value for name, value in given.items() if value is not None or name == first}

    def _pixels(self, given: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        shape = self.inputs[PIXEL_VALUES].shape
        right = f"float32[{', '.join(map(str, shape))}]"
        try:
            pixels = np.asarray(given[PIXEL_VALUES])
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


def with_mask(given: object, source: Source, pad: int | None) -> object:
    """The same, and where no attention_mask is given one without the pad tokens, as transformers' generate makes it."""
    named = given.get(source.name, given) if isinstance(given, Mapping) else given
    ids = named.get(INPUT_IDS) if isinstance(named, Mapping) else named
    if ids is None or (isinstance(named, Mapping) and named.get(ATTENTION_MASK) is not None):
        return given
    ids = _whole(INPUT_IDS, ids)
    return {INPUT_IDS: ids, ATTENTION_MASK: ids != pad}


def _texts(given: Mapping[str, Any], source: Source) -> Arrays:
    """Tokens and their mask, int64[B, S] each, S that of the longest text."""
    ids = _whole(INPUT_IDS, given[INPUT_IDS])
    mask = np.ones_like(ids) if ATTENTION_MASK not in given else _whole(ATTENTION_MASK, given[ATTENTION_MASK])
    if mask.shape != ids.shape:
        raise InputError(f"attention_mask must have the shape of input_ids, {list(ids.shape)}, not {list(mask.shape)}")
    lengths = _lengths(mask)
    if not (mask == (np.arange(mask.shape[1]) < lengths)).all() or lengths.min() < 1:
        row = 1 + int(np.argmin((mask == (np.arange(mask.shape[1]) < lengths)).all(axis=1) & (lengths[:, 0] > 0)))
        raise InputError(
            f"attention_mask of text {row} must be ones, at least one, and then zeros; pad texts on the right"
        )
    longest = int(lengths.max())
    if source.longest is not None and longest > source.longest:
        row = 1 + int(lengths.argmax())
        raise InputError(
            f"text {row} has {longest} tokens and this model reads {source.longest}; cut it, or split it into sentences"
        )
    most = np.iinfo(np.int64).max if source.vocab_size is None else source.vocab_size - 1
    ids, mask = np.ascontiguousarray(ids[:, :longest]), np.ascontiguousarray(mask[:, :longest])
    if ids.min() < 0 or ids.max() > most:
        bound = "negative" if source.vocab_size is None else f"outside the vocabulary, whose ids are 0 to {most}"
        raise InputError(f"input_ids has {int(ids.min() if ids.min() < 0 else ids.max())}, which is {bound}")
    return {INPUT_IDS: ids, ATTENTION_MASK: mask}


def _lengths(mask: Int64) -> Int64:
    """int64[B, 1]."""
    lengths: Int64 = mask.sum(axis=1, keepdims=True)
    return lengths


def _whole(name: str, value: Any) -> Int64:
    """int64[B, S]. Raises InputError for another array, or none; a mask may be of bools, tokens may not."""
    right = f"{name} must be whole numbers of shape [B, S], as a tokenizer pads them"
    try:
        array = np.asarray(value)
    except Exception:  # rows of different lengths, or an object whose own conversion fails
        raise InputError(f"{right}, not {written(value)}") from None
    whole = np.issubdtype(array.dtype, np.integer) or (array.dtype == np.bool_ and name == ATTENTION_MASK)
    if array.ndim != 2 or not whole:
        texts = "; Model.inputs makes them of texts" if array.dtype.kind in "US" else ""
        raise InputError(f"{right}, not {shown(array.dtype)} of shape {list(array.shape)}{texts}")
    if 0 in array.shape:
        raise InputError(f"{name} must have at least one text and one token, not shape {list(array.shape)}")
    if array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} has {int(array.max())}, which is no token of any model")
    return array.astype(np.int64)
