"""A device that fails in the middle of a text: the CPU goes on from where it was.

What a text was made of so far is kept, its inputs and every step, and done again on the CPU when the device fails. From
then on everything is on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from fuseline.kernels import top_candidates

from ..arrays import Float32, Int64
from ..errors import DeviceError
from .contract import Best, Decoder, Encoded, State, gives_best, gives_scores, narrows
from .open import Graphs
from .sources import Encoders, Encodes

Warn = Callable[[DeviceError], None]
Result = TypeVar("Result")


def with_fallback(graphs: Graphs, on_cpu: Callable[[], Graphs], warn: Warn) -> Graphs:
    """The same graphs, and those of the CPU once they fail, which `warn` is told. on_cpu: opens these."""
    switch = _Switch(graphs, on_cpu, warn)
    encoder: Encodes = _Encoder(switch)
    if isinstance(graphs.encoder, Encoders):
        encoder = _SeveralEncoders(graphs.encoder.encoders, graphs.encoder.task_source, switch)
    return Graphs(encoder, _Decoder(switch), graphs.files, switch.close)


class _Switch:
    """Which graphs are in use."""

    def __init__(self, graphs: Graphs, on_cpu: Callable[[], Graphs], warn: Warn) -> None:
        self.graphs, self.failed = graphs, False
        self._on_cpu, self._warn, self._closed = on_cpu, warn, False

    def fail(self, error: DeviceError, seen: Graphs) -> None:
        """Go over to the CPU, if no other thread has since `seen` failed. Raises the error where it is the CPU's."""
        if self.failed and seen is self.graphs:
            raise error
        if not self.failed:
            self.graphs, self.failed = self._on_cpu(), True
            self._warn(error)
            seen.close()

    def close(self) -> None:
        self.graphs.close()


@dataclass(frozen=True)
class _Given(Encoded):
    """What was encoded, and of what."""

    given: Any = None


class _Encoder:
    def __init__(self, switch: _Switch) -> None:
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._switch.graphs.encoder, name)

    def checked(self, given: object) -> Any:
        """See Encodes.checked."""
        return self._switch.graphs.encoder.checked(given)

    def encode(self, given: Any) -> Encoded:
        """See Encodes.encode."""
        return _encode(self._switch, given)


@dataclass(frozen=True)
class _SeveralEncoders(Encoders):
    switch: _Switch

    def encode(self, given: Any) -> Encoded:
        """See Encodes.encode."""
        return _encode(self.switch, given)


def _encode(switch: _Switch, given: Any) -> Encoded:
    graphs = switch.graphs
    try:
        found = graphs.encoder.encode(given)
    except DeviceError as error:
        switch.fail(error, graphs)
        found = switch.graphs.encoder.encode(given)
    return _Given(**{each.name: getattr(found, each.name) for each in fields(Encoded)}, given=given)


class _State(State):
    """A state with what it is made of: how it began, and what was done since."""

    def __init__(self, graphs: Graphs, state: State, begin: Callable[[Decoder], State]) -> None:
        super().__init__(state.rows, state.capacity)
        self.graphs, self.state, self.begin = graphs, state, begin
        self.done: list[Callable[[Decoder, State], State]] = []


