"""A graph's inputs and outputs bound to memory once, where the device reads it, so that a step moves only what is new.

On the CPU onnxruntime reads and writes the very arrays. A device with memory of its own copies what is bound when it is
bound: what changes is bound anew before a step, and caches stay on the device from step to step. They are written in
place where the provider keeps what lies there, which a trial says (fuseline.trials.device_check); else from one memory
into another and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .running import CPU_MEMORY, Graph, fetched

if TYPE_CHECKING:
    from onnxruntime import OrtValue

Array = npt.NDArray[Any]


class Bound:
    """On the CPU."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._binding = _binding_of(graph)
        self._caches: list[Array] = []  # the binding does not keep them alive

    @property
    def bytes(self) -> int:
        """Of the caches."""
        return sum(cache.nbytes for cache in self._caches)

    def input(self, name: str, value: OrtValue) -> None:
        """Whoever made the value keeps what is below it."""
        self._binding.bind_ortvalue_input(name, value)

    def output(self, name: str, value: OrtValue) -> None:
        """The same."""
        self._binding.bind_ortvalue_output(name, value)

    def changing(self, name: str, array: Array) -> None:
        """An input whose array is written anew before a step, see tell."""
        self.input(name, shared(array))

    def result(self, name: str, array: Array) -> None:
        """An output that is in the array after a step."""
        self.output(name, shared(array))

    def read(self, names: Iterable[str]) -> None:
        """What the last run wrote is in the arrays of these results."""

    def cache(self, past: str, present: str, shape: Sequence[int], kind: type[np.generic]) -> None:
        """A cache that is read as one and written as the other."""
        # Zeros, not empty: memory never written may hold NaN, and NaN x 0 attention is NaN.
        cache = np.zeros(shape, kind)
        self._caches.append(cache)
        self.input(past, shared(cache))
        self.output(present, shared(cache))

    def caches(self) -> Iterator[Array]:
        """What is in them now, in the order in which they were bound."""
        yield from self._caches

    def fill(self, beginnings: Iterable[Array]) -> None:
        """Write the first positions of every cache."""
        for cache, beginning in zip(self._caches, beginnings, strict=True):
            cache[: len(beginning)] = beginning

    def tell(self, names: Iterable[str]) -> None:
        """What was written into these inputs since they were bound is read by the next run."""

    def run(self, size: int) -> None:
        """See Graph.run_bound."""
        self._graph.run_bound(self._binding, size)


class _Cache:
    """A cache of a device: one memory, or two that take turns, of which the first is read next."""

    def __init__(self, past: str, present: str, shape: tuple[int, ...], kind: type[np.generic]) -> None:
        self.past, self.present, self.shape, self.kind = past, present, shape, kind
        self.values: list[OrtValue] = []
        self.hosts: list[Array] = []  # the CPU's memory below the values, as long as they are there
        self.bound = False  # in place, for good

    def begin(self, memories: int) -> None:
        """Zeros, in the CPU's memory."""
        self.hosts = [np.zeros(self.shape, self.kind) for _ in range(memories)]
        self.values = [shared(host) for host in self.hosts]
        self.bound = False

    def turn(self) -> None:
        """What was written is read next."""
        self.values.reverse()
        self.hosts.reverse()

    def moved(self, value: OrtValue) -> None:
        """The device has made memory for what was written, which is read next."""
        kept = [] if self.hosts else self.values  # what came from the CPU has done its duty
        self.values, self.hosts = [value, *kept], []


