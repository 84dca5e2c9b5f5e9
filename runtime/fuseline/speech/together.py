"""Clips that each fit into one window, decoded at the same time: what the chunks of a long sound are.

The same tokens as LongForm finds for each clip alone, with the options that decode every window once and with the same
prompt. Dimensions: `B` clips, `P` tokens of the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Float32, log_softmax
from ..folders.tensors import INPUT_FEATURES
from .context import Context
from .cuts import cut
from .long_form import Padded
from .options import SpeechOptions
from .vocabulary import Vocabulary
from .window import WindowDecoder

if TYPE_CHECKING:
    from ..graphs.contract import Encoded
    from ..inputs.audio import LogMel
    from ..model import Model


def can_go_together(options: SpeechOptions) -> bool:
    """Whether every window is decoded once, whatever is said in it or was before."""
    thresholds = (options.compression_ratio_threshold, options.logprob_threshold, options.no_speech_threshold)
    plain = options.temperature == (0.0,) and all(each is None for each in thresholds) and options.max_time is None
    return plain and not (
        options.words or options.condition_on_prev_tokens or options.drop_loops or options.drop_silence
    )


@dataclass
class Said:
    """What is said in one clip. language: its code; None of a model that knows one."""

    language: str | None
    prompt: tuple[int, ...]
    tokens: list[int] = field(default_factory=list)
    """without prompt and end token"""
    seek: int = 0
    """the frame at which the next window begins"""


class Together:
    """Decodes clips with one model and the same options."""

    def __init__(self, model: Model, log_mel: LogMel, options: SpeechOptions, timestamps: bool) -> None:
        """options: those that can_go_together accepts. Raises InputError for an option that the model cannot follow."""
        self._model, self._log_mel, self._options, self._timestamps = model, log_mel, options, timestamps
        self._vocabulary = Vocabulary.of(model)
        self._vocabulary.check(options.language, options.task)
        rules = self._vocabulary.timestamps(options.max_initial_timestamp) if timestamps else None
        self._decoder = WindowDecoder(model, options, rules)
        self._listens = self._vocabulary.listens(options.language, options.task)

    def decode(self, clips: Sequence[Float32]) -> list[Said]:
        """What is said in each clip, float32[N]: a window of it at most, the rest is silence or left out.

        A clip has as many windows as its timestamps ask for, so fewer and fewer clips are decoded together.
        """
        windows = [Padded(features) for features in self._log_mel(clips)[INPUT_FEATURES]]
        found: list[Said] = []
        left = list(range(len(clips)))
        while left:
            starts = [found[at].seek if found else 0 for at in left]
            features = np.stack(
                [windows[at].at(seek, self._log_mel.frames) for at, seek in zip(left, starts, strict=True)]
            )
            encoded = self._model.encode({INPUT_FEATURES: features})
            found = found or list(self._begun(encoded, len(clips)))
            self._go_on(encoded, [found[at] for at in left])
            left = [at for at in left if found[at].seek < self._log_mel.frames]
        return found

    def _begun(self, encoded: Encoded, count: int) -> Iterator[Said]:
        """The languages that are heard, and what stands before every window."""
        for heard in self._heard(encoded) if self._listens else [None] * count:
            begin = self._vocabulary.begin(self._options.language, self._options.task, heard, self._timestamps)
            context = Context(self._model, self._vocabulary, begin, self._options)
            yield Said(self._vocabulary.language_of(begin), context.prompt)

    def _heard(self, encoded: Encoded) -> list[int]:
        """The tokens of the likeliest languages."""
        state = self._model.decoder.start(encoded, 1, 1)
        logits = self._model.decoder.step(state, np.full((encoded.batch, 1), self._vocabulary.start, np.int64), None)
        tokens = sorted(self._vocabulary.languages.values())
        return [tokens[place] for place in log_softmax(logits)[:, tokens].argmax(axis=1)]

    def _go_on(self, encoded: Encoded, clips: Sequence[Said]) -> None:
        """One window more of every clip."""
        rows = self._decoder.decode_together(encoded, np.array([each.prompt for each in clips], np.int64))
        for clip, tokens in zip(clips, rows, strict=True):
            frames = self._log_mel.frames - clip.seek
            cuts, offset = cut(tokens, self._vocabulary.first_timestamp, clip.seek, frames)
            clip.tokens += tokens[: cuts[-1].end]
            clip.seek += offset if offset > 0 else frames
