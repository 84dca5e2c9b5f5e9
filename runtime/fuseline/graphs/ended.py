"""What a search steps where the encoder was ended before it was done."""

from __future__ import annotations

from ..arrays import Float32, Int64
from .contract import Encoded, State
from .running import RunEnded


class EndedDecoder:
    """Stands for the decoder where the encoder was ended: the texts are their prompts."""

    def __init__(self, ended: RunEnded) -> None:
        self._ended = ended

    def start(self, encoded: Encoded, num_beams: int, max_length: int, *, attentions: bool = False) -> State:
        return State(encoded.batch * num_beams, max_length)

    def step(self, state: State, tokens: Int64, parents: Int64 | None) -> Float32:
        raise self._ended

    def attentions(self, state: State) -> Float32:
        raise self._ended

    def shares(self, state: State) -> Float32:
        raise self._ended

    def narrow(self, state: State, inputs: Int64) -> State:
        raise self._ended