class BoundOnDevice(Bound):
    """On another device, whose memory may be its own."""

    def __init__(self, graph: Graph, in_place: bool) -> None:
        super().__init__(graph)
        self._in_place = in_place
        self._elsewhere = elsewhere(graph)
        self._told: dict[str, OrtValue] = {}
        self._outputs: list[str] = []  # in the order in which onnxruntime lists them
        self._device_caches: list[_Cache] = []

    @property
    def bytes(self) -> int:
        """Of the caches."""
        each = [np.prod(cache.shape) * np.dtype(cache.kind).itemsize for cache in self._device_caches]
        return int(sum(each)) * (1 if self._in_place else 2)

    def input(self, name: str, value: OrtValue) -> None:
        """See Bound.input. What lies on the CPU is copied now."""
        self._told[name] = value
        with self._graph.telling():
            super().input(name, value)

    def output(self, name: str, value: OrtValue) -> None:
        """See Bound.output."""
        self._list(name)
        with self._graph.telling():
            super().output(name, value)

    def _list(self, name: str) -> None:
        if name not in self._outputs:
            self._outputs.append(name)

    def cache(self, past: str, present: str, shape: Sequence[int], kind: type[np.generic]) -> None:
        """See Bound.cache."""
        cache = _Cache(past, present, tuple(shape), kind)
        self._list(present)
        self._device_caches.append(cache)
        self._begin(cache)

    def _begin(self, cache: _Cache) -> None:
        """Of a device's own memory the first run makes what it writes."""
        cache.begin(1 if self._in_place or cache.present in self._elsewhere else 2)

    def caches(self) -> Iterator[Array]:
        """See Bound.caches."""
        for cache in self._device_caches:
            yield cache.hosts[0] if cache.hosts else fetched(cache.values[0])

    def fill(self, beginnings: Iterable[Array]) -> None:
        """See Bound.fill."""
        for cache, beginning in zip(self._device_caches, beginnings, strict=True):
            self._begin(cache)
            cache.hosts[0][: len(beginning)] = beginning

    def tell(self, names: Iterable[str]) -> None:
        """See Bound.tell."""
        for name in names:
            if name in self._elsewhere:
                self.input(name, self._told[name])

    def run(self, size: int) -> None:
        """See Graph.run_bound; then what was written is what is read next."""
        with self._graph.telling():
            made = {cache.present for cache in self._device_caches if self._bind(cache)}
        self._graph.run_bound(self._binding, size)
        with self._graph.telling():
            found = dict(zip(self._outputs, _made(self._graph, self._binding), strict=True)) if made else {}
        for cache in self._device_caches:
            if cache.present in made:
                cache.moved(found[cache.present])
            elif not self._in_place:
                cache.turn()

    def _bind(self, cache: _Cache) -> bool:
        """Bind a cache for the next run. Whether that run is to make memory for what it writes."""
        if cache.bound:
            return False
        self._binding.bind_ortvalue_input(cache.past, cache.values[0])
        comes = cache.present in self._elsewhere and bool(cache.hosts)
        if comes or (not self._in_place and len(cache.values) < 2):
            _bind_there(self._graph, self._binding, cache.present)
            return True
        self._binding.bind_ortvalue_output(cache.present, cache.values[0 if self._in_place else 1])
        cache.bound = self._in_place
        return False


def run_there(graph: Graph, outputs: Sequence[str], values: dict[str, OrtValue], size: int) -> list[OrtValue]:
    """The outputs of that name, left in the device's memory where it has its own. See Graph.run."""
    if not elsewhere(graph).issuperset(outputs):
        return graph.run(outputs, values, size)
    binding = _binding_of(graph)
    with graph.telling():
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            _bind_there(graph, binding, name)
    graph.run_bound(binding, size)
    with graph.telling():
        return _made(graph, binding)


def elsewhere(graph: Graph) -> frozenset[str]:
    """The inputs and outputs that are in memory of the device's own; all where onnxruntime (before 1.23) does not tell.

    None of a device whose memory onnxruntime's bindings have no name for: what it reads and writes is copied then.
    """
    session = graph.session
    if graph.device.memory is None:
        return frozenset()
    arguments = [*session.get_inputs(), *session.get_outputs()]
    if not hasattr(session, "get_input_memory_infos"):
        return frozenset(each.name for each in arguments)
    infos = [*session.get_input_memory_infos(), *session.get_output_memory_infos()]
    return frozenset(each.name for each, info in zip(arguments, infos, strict=True) if info.name != CPU_MEMORY)


def _bind_there(graph: Graph, binding: Any, output: str) -> None:
    """Have the next run make memory for an output, on the device."""
    session, number = graph.session, 0
    if hasattr(session, "get_output_memory_infos"):
        names = [each.name for each in session.get_outputs()]
        number = session.get_output_memory_infos()[names.index(output)].device_id
    binding.bind_output(output, graph.device.memory, number)


def _made(graph: Graph, binding: Any) -> list[OrtValue]:
    """The outputs of the last run."""
    found = list(binding.get_outputs())
    for value in found:
        _keep_session(value, graph)
    return found


def _binding_of(graph: Graph) -> Any:
    """A binding, which copies what is bound into memory that its session has made."""
    binding = graph.session.io_binding()
    _keep_session(binding, graph)
    return binding


def _keep_session(of: Any, graph: Graph) -> None:
    """Memory that a session has made is not there any more once it is gone, so what holds some keeps its session.

    Python lets go of an object's attributes in the order in which they were set. Where it collects a circle, as an
    exception with its frames may be, it empties objects in any order, so what is kept is no object of Python that it
    could empty, but the session of C++ itself.
    """
    of.made_by = getattr(graph.session, "_sess", graph.session)


def shared(array: Array) -> OrtValue:
    """An OrtValue over the array's own memory, which whoever made the array must keep."""
    from onnxruntime import OrtValue

    return OrtValue.ortvalue_from_numpy(array)
