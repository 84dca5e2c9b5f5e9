"""Several sources of one decoder: their encoder graphs, and what these give as one.

Keys and values of all sources lie end to end, those of source m from starts[m] on. Dimensions: `B` inputs of a call,
`M` sources, `S_m` positions of a source, S those of all, `E` width of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..arrays import Bool, Float32, Int64, as_array
from ..errors import InputError, shown, written
from ..files.reading import some
from ..folders.tensors import ATTENTION_MASK, REFUSE, ZEROS, Source
from .contract import Encoded
from .encoder import Arrays, Encoder
from .running import fetched

Weights = Mapping[str, Any]  # by source, a number or float[B]


class Encodes(Protocol):
    """An Encoder, several, or none."""

    def checked(self, given: object) -> Any:
        """What is given as the graphs read it. Raises InputError."""
        ...

    def encode(self, given: Any) -> Encoded:
        """Run them on what `checked` returned. Raises FolderError, RunEnded."""
        ...


@dataclass(frozen=True)
class Given:
    """What a call gives, checked. arrays: of each source, what its encoder reads for the inputs of `rows`, int64[b];
    weights: float32[B, M], 0 of what is absent, else up to 1, the most that the input has."""

    batch: int
    arrays: Mapping[str, Arrays]
    rows: Mapping[str, Int64]
    weights: Float32


@dataclass(frozen=True)
class Encoders:
    """The encoders of a decoder with several sources. task_source: the one that an array alone is of."""

    encoders: Mapping[str, Encoder]
    task_source: str

    def checked(self, given: object, source_weights: Weights | None = None) -> Given:
        """What is given as the graphs read it.

        given: a mapping by source of what its Encoder takes; a source that is left out, or None, is absent. A list in
        which some entries are None says which inputs of the batch have the source, each entry as one input without the
        dimension B; a text whose attention_mask is 0 everywhere is absent too. What is no such mapping is of the source
        that the task is about. source_weights: numbers from 0 on by source, or one an input, float[B]; Source.weight,
        mostly 1, where nothing is said, 0 as if absent. Only their ratios count. Raises InputError.
        """
        by_source = self._by_source(given)
        there = {name: _there(by_source[name], name) for name in self.encoders if by_source.get(name) is not None}
        batch = self._batch(there)
        weights = self._weights({} if source_weights is None else source_weights, batch)
        present = np.zeros((batch, len(self.encoders)), bool)
        for place, (name, encoder) in enumerate(self.encoders.items()):
            has = there[name] if name in there else np.zeros(batch, bool)
            if encoder.source.absent == REFUSE and not (has & (weights[:, place] > 0)).all():
                row = int(np.argmin(has & (weights[:, place] > 0)))
                raise InputError(f"input {row + 1} is without {name}, and this model needs it; give all inputs theirs")
            present[:, place] = has | (encoder.source.absent == ZEROS)
        weights[~present] = 0
        if not (most := weights.max(axis=1, keepdims=True)).all():
            row = int(np.argmin(most[:, 0])) + 1
            known = ", ".join(self.encoders)
            raise InputError(f"input {row} has no source that counts; give it one of {known} with a weight above 0")
        weights = (weights / most).astype(np.float32)
        arrays, rows = {}, {}
        for place, (name, encoder) in enumerate(self.encoders.items()):
            rows[name] = np.flatnonzero(weights[:, place] > 0)
            if len(rows[name]):
                has = there[name] if name in there else np.zeros(batch, bool)
                arrays[name] = _of_rows(encoder, by_source.get(name), has, rows[name])
        return Given(batch, arrays, rows, weights)

    def encode(self, given: Given) -> Encoded:
        """Run the encoders of the sources that are there, each for the inputs that have it. Raises FolderError,
        RunEnded."""
        found = {name: self.encoders[name].encode(arrays) for name, arrays in given.arrays.items()}
        names = list(self.encoders)
        longest = [_positions(found[name]) if name in found else 0 for name in names]
        starts = np.concatenate([[0], np.cumsum(longest)]).astype(np.int64)
        lengths = np.zeros((given.batch, len(names)), np.int64)
        for place, name in enumerate(names):
            if name in found:
                own = found[name].lengths
                lengths[given.rows[name], place] = longest[place] if own is None else own[:, 0]
        return Encoded(
            given.batch, _joined(found, given, starts, names), lengths, starts, given.weights, sources=tuple(names)
        )

    def without(self, encoded: Encoded, name: str) -> Encoded:
        """What is encoded, of these encoders, as if no input had that source.

        A source that is absent as "skip" gets no weight and no positions; one that is absent as "zeros" has what its
        encoder says of zeros. Raises InputError for a source that the model needs, and where an input has no other.
        """
        place, encoder = list(self.encoders).index(name), self.encoders[name]
        lengths, weights, starts = encoded.lengths, encoded.weights, encoded.starts
        if lengths is None or weights is None or starts is None or encoded.sources != tuple(self.encoders):
            raise InputError("what is encoded is of another model: it has other sources")
        if encoder.source.absent == REFUSE:
            raise InputError(f"this model needs {name}, so it cannot be guided by it")
        if encoder.source.absent == ZEROS:
            return self._with_zeros(encoded, encoder, slice(starts[place], starts[place + 1]))
        lengths, weights = lengths.copy(), weights.copy()
        lengths[:, place] = weights[:, place] = 0
        if not (most := weights.max(axis=1, keepdims=True)).all():
            row = int(np.argmin(most[:, 0])) + 1
            raise InputError(f"input {row} has no source but {name}, so it cannot be guided by it; give it another one")
        return replace(encoded, lengths=lengths, weights=weights / most)

    def _with_zeros(self, encoded: Encoded, encoder: Encoder, positions: slice) -> Encoded:
        """The same with what an encoder says of zeros in the place of a source's keys and values."""
        from onnxruntime import OrtValue

        if positions.start == positions.stop:  # nowhere there
            return encoded
        (name,) = encoder.source.inputs
        zeros = encoder.encode({name: np.zeros((1, *_fixed(encoder, name)), np.float32)})
        values = {}
        for key, value in encoded.values.items():
            whole = fetched(value).copy()
            whole[:, positions] = fetched(zeros.values[key])
            values[key] = OrtValue.ortvalue_from_numpy(whole)
        return replace(encoded, values=values)

    def _by_source(self, given: object) -> Mapping[str, Any]:
        if isinstance(given, Mapping) and (not given or set(given) & set(self.encoders)):
            if unknown := [name for name in given if name not in self.encoders]:
                known = ", ".join(self.encoders)
                raise InputError(f"this model has no source {shown(unknown[0], 40)}; it has {known}")
            return given
        names = self.encoders[self.task_source].source.inputs
        if isinstance(given, Mapping) and not set(given) <= set(names):
            found = some([shown(name, 40) for name in given])
            raise InputError(f"inputs must be by source, {', '.join(self.encoders)}; these have {found}")
        return {self.task_source: given}

    def _batch(self, there: Mapping[str, Bool]) -> int:
        counts = {name: len(has) for name, has in there.items()}
        if not counts:
            raise InputError(f"all sources are absent; give one of {', '.join(self.encoders)}")
        if len(set(counts.values())) > 1:
            found = " and ".join(f"{count} of {name}" for name, count in counts.items())
            raise InputError(f"every source must have as many inputs, not {found}; put None where an input has none")
        count = next(iter(counts.values()))
        if not count:
            raise InputError("there are no inputs; give at least one")
        return count

    def _weights(self, given: Weights, batch: int) -> npt.NDArray[np.float64]:
        """float64[B, M], that of the source where nothing is said."""
        if not isinstance(given, Mapping):
            raise InputError(f"source_weights must be numbers by source, not {written(given)}")
        if unknown := [name for name in given if name not in self.encoders]:
            known = ", ".join(self.encoders)
            raise InputError(f"source_weights has {shown(unknown[0], 40)}, and this model's sources are {known}")
        weights = np.tile([encoder.source.weight for encoder in self.encoders.values()], (batch, 1))
        for place, name in enumerate(self.encoders):
            if given.get(name) is not None:
                weights[:, place] = _weight(given[name], name, batch)
        return weights