class _Decoder:
    """The step contract over a device's decoder, and the CPU's once it fails."""

    def __init__(self, switch: _Switch) -> None:
        self._switch = switch
        self.gives_scores = gives_scores(switch.graphs.decoder)
        teller = gives_best(switch.graphs.decoder)
        self._offered = 0 if teller is None else teller.offers

    @property
    def offers(self) -> int:
        """See GivesBest, of the decoder in use. A search that has begun with the device's goes on with as many."""
        teller = gives_best(self._switch.graphs.decoder)
        return 0 if teller is None else teller.offers

    @property
    def narrows(self) -> bool:
        """See contract.narrows."""
        return narrows(self._switch.graphs.decoder)

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> State:
        """See Decoder.start."""

        def begin(decoder: Decoder) -> State:
            return decoder.start(self._readable(encoded), num_beams, max_length, attentions=attentions)

        graphs = self._switch.graphs
        try:
            return _State(graphs, begin(graphs.decoder), begin)
        except DeviceError as error:
            self._switch.fail(error, graphs)
            return _State(self._switch.graphs, begin(self._switch.graphs.decoder), begin)

    def _readable(self, encoded: Encoded) -> Encoded:
        """What is encoded, again where it lies on the device and that has failed."""
        away = any(value.device_name() != "cpu" for value in encoded.values.values())
        if not self._switch.failed or not away or not isinstance(encoded, _Given):
            return encoded
        return replace(encoded, values=self._switch.graphs.encoder.encode(encoded.given).values)

    def step(self, state: State, tokens: Int64, parents: Int64 | None) -> Float32:
        """See Decoder.step."""
        return self._stepped(state, tokens, parents, lambda decoder, state: decoder.step(state, tokens, parents))

    def best(self, state: State, tokens: Int64, parents: Int64 | None) -> Best:
        """See GivesBest.best; of logits where the CPU has taken over."""
        return self._stepped(state, tokens, parents, lambda decoder, state: self._best(decoder, state, tokens, parents))

    def _best(self, decoder: Decoder, state: State, tokens: Int64, parents: Int64 | None) -> Best:
        teller = gives_best(decoder)
        if teller is not None:
            return teller.best(state, tokens, parents)
        values, found, sums = top_candidates(decoder.step(state, tokens, parents), self._offered)
        return Best(values - sums[:, None], found)

    def _stepped(
        self, state: State, tokens: Int64, parents: Int64 | None, step: Callable[[Decoder, State], Result]
    ) -> Result:
        """What the step gives, of the CPU where the device fails; what it was of is kept to do it again."""
        ours = _ours(state)
        kept = tokens.copy(), None if parents is None else parents.copy()

        def again(decoder: Decoder, state: State) -> State:
            decoder.step(state, *kept)
            return state

        try:
            found = step(ours.graphs.decoder, ours.state)
        except DeviceError as error:
            self._switch.fail(error, ours.graphs)
            self._move(ours)
            found = step(ours.graphs.decoder, ours.state)
        if not self._switch.failed:
            ours.done.append(again)
        ours.position = ours.state.position
        return found

    def _move(self, ours: _State) -> None:
        """Make the state anew on the CPU."""
        ours.graphs = self._switch.graphs
        decoder = ours.graphs.decoder
        ours.state = ours.begin(decoder)
        for done in ours.done:
            ours.state = done(decoder, ours.state)

    def attentions(self, state: State) -> Float32:
        """See Decoder.attentions."""
        return self._of_last_step(state, lambda decoder, state: decoder.attentions(state))

    def shares(self, state: State) -> Float32:
        """See Decoder.shares."""
        return self._of_last_step(state, lambda decoder, state: decoder.shares(state))

    def _of_last_step(self, state: State, read: Callable[[Decoder, State], Result]) -> Result:
        """What the last step has left, which the CPU has made again where the device does not give it."""
        ours = _ours(state)
        try:
            return read(ours.graphs.decoder, ours.state)
        except DeviceError as error:
            self._switch.fail(error, ours.graphs)
            self._move(ours)
            return read(ours.graphs.decoder, ours.state)

    def narrow(self, state: State, inputs: Int64) -> State:
        """See Decoder.narrow."""
        ours = _ours(state)

        def again(decoder: Decoder, state: State) -> State:
            return decoder.narrow(state, inputs)

        try:
            narrowed = again(ours.graphs.decoder, ours.state)
        except DeviceError as error:
            self._switch.fail(error, ours.graphs)
            self._move(ours)
            narrowed = again(ours.graphs.decoder, ours.state)
        made = _State(ours.graphs, narrowed, ours.begin)
        made.done = [*ours.done, again]
        made.position = narrowed.position
        return made


def _ours(state: State) -> _State:
    assert isinstance(state, _State)  # one that start has made
    return state
