"""What stands before a window's own tokens: what was said before, a prompt, hotwords, and what every text begins with.

As `_prepare_decoder_input_ids` of transformers 4.57 (models/whisper/generation_whisper.py); hotwords as faster-whisper
has them, after the token that what was said before begins with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError
from .options import FIRST, SpeechOptions
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from ..model import Model


class Context:
    """The prompt of one window after the other. follows: whether the next one's is what was said before."""

    def __init__(self, model: Model, vocabulary: Vocabulary, begin: Sequence[int], options: SpeechOptions) -> None:
        """begin: what every text begins with. Raises InputError for a prompt that is too long or no text."""
        self._begin, self._first_timestamp = tuple(begin), vocabulary.first_timestamp
        self._head = () if vocabulary.previous is None else (vocabulary.previous,)
        self._given = _prompt(model, vocabulary, options)
        self._hot = _tokens(model, vocabulary, options.hotwords, "hotwords")
        positions = model.folder.decoder.max_positions
        self._most = positions // 2 - 1  # tokens of what was said before
        self._room = positions - len(self._begin) - 1
        self._anew = options.prompt_condition_type != FIRST
        self._said: tuple[int, ...] | None = None  # as much of it as a prompt may hold
        if self._given and not self._anew:
            self.add(self._given[1:] if self._given[:1] == self._head else self._given)
        self.follows = options.condition_on_prev_tokens
        for name, tokens, most in (
            ("hotwords", self._hot, self._most),
            ("prompt", self._given, self._room - len(self._hot)),
        ):
            if len(tokens) > most:
                raise InputError(f"{name} has {len(tokens)} tokens and this model has room for {most}; shorten it")

    @property
    def prompt(self) -> tuple[int, ...]:
        """The next window's, ended by what every text begins with."""
        return (*self._before(), *self._begin)

    @property
    def until_start(self) -> tuple[int, ...]:
        """The same up to the start token, after which a model says how probable it is that nobody speaks."""
        return (*self._before(), *self._begin[:1])

    def add(self, tokens: Sequence[int]) -> None:
        """Go on after a segment of these tokens; of two timestamps at its end the second is left out."""
        once = tokens[:-1] if len(tokens) > 2 and tokens[-2] >= self._first_timestamp else tokens
        self._said = (*(self._said or ()), *once)[-self._most :]

    def _before(self) -> tuple[int, ...]:
        if self.follows and self._said is not None:
            head = self._given if self._given and self._anew else self._head
            most = min(self._most, self._room - len(head)) - len(self._hot)
            said = self._said[-most:] if most > 0 else ()
        else:
            head, said = self._given, ()
        if self._hot:
            at = 1 if head[:1] == self._head else 0
            head = (*self._head, *self._hot, *head[at:])
        return (*head, *said)


def _prompt(model: Model, vocabulary: Vocabulary, options: SpeechOptions) -> tuple[int, ...]:
    if options.prompt_ids is not None:
        if max(options.prompt_ids) >= vocabulary.size:
            raise InputError(f"prompt_ids must be from 0 to {vocabulary.size - 1}, not {max(options.prompt_ids)}")
        return options.prompt_ids
    tokens = _tokens(model, vocabulary, options.prompt, "prompt")
    return (int(vocabulary.previous or 0), *tokens) if tokens else ()


def _tokens(model: Model, vocabulary: Vocabulary, text: str | None, name: str) -> tuple[int, ...]:
    """A text's tokens as WhisperTokenizer.get_prompt_ids makes them, without the first. Raises InputError."""
    if text is None:
        return ()
    if vocabulary.previous is None:
        raise InputError(f"{name} cannot be given to this model, whose tokenizer has no <|startofprev|>; leave it out")
    tokens = model.encode_text(" " + text.strip(), name)
    special = [token for token in tokens if token >= vocabulary.first_special]
    if special:
        raise InputError(f"{name} holds {model.tokenizer.id_to_token(special[0])}, which is no text; leave that out")
    return tuple(tokens)
