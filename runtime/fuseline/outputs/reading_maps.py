"""How much each word of a text read of what it was made of: of the words of a source text, or of the time of a sound.

Words, heads and layers are joined as in `looking.py`. Of a model with several sources, what stands here is of the
positions of one of them.

Dimensions: `W` said words, `N` words of the source, `S` encoder positions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Float32
from ..errors import InputError, shown, written
from ..files.whole import write_whole
from ..generation.result import Generation
from .looking import looking, over_spans, shares
from .words import Decode, words_of

SPEECH_POSITION = 0.02  # seconds of an encoder position of Whisper


@dataclass(frozen=True, eq=False)
class TextMap:
    """A text made of a text: float32[W, N], how much each said word read each word of the source; rows sum to 1."""

    text: str
    words: tuple[str, ...]
    source_words: tuple[str, ...]
    weights: Float32

    def record(self) -> dict[str, Any]:
        """As JSON has it: {"text", "source": [N words], "words": [{"text", "weights": [N numbers]}, ...]}."""
        rows = zip(self.words, self.weights.tolist(), strict=True)
        said = [{"text": word, "weights": weights} for word, weights in rows]
        return {"text": self.text, "source": list(self.source_words), "words": said}

    def page(self) -> str:
        """One HTML page that needs nothing else: choosing a said word marks what it read, the more the lighter."""
        from .heat_pages import text_page

        return text_page(self.text, self.words, self.source_words, self.weights)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page, x.html. Raises InputError for another suffix, and where no file can be written."""
        place = Path(path)
        if place.suffix.lower() != ".html":
            raise InputError(
                f"{shown(place)}: which words were read is shown as a .html file; give a name that ends so"
            )
        write_whole(place, self.page().encode("utf-8", "replace"))


@dataclass(frozen=True, eq=False)
class SpeechMap:
    """A text made of speech: float32[W, S], how much each word heard each stretch of time; rows sum to 1."""

    text: str
    words: tuple[str, ...]
    weights: Float32
    seconds: float
    """of an encoder position: position s is from s * seconds to (s + 1) * seconds"""

    @property
    def peaks(self) -> Float32:
        """float32[W]: the middle of the position that each word heard most, in seconds."""
        if not self.weights.size:
            return np.zeros(len(self.words), np.float32)
        found: Float32 = ((self.weights.argmax(axis=1) + 0.5) * self.seconds).astype(np.float32)
        return found

    def record(self) -> dict[str, Any]:
        """As JSON has it: {"text", "seconds": of a position, "words": [{"text", "peak", "weights"}, ...]}."""
        rows = zip(self.words, self.peaks.tolist(), self.weights.tolist(), strict=True)
        said = [{"text": word, "peak": round(peak, 3), "weights": weights} for word, peak, weights in rows]
        return {"text": self.text, "seconds": self.seconds, "words": said}


def text_map(
    generation: Generation, source: Sequence[int], decode: Decode, source_decode: Decode | None = None, index: int = 0
) -> TextMap:
    """Of one sequence of a generation that was made with output_attentions.

    source: the tokens of the input that it was made of, without padding: of its row of input_ids. decode: Model.decode;
    source_decode: the same of the source's tokens, where they are of another vocabulary (Marian). index: of the
    sequence, among B x num_return_sequences. What was read of tokens that are no word, such as the end token, is left
    out. Raises InputError, also for more tokens than the encoder has positions.
    """
    found = looking(generation, decode, index)
    if len(source) > found.weights.shape[1]:
        raise InputError(
            f"source must be the tokens that were read, at most {found.weights.shape[1]} as the encoder has positions, "
            f"not {len(source)}"
        )
    _, read = words_of([int(token) for token in source], source_decode or decode)
    weights = over_spans(found.weights, [word.tokens for word in read])
    return TextMap(found.text, found.words, tuple(word.text for word in read), weights)


def speech_map(
    generation: Generation,
    decode: Decode,
    index: int = 0,
    *,
    seconds: float = SPEECH_POSITION,
    duration: float | None = None,
) -> SpeechMap:
    """Of one sequence of a generation that was made with output_attentions; words' exact times are those of
    fuseline.speech.alignment.

    seconds: of an encoder position, of Whisper where it is not said. duration: of the sound, in seconds: what was
    looked at behind its end, of a window that is padded, is left out. Raises InputError.
    """
    for name, value in (("seconds", seconds), ("duration", duration)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise InputError(f"{name} must be a number of seconds above 0, not {written(value)}")
    found = looking(generation, decode, index)
    weights = found.weights
    if duration is not None:
        weights = shares(weights[:, : int(np.ceil(min(duration / seconds, weights.shape[1])))])
    return SpeechMap(found.text, found.words, weights, float(seconds))
