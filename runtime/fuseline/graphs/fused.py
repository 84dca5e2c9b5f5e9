"""Several decoders as one: what they say of the next token is put together at every step.

Ensembles of models, a language model beside a captioner (shallow fusion, Gulcehre et al., 1503.03535) and guidance
(with against without a source, see guidance.py) differ in their weights alone.
Dimensions: `B` inputs of a call, `M` decoders, `R` rows, `T` tokens of this step, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..arrays import NEVER, Float32, Int64, as_array, log_softmax
from ..errors import InputError, written
from .contract import Decoder, Encoded, State, gives_scores, refuse_broken_off

LOG_LINEAR, LINEAR = "log_linear", "linear"
RULES = (LOG_LINEAR, LINEAR)
# Beyond these a weight only makes sums that float32 does not have, or nothing.
MOST_WEIGHT, LEAST_WEIGHT = 1e6, 1e-6


@dataclass(frozen=True)
class FusedEncoded(Encoded):
    """What several decoders read of the same B inputs. All other fields are those of one of them, the leading one."""

    parts: tuple[Encoded, ...] = ()


class FusedState(State):
    """A state of each decoder that is stepped. states: None of those with weight 0; lead: the leading one's number."""

    def __init__(self, rows: int, capacity: int, states: Sequence[State | None], lead: int) -> None:
        super().__init__(rows, capacity)
        self.states, self.lead = tuple(states), lead


class FusedDecoder:
    """The step contract over several decoders that share a vocabulary.

    One with weight 0 is not stepped. Attentions and shares are those of the leading decoder: the first that is stepped
    and reads something.
    """

    def __init__(
        self, decoders: Sequence[Decoder], weights: Sequence[float], rule: str = LOG_LINEAR, normalize: bool = True
    ) -> None:
        """weights: lambda, one a decoder, not all 0. With log p_i the logarithm of the softmax of decoder i's logits,
        rule "log_linear" gives sum lambda_i log p_i; a token that any of them excludes (-inf) stays excluded, whatever
        the signs. "linear", lambda >= 0, gives log sum lambda_i p_i; a token stays excluded that all exclude.

        normalize: whether a search takes these for logits, so that it is the logarithm of their softmax that it adds
        up; False: it adds up the sums themselves. A decoder alone with weight 1 is given on bit for bit.
        Raises InputError.
        """
        self._decoders = tuple(decoders)
        self.weights = checked_weights(weights, len(self._decoders), rule)
        if not isinstance(normalize, bool):
            raise InputError(f"normalize must be True or False, not {written(normalize)}")
        self.rule = rule
        self.gives_scores = not normalize
        self._used = [at for at, weight in enumerate(self.weights) if weight]

    def _lead(self, parts: Sequence[Encoded]) -> int:
        """Which decoder attentions and shares are of. A search passes on what its decoders read, no Encoded perhaps."""
        return next((at for at in self._used if getattr(parts[at], "sources", True)), self._used[0])

    def joined(self, parts: Sequence[Encoded]) -> FusedEncoded:
        """What `start` reads, of what each decoder reads. Raises InputError where they are not of the same inputs."""
        if len(parts) != len(self._decoders) or len({part.batch for part in parts}) != 1:
            found = " and ".join(str(part.batch) for part in parts)
            raise InputError(f"each of the {len(self._decoders)} models must have as many inputs, not {found}")
        lead = parts[self._lead(parts)]
        return FusedEncoded(**{each.name: getattr(lead, each.name) for each in fields(Encoded)}, parts=tuple(parts))

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> FusedState:
        """See Decoder.start. encoded: what `joined` made. Raises InputError for another, and as the decoders do."""
        if not isinstance(encoded, FusedEncoded) or len(encoded.parts) != len(self._decoders):
            raise InputError(f"what is encoded is of another model; of these {len(self._decoders)}, encode makes it")
        states: list[State | None] = [None] * len(self._decoders)
        lead = self._lead(encoded.parts)
        for at in self._used:
            asked = attentions and at == lead
            states[at] = self._decoders[at].start(encoded.parts[at], num_beams, max_length, attentions=asked)
        return _state(states, lead)

    def step(self, state: State, tokens: Int64, parents: Int64 | None) -> Float32:
        """See Decoder.step: what the rule gives, float32[R, V]."""
        states = _states(state)
        refuse_broken_off(state)
        state.stepping = True
        found = [self._step(at, states[at], tokens, parents) for at in self._used]
        if len(found) == 1 and self.weights[self._used[0]] == 1:
            scores = found[0]
        else:
            scores = _RULES[self.rule](found, [self.weights[at] for at in self._used])
        state.stepping = False
        state.position += tokens.shape[1]
        return scores

    def _step(self, at: int, state: State | None, tokens: Int64, parents: Int64 | None) -> Float32:
        """Log-probabilities of one decoder, float32[R, V]; logits as they are where nothing is done with them."""
        assert state is not None  # of those that are stepped
        logits = self._decoders[at].step(state, tokens, parents)
        alone = len(self._used) == 1 and self.weights[at] == 1 and not self.gives_scores
        return logits if alone or gives_scores(self._decoders[at]) else log_softmax(logits)

    def attentions(self, state: State) -> Float32:
        """See Decoder.attentions."""
        decoder, leading = self._leading(state)
        return decoder.attentions(leading)

    def shares(self, state: State) -> Float32:
        """See Decoder.shares."""
        decoder, leading = self._leading(state)
        return decoder.shares(leading)

    def narrow(self, state: State, inputs: Int64) -> FusedState:
        """See Decoder.narrow."""
        pairs = zip(self._decoders, _states(state), strict=True)
        narrowed = [None if each is None else decoder.narrow(each, inputs) for decoder, each in pairs]
        narrow = _state(narrowed, _lead_of(state))
        narrow.position = state.position
        return narrow

    def _leading(self, state: State) -> tuple[Decoder, State]:
        leading = _states(state)[_lead_of(state)]
        assert leading is not None
        return self._decoders[_lead_of(state)], leading


