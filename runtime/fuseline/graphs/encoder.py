"""The encoder graph: inputs in, what the decoder reads of them out.

Dimensions: `B` inputs of a call, `S` encoder positions, `E` width of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..arrays import Int64
from ..errors import InputError, shown, written
from ..folders.tensors import ATTENTION_MASK, INPUT_IDS, INPUT_VALUES, Source, Tensor
from .bound import run_there
from .contract import Encoded
from .running import Graph

if TYPE_CHECKING:
    from onnxruntime import OrtValue

Arrays = Mapping[str, npt.NDArray[Any]]
_CLIP_CONVOLUTIONS = ((127, 64), (7, 3), (3, 2))  # kernel and stride of each of Moonshine's
SHORTEST_CLIP = 895  # samples that give them one position: 127, then 7 and 3 of them


def positions_of_clip(samples: Any) -> Any:
    """How many positions Moonshine's encoder gives for so many samples, a number or an array of them."""
    for kernel, stride in _CLIP_CONVOLUTIONS:
        samples = (samples - kernel) // stride + 1
    return samples


@dataclass(frozen=True)
class Encoder:
    """graph: the encoder's; source: what it reads; inputs: as they are listed, by name; outputs: their names, K/V of
    all layers float32[B, S, E], or of another tool's graph the last hidden state; stays: whether these are left in the
    device's memory, for a decoder that is there too."""

    graph: Graph
    source: Source
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    stays: bool = False

    def encode(self, given: Arrays) -> Encoded:
        """Run it on what `checked` returned. Raises FolderError, RunEnded."""
        if INPUT_VALUES in given:
            return self._clips(given)
        found = self._run(given)
        lengths = _lengths(given[ATTENTION_MASK]) if ATTENTION_MASK in given else None
        return Encoded(len(next(iter(given.values()))), found, lengths, input_ids=given.get(INPUT_IDS))

    def _run(self, given: Arrays) -> dict[str, OrtValue]:
        from onnxruntime import OrtValue

        values = {
            name: OrtValue.ortvalue_from_numpy(array.astype(self.inputs[name].type, copy=False))
            for name, array in given.items()
        }
        size = next(iter(given.values())).size
        if self.stays:
            found = run_there(self.graph, self.outputs, values, size)
        else:
            found = self.graph.run(self.outputs, values, size)
        return dict(zip(self.outputs, found, strict=True))

    def _clips(self, given: Arrays) -> Encoded:
        """Of samples of speech: each clip alone, since its encoder norms over the whole length, padding too."""
        from onnxruntime import OrtValue

        clips = zip(given[INPUT_VALUES], _lengths(given[ATTENTION_MASK])[:, 0], strict=True)
        found = [self._run(self._alone(samples[None, :length])) for samples, length in clips]
        lengths = np.array([[each[self.outputs[0]].shape()[1]] for each in found])
        if len(found) == 1:
            return Encoded(1, found[0], lengths)
        joined = {}
        for name in self.outputs:
            arrays = [each.pop(name).numpy() for each in found]
            whole = np.zeros((len(arrays), lengths.max(), *arrays[0].shape[2:]), arrays[0].dtype)
            for row, array in zip(whole, arrays, strict=True):
                row[: array.shape[1]] = array[0]
            joined[name] = OrtValue.ortvalue_from_numpy(whole)
        return Encoded(len(arrays), joined, lengths)

    def _alone(self, samples: npt.NDArray[np.float32]) -> Arrays:
        """One clip as the graph reads it; graphs of other tools may read a mask, too."""
        mask = {ATTENTION_MASK: np.ones(samples.shape, np.int64)} if ATTENTION_MASK in self.inputs else {}
        return {INPUT_VALUES: samples, **mask}

    def checked(self, given: object) -> Arrays:
        """What is given as the graph reads it: an array for a graph of one input, or a mapping by the inputs' names.

        `pixel_values`: float32[B, 3, height, width]. `input_ids`: whole numbers [B, S], with `attention_mask`, ones and
        then zeros in each row (all ones where it is left out); what no input of the batch has is cut off.
        `input_features`: float32[B, bands, frames]; `input_values`: float32[B, samples], with `attention_mask` as for
        texts. Raises InputError for others, NaN or infinity, and for more positions than the encoder has.
        """
        arrays = self._named(given)
        if self.source.reads_text:
            return _texts(arrays, self.source)
        if INPUT_VALUES in self.source.inputs:
            return _samples(arrays, self.source)
        (name,) = self.source.inputs
        return {name: _floats(name, arrays[name], self.inputs[name].shape)}

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


