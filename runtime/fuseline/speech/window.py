"""One window of a sound decoded: at one temperature after the other, until the text passes the thresholds.

As `generate_with_fallback` and `_need_fallback` of transformers 4.57 (models/whisper/generation_whisper.py), after
https://arxiv.org/abs/2212.04356, section 4.5.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Float32, Int64, log_softmax
from ..generation.config import GenerationConfig
from ..generation.options import SAMPLING
from .budget import Budget
from .options import SpeechOptions

if TYPE_CHECKING:
    from ..generation.result import Generation
    from ..generation.timestamps import Timestamps
    from ..graphs.contract import Encoded
    from ..model import Model

LOOP = 2.4  # how far at least tokens are packed that are a loop; a refrain stays below, and a retry begins earlier
# Without beams.
_ONE_BEAM = {"num_beams": 1, "num_beam_groups": 1, "diversity_penalty": 0.0}


@dataclass(frozen=True)
class Decoded:
    """What a window was made of."""

    tokens: tuple[int, ...]
    """without prompt and end token"""
    end: tuple[int, ...]
    """the end token, where it came"""
    confidences: tuple[float, ...]
    """log-probabilities of the tokens, and of the end token where there is one"""
    avg_logprob: float
    """the mean of these"""
    compression_ratio: float
    temperature: float
    wrong: bool
    """whether it fails a threshold of repetition or probability"""
    loops: bool
    finish_reason: str


class WindowDecoder:
    """Decodes windows with the same options."""

    def __init__(self, model: Model, options: SpeechOptions, timestamps: Timestamps | None) -> None:
        """timestamps: their rules, where the texts are to have them. Raises InputError for an impossible option."""
        self._model, self._options = model, options
        asked: dict[str, Any] = {"num_return_sequences": 1} | dict(options.generation)
        # What counts in sampling alone would be warned of where nothing is sampled.
        self._sampling = {name: asked.pop(name, getattr(model.generation_config, name)) for name in SAMPLING}
        plain = {name: getattr(GenerationConfig, name) for name in SAMPLING}
        self._plain = model.generation_config.override(
            **asked, **plain, do_sample=False, timestamps=timestamps, output_confidences=True
        )
        self._draws = np.random.default_rng(options.seed)

    def decode(self, encoded: Encoded, prompt: Sequence[int], silence: float, budget: Budget) -> Decoded:
        """The text of a window. prompt: what stands before it; silence: how probable it is that nobody speaks.

        Where the time is over, what was there by then. Raises Cancelled.
        """
        for temperature in self._options.temperature:
            found = self._measured(self._generation(encoded, prompt, temperature, budget), len(prompt), temperature)
            if not found.wrong or self.silent(found, silence) or budget.spent:
                break
        return found

    def decode_together(self, encoded: Encoded, prompts: Int64) -> list[list[int]]:
        """The tokens of B windows at once, without prompt and end token, at temperature 0. prompts: int64[B, P]."""
        made = self._model.generate(encoded, prompts, generation_config=self._plain)
        rows: list[list[int]] = made.sequences[:, prompts.shape[1] :].tolist()
        ends = [next((at for at, token in enumerate(row) if token in self._plain.ends), len(row)) for row in rows]
        return [row[:end] for row, end in zip(rows, ends, strict=True)]

    def silent(self, found: Decoded, silence: float) -> bool:
        """Whether nobody speaks in the window: what was found is improbable, and that nobody does is not."""
        options = self._options
        if options.logprob_threshold is None or options.no_speech_threshold is None:
            return False
        return found.avg_logprob < options.logprob_threshold and silence > options.no_speech_threshold

    def _generation(self, encoded: Encoded, prompt: Sequence[int], temperature: float, budget: Budget) -> Generation:
        config = self._plain
        if temperature > 0:
            drawn = {"do_sample": True, "seed": self._draws, **self._sampling, "temperature": temperature}
            config = config.override(**_ONE_BEAM, **drawn)
        if budget.left is not None:
            config = config.override(max_time=budget.left)
        ids = np.array([prompt], np.int64)
        return self._model.generate(encoded, ids, generation_config=config, cancel=budget.cancel)

    def _measured(self, made: Generation, start: int, temperature: float) -> Decoded:
        assert made.confidences is not None  # which were asked for
        tokens: list[int] = made.sequences[0, start:].tolist()
        confidences: list[float] = made.confidences[0].tolist()
        ratio = compression_ratio(tokens, self._model.folder.decoder.vocab_size)
        average = float(np.mean(confidences, dtype=np.float64)) if confidences else 0.0
        options = self._options
        most, least = options.compression_ratio_threshold, options.logprob_threshold
        ended = bool(tokens) and tokens[-1] in self._plain.ends
        return Decoded(
            tokens=tuple(tokens[:-1] if ended else tokens),
            end=tuple(tokens[-1:] if ended else ()),
            confidences=tuple(confidences),
            avg_logprob=average,
            compression_ratio=ratio,
            temperature=temperature,
            wrong=(most is not None and ratio > most) or (least is not None and average < least),
            loops=ratio > max(LOOP, most or 0.0),
            finish_reason=made.finish_reasons[0],
        )


def compression_ratio(tokens: Sequence[int], vocab_size: int) -> float:
    """How far zlib packs tokens, each in as many bytes as the vocabulary needs (`_retrieve_compression_ratio`)."""
    length = int(math.log2(vocab_size) / 8) + 1
    given = b"".join(token.to_bytes(length, "little") for token in tokens)
    return len(given) / len(zlib.compress(given))


def next_tokens(model: Model, encoded: Encoded, prompt: Sequence[int], budget: Budget) -> Float32:
    """Log-probabilities of what comes after the prompt, float32[V]. Raises Cancelled, RunEnded."""
    with budget.limit():
        state = model.decoder.start(encoded, 1, len(prompt))
        logits = model.decoder.step(state, np.array([prompt], np.int64), None)
    return np.asarray(log_softmax(logits)[0])