def checked_weights(weights: object, count: int, rule: object) -> tuple[float, ...]:
    """One finite number a decoder. Raises InputError for others, and for a rule that there is not."""
    if not isinstance(rule, str) or rule not in RULES:
        raise InputError(f"rule must be {' or '.join(map(repr, RULES))}, not {written(rule)}")
    numbers = [number_of(each) for each in weights] if isinstance(weights, list | tuple | np.ndarray) else []
    found = [each for each in numbers if each is not None]
    if not found or not len(found) == len(numbers) == count:
        raise InputError(f"weights must be {count} finite numbers, one a model, not {written(weights)}")
    if wrong := [each for each in found if each and not LEAST_WEIGHT <= abs(each) <= MOST_WEIGHT]:
        right = f"must be 0 or from {LEAST_WEIGHT} to {MOST_WEIGHT:.0f} in size"
        raise InputError(f"weights {right}, and one is {wrong[0]}")
    if not any(found):
        raise InputError("all weights are 0; at least one model must count")
    if rule == LINEAR and min(found) < 0:
        raise InputError(f'weights must be at least 0 with rule "{LINEAR}", and one is {min(found)}')
    return tuple(found)


def number_of(value: object) -> float | None:
    """A finite number, of Python or numpy; None for anything else."""
    array = as_array(value)
    if array.ndim or array.dtype.kind not in "fiu" or not np.isfinite(array):
        return None
    return float(array)


def _log_linear(logprobs: Sequence[Float32], weights: Sequence[float]) -> Float32:
    """sum lambda_i log p_i. What any excludes is taken out first, since 2(-inf) - 1(-inf) is NaN."""
    total = _weighted(logprobs, weights)
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(total.sum()):  # so is every number of it, and nothing is excluded
            return total
    never = np.logical_or.reduce([np.isneginf(each) for each in logprobs])
    total = _weighted([np.where(never, np.float32(0), each) for each in logprobs], weights)
    total[never] = NEVER
    return total


def _weighted(arrays: Sequence[Float32], weights: Sequence[float]) -> Float32:
    with np.errstate(invalid="ignore", over="ignore"):
        total: Float32 = arrays[0] * np.float32(weights[0])
        for each, weight in zip(arrays[1:], weights[1:], strict=True):
            total += each * np.float32(weight)
    return total


def _linear(logprobs: Sequence[Float32], weights: Sequence[float]) -> Float32:
    """log sum lambda_i p_i, -inf where that sum is 0."""
    most = np.maximum.reduce(logprobs)
    most = np.where(np.isneginf(most), np.float32(0), most)
    with np.errstate(divide="ignore"):
        shifted = [np.exp(each - most) for each in logprobs]
        mixture: Float32 = np.log(_weighted(shifted, weights)) + most
    return mixture


_RULES = {LOG_LINEAR: _log_linear, LINEAR: _linear}


def _state(states: Sequence[State | None], lead: int) -> FusedState:
    there = [each for each in states if each is not None]
    return FusedState(there[0].rows, min(each.capacity for each in there), states, lead)


def _lead_of(state: State) -> int:
    assert isinstance(state, FusedState)  # one that start has made
    return state.lead


def _states(state: State) -> tuple[State | None, ...]:
    assert isinstance(state, FusedState)  # one that start has made
    return state.states