def with_mask(given: object, source: Source, pad: int | None) -> object:
    """The same, and where no attention_mask is given one without the pad tokens, as transformers' generate makes it."""
    named = given.get(source.name, given) if isinstance(given, Mapping) else given
    ids = named.get(INPUT_IDS) if isinstance(named, Mapping) else named
    if ids is None or (isinstance(named, Mapping) and named.get(ATTENTION_MASK) is not None):
        return given
    ids = _whole(INPUT_IDS, ids)
    return {INPUT_IDS: ids, ATTENTION_MASK: ids != pad}


def _floats(name: str, given: Any, shape: Sequence[int | str]) -> npt.NDArray[np.float32]:
    """The array. shape: numbers, and names where any size is good. Raises InputError for another."""
    right = f"float32[{', '.join(map(str, shape))}]"
    try:
        array = np.asarray(given)
    except Exception as error:  # rows of different lengths, or an object whose own conversion fails
        raise InputError(f"{name} must be {right}; this is no array: {shown(error)}") from None
    if array.dtype != np.float32:
        raise InputError(f"{name} must be {right}, not {shown(array.dtype)}")
    fits = array.ndim == len(shape) and all(
        isinstance(size, str) or size == found for size, found in zip(shape, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        raise InputError(f"{name} must be {right}, not of shape {list(array.shape)}")
    array = np.ascontiguousarray(array)
    if not np.isfinite(array).all():
        raise InputError(f"{name} hold NaN or infinite values; every value must be finite")
    return array


def _samples(given: Mapping[str, Any], source: Source) -> Arrays:
    """Samples of speech and their mask, float32[B, N] and int64[B, N], N those of the longest clip."""
    values = _floats(INPUT_VALUES, given[INPUT_VALUES], ("B", "samples"))
    mask = np.ones(values.shape, np.int64)
    if ATTENTION_MASK in given:
        mask = _whole(ATTENTION_MASK, given[ATTENTION_MASK])
    lengths = _checked_mask(mask, values.shape, INPUT_VALUES, "clip")
    shortest, each = int(lengths.min()), source.samples_a_position or 1
    if shortest < SHORTEST_CLIP:
        row = 1 + int(lengths.argmin())
        raise InputError(f"clip {row} has {shortest} samples and this model needs {SHORTEST_CLIP}; give a longer one")
    longest = int(lengths.max())
    if source.longest is not None and longest > source.longest * each:
        row, most = 1 + int(lengths.argmax()), source.longest * each
        raise InputError(f"clip {row} has {longest} samples and this model reads {most}; cut it into shorter ones")
    return {INPUT_VALUES: values[:, :longest], ATTENTION_MASK: np.ascontiguousarray(mask[:, :longest])}


def _checked_mask(mask: Int64, shape: tuple[int, ...], name: str, what: str) -> Int64:
    """The lengths, int64[B, 1]. Raises InputError for a mask that is no ones and then zeros. what: text or clip."""
    if mask.shape != shape:
        raise InputError(f"attention_mask must have the shape of {name}, {list(shape)}, not {list(mask.shape)}")
    lengths = _lengths(mask)
    good = (mask == (np.arange(mask.shape[1]) < lengths)).all(axis=1) & (lengths[:, 0] > 0)
    if not good.all():
        row = 1 + int(np.argmin(good))
        raise InputError(
            f"attention_mask of {what} {row} must be ones, at least one, and then zeros; pad {what}s on the right"
        )
    return lengths


def _texts(given: Mapping[str, Any], source: Source) -> Arrays:
    """Tokens and their mask, int64[B, S] each, S that of the longest text."""
    ids = _whole(INPUT_IDS, given[INPUT_IDS])
    mask = np.ones_like(ids) if ATTENTION_MASK not in given else _whole(ATTENTION_MASK, given[ATTENTION_MASK])
    lengths = _checked_mask(mask, ids.shape, INPUT_IDS, "text")
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