class NoEncoder:
    """Of a decoder without sources, whose inputs are no arrays but a number of them."""

    def checked(self, given: object) -> Encoded:
        """So many inputs, each of which is nothing; one where nothing is said. Raises InputError."""
        if given is None or (isinstance(given, Mapping) and not given):
            return Encoded(1, {}, sources=())
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            instead = "leave the inputs out, and give what texts begin with as decoder_input_ids"
            raise InputError(f"this model has no sources, so it reads nothing; {instead}")
        return Encoded(given, {}, sources=())

    def encode(self, given: Encoded) -> Encoded:
        """See Encodes.encode."""
        return given


def count_of(inputs: Any) -> int:
    """How many inputs arrays are of, by name or by source and name: B. Without arrays it is one."""
    while isinstance(inputs, Mapping):
        if not inputs:
            return 1
        inputs = next(iter(inputs.values()))
    return len(inputs)


def batch_of(checked: Any) -> int:
    """How many inputs a call has, by what `Encodes.checked` returned."""
    return len(next(iter(checked.values()))) if isinstance(checked, Mapping) else int(checked.batch)


def _weight(given: Any, name: str, batch: int) -> npt.NDArray[np.float64]:
    several = f", or {batch} of them, one an input" if batch > 1 else ""
    right = f"source_weights of {name} must be a number of at least 0{several}"
    array = as_array(given)
    if array.dtype.kind not in "fiub" or array.shape not in ((), (1,), (batch,)):
        raise InputError(f"{right}, not {written(given)}")
    found = np.broadcast_to(array.astype(np.float64), (batch,))
    if not (np.isfinite(found) & (found >= 0)).all():
        raise InputError(f"{right}; it has {float(found[np.argmin(np.isfinite(found) & (found >= 0))])}")
    return found


