"""A graph's inputs, outputs and caches in a device's memory for good: of CUDA, whose driver copies there and back.

Every value has one place as long as the binding is there, so that CUDA can record a step as one graph and play it
again: what it records are addresses. A step is recorded anew where keys and values of another call lie elsewhere.
Before a step what changes is copied up, tokens, position and table, and after it those results come down that are
asked for: logits, or the best of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .bound import Bound
from .running import NOT_RECORDED, Graph

if TYPE_CHECKING:
    from onnxruntime import OrtValue

Array = npt.NDArray[Any]
# Of a graph; each keeps some memory of its own. A program asks for a handful of shapes, and keys and values of a call
# lie where those of the last one did.
_MOST = 32
_ALONE = threading.Lock()


class Resident(Bound):
    """In memory of a kind that onnxruntime can copy to. where, number: how its bindings name that memory."""

    def __init__(self, graph: Graph, where: str, number: int = 0) -> None:
        super().__init__(graph)
        self._where, self._number = where, number
        self._values: dict[str, OrtValue] = {}  # all that is bound, by name
        self._recorded_as = ""  # the number for these, once it is known
        self._read: dict[str, Array] = {}  # the host's side of what changes
        self._written: dict[str, Array] = {}
        self._ours: list[OrtValue] = []  # caches
        self._nothing = self._there(np.zeros(1, np.float32))
        self._sizes: list[tuple[tuple[int, ...], npt.DTypeLike]] = []

    @property
    def bytes(self) -> int:
        """Of the caches."""
        return sum(value.tensor_size_in_bytes() for value in self._ours)

    def _there(self, array: Array) -> OrtValue:
        """A copy in the device's memory."""
        from onnxruntime import OrtValue

        if self._where != "cpu":
            return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._where, self._number)
        copied = array.copy()  # onnxruntime takes the CPU's memory as it is, and does not keep it
        value = OrtValue.ortvalue_from_numpy(copied)
        value.made_of = copied
        return value

    def input(self, name: str, value: OrtValue) -> None:
        """See Bound.input. What lies elsewhere is copied now."""
        if not value.tensor_size_in_bytes():
            value = self._nothing  # what was read before goes
        elif value.device_name() != self._where:
            value = self._there(value.numpy())
        self._values[name], self._recorded_as = value, ""
        super().input(name, value)

    def changing(self, name: str, array: Array) -> None:
        """See Bound.changing."""
        before = self._read.get(name)
        self._read[name] = array
        if before is not None and (before.shape, before.dtype) == (array.shape, array.dtype):
            self.tell([name])
        else:
            self.input(name, self._there(array))

    def result(self, name: str, array: Array) -> None:
        """See Bound.result."""
        self._written[name] = array
        self._values[name], self._recorded_as = self._there(array), ""
        self.output(name, self._values[name])

    def read(self, names: Iterable[str]) -> None:
        """See Bound.read. They come down now."""
        for name in names:
            self._written[name][...] = self._values[name].numpy()

    def cache(self, past: str, present: str, shape: Sequence[int], kind: type[np.generic]) -> None:
        """See Bound.cache."""
        value = self._there(np.zeros(shape, kind))
        self._ours.append(value)
        self._sizes.append((tuple(shape), kind))
        self.input(past, value)
        self.output(present, value)

    def caches(self) -> Iterator[Array]:
        """See Bound.caches."""
        yield from (value.numpy() for value in self._ours)

    def fill(self, beginnings: Iterable[Array]) -> None:
        """See Bound.fill."""
        for value, (shape, kind), beginning in zip(self._ours, self._sizes, beginnings, strict=True):
            whole = np.zeros(shape, kind)
            whole[: len(beginning)] = beginning
            value.update_inplace(whole)

    def tell(self, names: Iterable[str]) -> None:
        """See Bound.tell."""
        for name in names:
            self._values[name].update_inplace(self._read[name])

    def run(self, size: int) -> None:
        """See Bound.run. What is recorded runs one at a time, as onnxruntime demands."""
        with _ALONE if self._graph.records else nullcontext():
            self._recorded_as = self._recorded_as or self._number_of()
            self._graph.run_bound(self._binding, size, self._recorded_as)

    def _number_of(self) -> str:
        """Under which number a step with this memory is recorded, or that it is not."""
        graph = self._graph
        if not graph.records:
            return NOT_RECORDED
        key = tuple((name, value.data_ptr(), *value.shape()) for name, value in sorted(self._values.items()))
        if key not in graph.recorded and len(graph.recorded) >= _MOST:
            return NOT_RECORDED
        return str(graph.recorded.setdefault(key, len(graph.recorded) + 1))  # by one thread at a time
