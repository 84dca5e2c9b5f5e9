"""The words of a window: where the decoder looked when it said them, and the times that follow from that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Float32
from ..errors import InputError
from .budget import Budget
from .cuts import Cut
from .segments import Word
from .vocabulary import Vocabulary
from .window import Decoded

if TYPE_CHECKING:
    from ..graphs.contract import Encoded
    from ..model import Model


def check_heads(vocabulary: Vocabulary) -> None:
    """Raise InputError for a model whose files name no alignment heads."""
    if not vocabulary.alignment_heads:
        raise InputError(
            'return_timestamps="word" needs alignment_heads in generation_config.json, and this model has none; ask '
            "for segments, return_timestamps=True, or take the file of the checkpoint that the model was made of"
        )


class WordFinder:
    """Finds the words of one window after the other."""

    def __init__(self, model: Model, vocabulary: Vocabulary, language: str | None) -> None:
        self._model, self._vocabulary, self._language = model, vocabulary, language

    def words(
        self,
        encoded: Encoded,
        prompt: Sequence[int],
        found: Decoded,
        cuts: Sequence[Cut],
        offset: float,
        frames: int,
        budget: Budget,
    ) -> list[tuple[tuple[Word, ...], tuple[float, ...]]]:
        """The words of each segment, and by when each of its tokens was said, in seconds of the sound.

        offset: where the window begins; frames: of 10 ms that the sound has from there on. Raises Cancelled, RunEnded.
        """
        from .alignment import token_times, words

        heads = self._vocabulary.alignment_heads
        said = (*found.tokens, *found.end)
        weights = looked_at(self._model, encoded, prompt, said, heads, budget)
        chosen = [(0, place) for place in range(len(heads))]
        times = (token_times(said, weights, chosen, frames) + offset).tolist()
        spoken = [
            words(
                found.tokens[each.begin : each.end],
                times[each.begin : each.end],
                self._text,
                self._language,
                self._vocabulary.first_special,
                found.confidences[each.begin : each.end],
                times[each.begin - 1] if each.begin else offset,
            )
            for each in cuts
        ]
        return [(own, tuple(times[each.begin : each.end])) for own, each in zip(spoken, cuts, strict=True)]

    def _text(self, tokens: Sequence[int]) -> str:
        return self._model.decode([list(tokens)], skip_special_tokens=False)[0] if tokens else ""


def looked_at(
    model: Model,
    encoded: Encoded,
    prompt: Sequence[int],
    tokens: Sequence[int],
    heads: Sequence[tuple[int, int]],
    budget: Budget,
) -> Float32:
    """Where these heads looked in the step that gave each token, float32[T, 1, A, S]; of the first token it is 0.

    The text is read once more, one row of it: to keep what all beams and heads looked at, of which nearly nothing is
    needed, would take a gigabyte of a large model. Raises Cancelled, RunEnded.
    """
    layers, places = (list(each) for each in zip(*heads, strict=True))
    with budget.limit():
        state = model.decoder.start(encoded, 1, len(prompt) + len(tokens), attentions=True)
        model.decoder.step(state, np.array([prompt], np.int64), None)
        first = model.decoder.attentions(state)[layers, 0, places]
        found = np.zeros((len(tokens), 1, *first.shape), np.float32)
        for place, token in enumerate(tokens[:-1], start=1):
            model.decoder.step(state, np.array([[token]], np.int64), None)
            found[place, 0] = model.decoder.attentions(state)[layers, 0, places]
    return found
