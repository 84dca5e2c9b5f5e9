"""Processors: what changes the scores of the next token before a search chooses among them.

Each does what the class of transformers 4.57 named beside it does (generation/logits_process.py). PROCESSORS at the end
is the one table of them, in the order in which transformers applies them. Without beams processors get logits, with
beams log-probabilities.

A processor is called with sequences int64[R, T] and scores float32[R, V] and returns scores float32[R, V]; the scores
it is given are its own, to write into. Dimensions: `R` rows, `T` tokens so far, prompt included, `V` vocabulary.

Those with values are NamedTuples, of which Python makes a class in a seventh of the time that a frozen dataclass takes:
there are many, and they are imported before a first caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..arrays import NEVER, Float32, Int64, Processor, as_array, log_softmax
from ..errors import InputError, written
from .options import SAMPLING
from .timestamps import TimestampRules
from .warpers import EpsilonCutoff, EtaCutoff, MinP, Temperature, TopK, TopP, TypicalP

if TYPE_CHECKING:
    from .config import GenerationConfig


_MOST_COMPARED = 1 << 22  # tokens compared at once, in bytes of what that takes


class SequenceBias:
    """Add a bias to the last token of a sequence where the tokens before it are there (SequenceBiasLogitsProcessor).

    Sequences of one length are looked for together, so that a step is quick with a million of them too.
    """

    def __init__(self, biases: Sequence[tuple[Sequence[int], float]]) -> None:
        """biases: the sequences, none of them empty, and what is added for each."""
        by_length: dict[int, list[tuple[Sequence[int], float]]] = {}
        for tokens, value in biases:
            by_length.setdefault(len(tokens), []).append((tokens, value))
        alone = by_length.pop(1, [])
        self._alone, places = np.unique([tokens[0] for tokens, _ in alone], return_inverse=True)
        self._values = np.zeros(len(self._alone), np.float32)
        np.add.at(self._values, places, np.array([value for _, value in alone], np.float32))
        self._longer = [
            (np.array([tokens for tokens, _ in found]), np.array([value for _, value in found], np.float32))
            for found in by_length.values()
        ]

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        bias = np.zeros_like(scores)
        if len(self._alone):
            bias[:, self._alone] += self._values
        for tokens, values in self._longer:  # int64[N, n], float32[N]
            if tokens.shape[1] > sequences.shape[1]:
                continue
            before, last = tokens[:, :-1], tokens[:, -1]
            ends = sequences[:, -before.shape[1] :]
            together = max(_MOST_COMPARED // before.size, 1)  # rows
            for first in range(0, len(ends), together):
                rows, found = (ends[first : first + together, None] == before).all(axis=2).nonzero()
                np.add.at(bias, (rows + first, last[found]), values[found])
        return scores + bias


class Diversity(NamedTuple):
    """Subtract a penalty for each time that earlier groups have taken the token in this step.

    HammingDiversityLogitsProcessor of transformers 4.50; https://arxiv.org/abs/1610.02424.
    """

    penalty: float
    taken: Sequence[Int64]  # by each earlier group, int64[B, beams of a group]

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        for tokens in self.taken:
            photos = np.repeat(np.arange(len(tokens)), tokens.shape[1])
            counts = np.zeros((len(tokens), scores.shape[1]), np.float32)
            np.add.at(counts, (photos, tokens.ravel()), np.float32(self.penalty))
            scores -= np.repeat(counts, len(scores) // len(tokens), axis=0)
        return scores


class RepetitionPenalty(NamedTuple):
    """Divide a positive score of a token that is there already by the penalty, multiply a negative one.

    RepetitionPenaltyLogitsProcessor; https://arxiv.org/abs/1909.05858, section 4.1.
    """

    penalty: float

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        places = np.arange(len(scores))[:, None], sequences  # as take_along_axis has them, which takes twice as long
        there = scores[places]
        scores[places] = np.where(there < 0, there * np.float32(self.penalty), there / np.float32(self.penalty))
        return scores


class NoRepeatNgrams(NamedTuple):
    """No n-gram twice: exclude what followed the last n - 1 tokens before (NoRepeatNGramLogitsProcessor)."""

    size: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        length = sequences.shape[1]
        if length < self.size:
            return scores
        ngrams = np.lib.stride_tricks.sliding_window_view(sequences, self.size, axis=1)
        last = sequences[:, None, length + 1 - self.size :]
        rows, places = np.nonzero((ngrams[:, :, :-1] == last).all(axis=2))
        scores[rows, ngrams[rows, places, -1]] = NEVER
        return scores


class EncoderRepetitionPenalty(NamedTuple):
    """Multiply a positive score of a token of the input by the penalty, divide a negative one: above 1 what is said
    keeps to the input (EncoderRepetitionPenaltyLogitsProcessor).

    transformers 4.57 does it to the first rows only where there are beams, whosever they are; here to all.
    """

    penalty: float
    inputs: Sequence[Int64]  # the tokens of each, int64[S]

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        each, penalty = len(scores) // len(self.inputs), np.float32(1 / self.penalty)
        for index, tokens in enumerate(self.inputs):
            rows = scores[index * each : (index + 1) * each]
            there = rows[:, tokens]
            rows[:, tokens] = np.where(there < 0, there * penalty, there / penalty)
        return scores


class EncoderNoRepeatNgrams:
    """No n-gram of the input: exclude what follows the last n - 1 tokens there.

    EncoderNoRepeatNGramLogitsProcessor.
    """

    def __init__(self, size: int, inputs: Sequence[Int64]) -> None:
        """inputs: the tokens of each, int64[S]."""
        self._before = size - 1
        self._after: list[dict[tuple[int, ...], list[int]]] = []
        for tokens in (each.tolist() for each in inputs):
            follows: dict[tuple[int, ...], list[int]] = {}
            for end in range(self._before, len(tokens)):
                follows.setdefault(tuple(tokens[end - self._before : end]), []).append(tokens[end])
            self._after.append(follows)

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        length, each = sequences.shape[1], len(scores) // len(self._after)
        if length >= self._before:
            for row, last in enumerate(sequences[:, length - self._before :].tolist()):
                scores[row, self._after[row // each].get(tuple(last), [])] = NEVER
        return scores


class MinLength(NamedTuple):
    """No end before so many tokens, prompt included (MinLengthLogitsProcessor, MinNewTokensLengthLogitsProcessor)."""

    length: int
    ends: Sequence[int]

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        if sequences.shape[1] < self.length:
            scores[:, list(self.ends)] = NEVER
        return scores


class AllowedTokens(NamedTuple):
    """Only the tokens that a function of the photo's index and the row allows (PrefixConstrainedLogitsProcessor).

    Raises InputError where it allows none, or something that is no token.
    """

    allowed: Callable[[int, Int64], Sequence[int]]
    num_beams: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        kept = np.full_like(scores, NEVER)
        for row, sequence in enumerate(sequences):
            returned = self.allowed(row // self.num_beams, sequence)
            tokens = as_array(returned)
            if not tokens.size:
                raise InputError(
                    f"prefix_allowed_tokens_fn allows no token after {sequence.tolist()}; allow at least one"
                )
            whole = np.issubdtype(tokens.dtype, np.integer) and tokens.ndim <= 1
            if not whole or tokens.min() < 0 or tokens.max() >= scores.shape[1]:
                raise InputError(
                    f"prefix_allowed_tokens_fn must return token ids from 0 to {scores.shape[1] - 1}, "
                    f"not {written(returned)}"
                )
            kept[row, tokens] = scores[row, tokens]
        return kept


class ForcedTokens(NamedTuple):
    """After so many tokens only these, with score 0 (ForcedBOSTokenLogitsProcessor, ForcedEOSTokenLogitsProcessor)."""

    tokens: Sequence[int]
    after: int

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        if sequences.shape[1] == self.after:
            scores[:] = NEVER
            scores[:, list(self.tokens)] = 0
        return scores


def remove_invalid_values(sequences: Int64, scores: Float32) -> Float32:
    """NaN becomes 0, infinity the largest float32 of its sign (InfNanRemoveLogitsProcessor)."""
    largest = float(np.finfo(np.float32).max)
    return np.nan_to_num(scores, copy=False, nan=0.0, posinf=largest, neginf=-largest)


class ExponentialDecay(NamedTuple):
    """The n-th token after so many: raise the score s of an end by |s| (factor^n - 1) (ExponentialDecayLengthPenalty).

    An end that is excluded stays so, where transformers makes it NaN and then takes it.
    """

    after: int
    factor: float
    ends: Sequence[int]

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        late = sequences.shape[1] - self.after
        if late > 0:
            ends = scores[:, list(self.ends)]
            with np.errstate(over="ignore", invalid="ignore"):
                raised = ends + np.abs(ends) * np.float32(np.float64(self.factor) ** late - 1)
            scores[:, list(self.ends)] = np.where(np.isfinite(ends), raised, ends)
        return scores


class SuppressTokens(NamedTuple):
    """Never these, or not after so many (SuppressTokensLogitsProcessor, SuppressTokensAtBeginLogitsProcessor)."""

    tokens: Sequence[int]
    after: int | None = None

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        if self.after is None or sequences.shape[1] == self.after:
            scores[:, list(self.tokens)] = NEVER
        return scores


class Own(NamedTuple):
    """A caller's processor. Raises InputError where it does not return scores, of the shape it was given.

    What the function itself raises passes as it is.
    """

    function: Processor

    def __call__(self, sequences: Int64, scores: Float32) -> Float32:
        shape = scores.shape
        returned = self.function(sequences, scores)
        result = as_array(returned)
        if result.shape != shape or not np.issubdtype(result.dtype, np.floating):
            raise InputError(
                f"a logits_processor must return scores float32{list(shape)}, not {result.dtype}{list(result.shape)}"
            )
        with np.errstate(over="ignore"):
            result = result.astype(np.float32, copy=False)
        # The largest of a row that holds NaN is NaN.
        if not (result.max(axis=1) < np.inf).all():
            raise InputError(
                "a logits_processor must return finite scores, or -inf for what is excluded; not NaN or inf"
            )
        return result


def renormalize(sequences: Int64, scores: Float32) -> Float32:
    """Scores as log-probabilities (LogitNormalization)."""
    return log_softmax(scores)


@dataclass(frozen=True)
class Lengths:
    """What a processor may depend on beside the options: tokens of the prompt, and of the longest sequence.

    inputs: the tokens of each input that were encoded, int64[S] each, where the encoder reads tokens; taken: the tokens
    that earlier groups of beams have chosen in this step, int64[B, beams of a group] each.
    """

    prompt: int
    longest: int
    inputs: Sequence[Int64] = ()
    taken: Sequence[Int64] = field(default_factory=list)


def _bad_words(config: GenerationConfig) -> SequenceBias:
    """NoBadWordsLogitsProcessor: a bias of -inf; a word that is an end token alone does not count."""
    words = [word for word in config.bad_words_ids or () if len(word) > 1 or word[0] not in config.ends]
    if not words:
        raise InputError(
            "bad_words_ids names end tokens only, which it cannot exclude; use suppress_tokens or min_length"
        )
    return SequenceBias([(word, -np.inf) for word in words])


def _ends(name: str, config: GenerationConfig) -> tuple[int, ...]:
    if not config.ends:
        raise InputError(f"{name} raises the score of the end tokens, and there is none; give eos_token_id too")
    return config.ends


def _decay(value: tuple[int, float], config: GenerationConfig, lengths: Lengths) -> ExponentialDecay:
    after, factor = value
    return ExponentialDecay(lengths.prompt + after, factor, _ends("exponential_decay_length_penalty", config))


def _begin(config: GenerationConfig, lengths: Lengths) -> int:
    """How many tokens stand before the first that is not forced."""
    return lengths.prompt + (lengths.prompt == 1 and config.forced_bos_token_id is not None)


def _keep(config: GenerationConfig) -> int:
    """How many tokens sampling leaves at least; beams need one that goes on."""
    return 1 if config.num_beams == 1 else max(len(config.ends), 1) + 1


class _Step(Protocol):
    """A Processor. To mypy a NamedTuple is no Callable, though it can be called."""

    def __call__(self, sequences: Int64, scores: Float32, /) -> Float32: ...


_Make = Callable[[Any, "GenerationConfig", Lengths], _Step]

# Every option that changes scores, in transformers' order (generation/utils.py, `_get_logits_processor`; of timestamps
# `_retrieve_logit_processors` of models/whisper/generation_whisper.py), and how its processor is made. It is made where
# the value of the option is not that of the third column.
PROCESSORS: tuple[tuple[str, _Make, Any], ...] = (
    ("sequence_bias", lambda value, config, lengths: SequenceBias(value), None),
    ("diversity_penalty", lambda value, config, lengths: Diversity(value, lengths.taken), 0.0),
    (
        "encoder_repetition_penalty",
        lambda value, config, lengths: EncoderRepetitionPenalty(value, lengths.inputs),
        1.0,
    ),
    ("repetition_penalty", lambda value, config, lengths: RepetitionPenalty(value), 1.0),
    ("no_repeat_ngram_size", lambda value, config, lengths: NoRepeatNgrams(value), 0),
    (
        "encoder_no_repeat_ngram_size",
        lambda value, config, lengths: EncoderNoRepeatNgrams(value, lengths.inputs),
        0,
    ),
    ("bad_words_ids", lambda value, config, lengths: _bad_words(config), None),
    ("min_length", lambda value, config, lengths: MinLength(value, config.ends), 0),
    ("min_new_tokens", lambda value, config, lengths: MinLength(lengths.prompt + value, config.ends), None),
    (
        "prefix_allowed_tokens_fn",
        lambda value, config, lengths: AllowedTokens(value, config.num_beams // config.num_beam_groups),
        None,
    ),
    ("forced_bos_token_id", lambda value, config, lengths: ForcedTokens((value,), 1), None),
    (
        "forced_eos_token_id",
        lambda value, config, lengths: ForcedTokens(
            value if isinstance(value, tuple) else (value,), lengths.longest - 1
        ),
        None,
    ),
    ("remove_invalid_values", lambda value, config, lengths: remove_invalid_values, False),
    ("exponential_decay_length_penalty", _decay, None),
    ("suppress_tokens", lambda value, config, lengths: SuppressTokens(value), None),
    ("begin_suppress_tokens", lambda value, config, lengths: SuppressTokens(value, _begin(config, lengths)), None),
    (
        "timestamps",
        lambda value, config, lengths: TimestampRules(value, lengths.prompt, min(config.ends, default=value.first)),
        None,
    ),
    ("logits_processor", lambda value, config, lengths: _in_turn([Own(each) for each in value]), None),
    ("temperature", lambda value, config, lengths: Temperature(value), 1.0),
    ("top_k", lambda value, config, lengths: TopK(max(value, _keep(config))), 0),
    ("top_p", lambda value, config, lengths: TopP(value, _keep(config)), 1.0),
    ("min_p", lambda value, config, lengths: MinP(value, _keep(config)), None),
    ("typical_p", lambda value, config, lengths: TypicalP(value, _keep(config)), 1.0),
    ("epsilon_cutoff", lambda value, config, lengths: EpsilonCutoff(value, _keep(config)), 0.0),
    ("eta_cutoff", lambda value, config, lengths: EtaCutoff(value, _keep(config)), 0.0),
    ("renormalize_logits", lambda value, config, lengths: renormalize, False),
)


def processors(config: GenerationConfig, lengths: Lengths) -> Processor | None:
    """All that the options ask for as one processor; None where they ask for none, so that a search can do without.

    Raises InputError for options that contradict each other.
    """
    off = set() if config.do_sample else set(SAMPLING)
    if config.min_new_tokens is not None:
        off.add("min_length")
    found = [
        make(getattr(config, name), config, lengths)
        for name, make, without in PROCESSORS
        if getattr(config, name) != without and name not in off
    ]
    return _in_turn(found) if found else None


def _in_turn(steps: Sequence[_Step]) -> Processor:
    """One processor out of several, the first first."""

    def apply(sequences: Int64, scores: Float32) -> Float32:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # torch computes infinities in silence too
            for step in steps:
                scores = step(sequences, scores)
        return scores

    return apply
