"""How long a caption takes on graphs that are open: the encoder and the first steps, run several times."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from ..folders.own import Folder
from ..graphs.contract import Encoded
from ..graphs.open import Graphs
from .probe import generation_config, inputs, room

CAPTION_STEPS = 12  # of the caption whose time is compared
_STEPS = 4


class Timed:
    """Graphs that are run, and the least time of each part: others on the machine only make it longer."""

    def __init__(self, graphs: Graphs, folder: Folder, clock: Callable[[], float] = perf_counter) -> None:
        """clock: gives seconds."""
        self.graphs = graphs
        self._clock = clock
        self._inputs = graphs.encoder.checked(inputs(folder))
        beams, self._tokens = room(graphs.decoder, folder)
        self._beams = min(generation_config(folder).num_beams or 1, beams)
        self._steps = min(_STEPS, self._tokens - 1)
        self.encoder = self.step = math.inf  # seconds

    @property
    def milliseconds(self) -> float:
        """Of a caption."""
        return round((self.encoder + CAPTION_STEPS * self.step) * 1000, 4)

    def run(self) -> None:
        """The encoder and the first steps of a caption, once each."""
        encoded, took = self._timed(lambda: self.graphs.encoder.encode(self._inputs))
        self.encoder = min(self.encoder, took)
        state, tokens = self._started(encoded), np.zeros((self._beams, 1), np.int64)
        for _ in range(self._steps):
            _, took = self._timed(lambda: self.graphs.decoder.step(state, tokens, None))
            self.step = min(self.step, took)

    def _timed(self, run: Callable[[], Any]) -> tuple[Any, float]:
        began = self._clock()
        result = run()
        return result, self._clock() - began

    def _started(self, encoded: Encoded) -> Any:
        return self.graphs.decoder.start(encoded, self._beams, min(CAPTION_STEPS, self._tokens))

    def close(self) -> None:
        """Let go of the graphs."""
        self.graphs.close()