def _there(given: Any, name: str) -> Bool:
    """bool[B]: which inputs have the source, as far as what is given shows it."""
    if _is_ragged(given):
        return np.array([each is not None for each in given])
    if isinstance(given, Mapping):
        mask = given.get(ATTENTION_MASK)
        if mask is not None and (array := as_array(mask)).ndim == 2 and array.dtype.kind in "iub":
            return np.asarray(array.any(axis=1))
        given = next(iter(given.values()), None)
    array = as_array(given)
    if array.ndim == 0:
        raise InputError(f"{name} must be an array or named arrays with an entry for each input, not {written(given)}")
    return np.ones(len(array), bool)


def _is_ragged(given: Any) -> bool:
    """Whether it is a list of what single inputs give, of which some may be None."""
    return isinstance(given, list | tuple) and any(each is None or isinstance(each, Mapping) for each in given)


def _of_rows(encoder: Encoder, given: Any, has: Bool, rows: Int64) -> Arrays:
    """What the encoder reads for some inputs; zeros for those that are without the source. Raises InputError."""
    wanted = rows[has[rows]]
    arrays: Arrays = {}
    if len(wanted):
        if _is_ragged(given):
            given = _from_entries([given[row] for row in wanted], encoder.source)
        elif isinstance(given, Mapping):
            given = {key: None if value is None else _rows_of(value, wanted) for key, value in given.items()}
        else:
            given = _rows_of(given, wanted)
        arrays = encoder.checked(given)
    if len(wanted) == len(rows):
        return arrays
    (name,) = encoder.source.inputs
    full = np.zeros((len(rows), *_fixed(encoder, name)), np.float32)
    if arrays:
        full[np.searchsorted(rows, wanted)] = arrays[name]
    return {name: full}


def _rows_of(given: Any, rows: Int64) -> npt.NDArray[Any]:
    """The rows of an array, int64[b] of its own in their order; all of them are the array itself, which is no copy."""
    array = as_array(given)
    return array if len(rows) == len(array) else array[rows]


def _from_entries(entries: Sequence[Any], source: Source) -> Any:
    """A batch of what single inputs give. Of texts that differ in length their ends are told."""
    first = source.inputs[0]
    named = [each if isinstance(each, Mapping) else {first: each} for each in entries]
    names = named[0].keys()
    if first not in names or any(each.keys() != names for each in named):
        raise InputError(f"the entries of {source.name} must all have {first}, and the same names beside it")
    made = {name: _stacked([each[name] for each in named], source.name) for name in names}
    if ATTENTION_MASK in source.inputs and ATTENTION_MASK not in made:
        lengths = np.array([[as_array(each[first]).shape[-1]] for each in named])
        made[ATTENTION_MASK] = (np.arange(made[first].shape[1]) < lengths).astype(np.int64)
    return made


def _fixed(encoder: Encoder, name: str) -> tuple[int, ...]:
    shape = encoder.inputs[name].shape[1:]
    if any(isinstance(size, str) for size in shape):
        raise InputError(f"{encoder.source.name} has inputs of any size, so none can stand for one that is absent")
    return tuple(int(size) for size in shape)


def _stacked(entries: Sequence[Any], name: str) -> npt.NDArray[Any]:
    """Entries of one shape; rows of several lengths are filled up with 0 on the right."""
    arrays = [as_array(each) for each in entries]
    shapes = {each.shape for each in arrays}
    if len(shapes) == 1:
        return np.stack(arrays)
    if any(each.ndim != 1 for each in arrays):
        raise InputError(f"the entries of {name} must have one shape, not {some(sorted(str(list(s)) for s in shapes))}")
    whole = np.zeros((len(arrays), max(map(len, arrays))), arrays[0].dtype)
    for row, each in zip(whole, arrays, strict=True):
        row[: len(each)] = each
    return whole


def _positions(encoded: Encoded) -> int:
    return int(next(iter(encoded.values.values())).shape()[1])


def _joined(found: Mapping[str, Encoded], given: Given, starts: Int64, names: Sequence[str]) -> dict[str, Any]:
    """Keys and values of all sources end to end, float32[B, S, E] each."""
    from onnxruntime import OrtValue

    if len(found) == 1 and len(given.rows[name := next(iter(found))]) == given.batch:
        return dict(found[name].values)
    keys = list(next(iter(found.values())).values)
    joined = {}
    for key in keys:
        parts = {name: fetched(each.values[key]) for name, each in found.items()}
        width = next(iter(parts.values())).shape[2]
        whole = np.zeros((given.batch, int(starts[-1]), width), np.float32)
        for place, name in enumerate(names):
            if name in parts:
                whole[given.rows[name], starts[place] : starts[place + 1]] = parts[name]
        joined[key] = OrtValue.ortvalue_from_numpy(whole)
    return joined
