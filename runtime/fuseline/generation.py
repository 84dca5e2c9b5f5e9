"""What a caption is asked for (GenerationConfig) and what comes back (Generation).

Names, defaults and meanings are those of GenerationConfig in transformers 4.57. An option that is not supported is
known by name and refused unless it has its default; no option is ever ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import FolderError, InputError
from .options import CHECKS, UNSUPPORTED, refuse, whole_or_none, written
from .warning import warn

# Keys of config.json with an option's name that say how a model runs or what it returns, not which text it gives.
_ABOUT_RUNNING = {"use_cache", "output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate"}

# Options that count only with do_sample.
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "seed")
_WITH_TOKENS = (
    "decoder_start_token_id",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
)


@dataclass(frozen=True)
class Timings:
    """Where the time of one generate call went: milliseconds, and how many steps the decoder made."""

    encoder: float
    decoder: float
    """all steps together"""
    search: float
    """the rest: Python and numpy between the steps"""
    total: float
    steps: int


@dataclass(frozen=True, repr=False, eq=False)
class Generation:
    """What generate returns for B photos. Two of them are equal where they are the same object."""

    sequences: npt.NDArray[np.int64]
    """int64[B x num_return_sequences, T]: prompt and generated tokens, the sequences of a photo together and best
    first, padded with the pad token; T is the length of the longest"""
    sequences_scores: npt.NDArray[np.float32]
    """float32[B x num_return_sequences]: sum of the log-probabilities of the generated tokens (the end token counts)
    divided by their number to the power of length_penalty. transformers gives no score for greedy search; here it is
    the same one"""
    token_logprobs: npt.NDArray[np.float32]
    """float32[B x num_return_sequences, T - prompt]: the log-probability of every generated token, after all that
    changed it, as transformers' compute_transition_scores gives it; 0 after the end"""
    finish_reasons: tuple[str, ...]
    """why each sequence ended: "eos_token", "max_length", "max_time", "stop_strings", "stopping_criteria"; in a partial
    result "cancelled" or "interrupted"; "no sequence" where the options left none and the prompt stands alone"""
    timings: Timings
    num_return_sequences: int = 1
    beam_indices: npt.NDArray[np.int64] | None = None
    """int64[B x num_return_sequences, T - prompt]: the row, of B x num_beams, that each generated token continued, -1
    after the end; None without beams"""
    scores: tuple[npt.NDArray[np.float32], ...] | None = None
    """with output_scores, of every step: what the tokens were chosen by, float32[R, V]: logits, with beams
    log-probabilities, after all that changed them"""
    logits: tuple[npt.NDArray[np.float32], ...] | None = None
    """with output_logits, of every step: the decoder's logits, float32[R, V]"""
    cross_attentions: npt.NDArray[np.float32] | None = None
    """with output_attentions: where each generated token looked, float32[B x num_return_sequences, T - prompt, L, H,
    S], the weights of the decoder's L layers and H heads over the S encoder positions, in the row that it continued; 0
    after the end; None where there was no step"""
    variant: str = ""
    """the variant of the model that said it"""

    def __repr__(self) -> str:
        """Short: the arrays may hold gigabytes."""
        rows, longest = self.sequences.shape
        kept = [
            name for name in ("beam_indices", "scores", "logits", "cross_attentions") if getattr(self, name) is not None
        ]
        also = f", with {', '.join(kept)}" if kept else ""
        return f"Generation({rows} sequences of at most {longest} tokens{also})"


@dataclass(frozen=True, init=False, repr=False)
class GenerationConfig:
    """How to search for text: the fields below, with the names, defaults and meanings of transformers 4.57."""

    max_length: int = 20
    """longest sequence in tokens, prompt included; where nobody set it, 20 tokens and the prompt"""
    max_new_tokens: int | None = None
    """most tokens to generate, prompt not included; wins over max_length"""
    num_beams: int = 1
    num_return_sequences: int = 1
    num_beam_groups: int = 1
    """groups that a photo's beams are divided into, each kept from saying what others say; as in transformers 4.50"""
    diversity_penalty: float = 0.0
    """with groups: what a token costs for each time that earlier groups of the photo have taken it in the same step"""
    length_penalty: float = 1.0
    """a score is divided by the number of generated tokens to this power: > 0 favours longer, < 0 shorter text"""
    early_stopping: bool | str = False
    """True: stop at num_beams complete sequences; False: when better ones are unlikely; "never": when impossible"""
    decoder_start_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None
    min_length: int = 0
    """no end token before so many tokens, prompt included"""
    min_new_tokens: int | None = None
    """no end token before so many generated tokens; wins over min_length"""
    max_time: float | None = None
    """seconds after which no further token is begun, the encoder's not counted; what is there then is the result"""
    stop_strings: Sequence[str] | None = None
    """texts that end a sequence, together with the token in which they end"""
    stopping_criteria: Sequence[Callable[[npt.NDArray[np.int64], None], Any]] | None = None
    """functions of the sequences int64[N, T], and of None, that say which of them stop: a bool or bool[N]"""
    repetition_penalty: float = 1.0
    """> 1 makes tokens less likely that are there already, < 1 more likely"""
    no_repeat_ngram_size: int = 0
    """no sequence of so many tokens comes twice"""
    bad_words_ids: Sequence[Sequence[int]] | None = None
    """sequences of tokens that never come"""
    sequence_bias: Sequence[tuple[Sequence[int], float]] | None = None
    """what is added to the score of a sequence's last token after the others; given as a dict or pairs"""
    suppress_tokens: Sequence[int] | None = None
    """tokens that never come"""
    begin_suppress_tokens: Sequence[int] | None = None
    """tokens that never come first"""
    forced_bos_token_id: int | None = None
    """the token after the start token"""
    forced_eos_token_id: int | tuple[int, ...] | None = None
    """the last token of a sequence of the greatest length"""
    exponential_decay_length_penalty: tuple[int, float] | None = None
    """after so many generated tokens the end token becomes likelier by this factor with each"""
    remove_invalid_values: bool = False
    """whether NaN and infinite scores are replaced"""
    renormalize_logits: bool = False
    """whether scores are made log-probabilities again after all that changed them"""
    prefix_allowed_tokens_fn: Callable[[int, npt.NDArray[np.int64]], Sequence[int]] | None = None
    """a function of the photo's index and the tokens so far, int64[T], that returns the tokens that may follow; where
    num_return_sequences are sampled without beams each counts as a photo of its own, as in transformers"""
    logits_processor: Sequence[Callable[..., Any]] | None = None
    """functions of sequences int64[R, T] and scores float32[R, V] that return scores float32[R, V]; they come after the
    options above, before renormalize_logits; scores are logits, with beams log-probabilities"""
    do_sample: bool = False
    """whether tokens are drawn by their probability, with num_beams beams or without; what follows counts only then"""
    temperature: float = 1.0
    """scores are divided by it: < 1 favours the probable tokens"""
    top_k: int = 50
    """only so many of the most probable tokens; 0 for all"""
    top_p: float = 1.0
    """only the most probable tokens that together have this probability"""
    min_p: float | None = None
    """only tokens with at least this share of the greatest probability"""
    typical_p: float = 1.0
    """only the tokens nearest to the expected information that together have this probability"""
    epsilon_cutoff: float = 0.0
    """only tokens of at least this probability"""
    eta_cutoff: float = 0.0
    """the same, less where the next token is uncertain"""
    seed: int | np.random.Generator | None = None
    """of the random numbers, those of each photo; a Generator serves all photos; None for other ones at every call"""
    output_scores: bool = False
    """whether Generation.scores is kept"""
    output_logits: bool | None = None
    """whether Generation.logits is kept"""
    output_attentions: bool = False
    """whether Generation.cross_attentions is kept: L H S numbers a row and step"""
    return_dict_in_generate: bool = False
    """of no effect: the result is always a Generation"""
    # transformers reads a max_length of 20 as "not set", unless the call gives it.
    _length_given: bool = field(default=False, repr=False, compare=False)
    _vocab_size: int | None = field(default=None, repr=False, compare=False)

    def __init__(self, **options: Any) -> None:
        """Raises InputError for an option that is unknown, not supported yet, or has an impossible value."""
        self._fill(options, vocab_size=None, length_given="max_length" in options)

    def __repr__(self) -> str:
        """What differs from the defaults."""
        found = {name: getattr(self, name) for name in CHECKS}
        differing = [name for name, value in found.items() if value != getattr(GenerationConfig, name)]
        return f"GenerationConfig({', '.join(f'{name}={written(found[name])}' for name in differing)})"

    @classmethod
    def from_folder(
        cls,
        generation_config: Mapping[str, Any],
        config: Mapping[str, Any],
        where: str | Path,
        vocab_size: int | None = None,
    ) -> GenerationConfig:
        """The defaults of a model folder.

        generation_config: generation_config.json parsed, empty where there is none; config: config.json parsed.
        As in transformers, config.json and its decoder section count only where generation_config.json sets nothing.
        The start token is looked up there too where generation_config.json has neither it nor a bos token.
        where: the folder, for error messages. vocab_size: of the decoder's graph; None where only config.json may know.
        Raises FolderError.
        """
        options = {k: v for k, v in generation_config.items() if not k.startswith("_") and k != "transformers_version"}
        source = "generation_config.json" if options else "config.json"
        made = cls.__new__(cls)
        try:
            fallback = _from_model_config(config)
            options = options or fallback
            if options.get("decoder_start_token_id") is None and options.get("bos_token_id") is None:
                options |= {k: fallback[k] for k in ("decoder_start_token_id", "bos_token_id") if k in fallback}
            size = _vocab_size(config) if vocab_size is None else vocab_size
            made._fill(options, vocab_size=size, length_given=False)
        except InputError as error:
            raise FolderError(f"{Path(where) / source}: {error}") from error
        return made

    def override(self, **options: Any) -> GenerationConfig:
        """This configuration with a call's options. Raises InputError as the constructor does."""
        made = type(self).__new__(type(self))
        kept = {name: getattr(self, name) for name in CHECKS}
        made._fill(kept | options, self._vocab_size, self._length_given or "max_length" in options)
        return made

    def total_length(self, prompt_length: int, max_positions: int | None = None) -> int:
        """The longest sequence in tokens, prompt included, for a prompt of that many tokens.

        max_positions: how many positions the decoder can tell apart, if known; the last token of a sequence needs none.
        Warns where both max_new_tokens and max_length were given. Raises InputError where there is no room.
        """
        if self.max_new_tokens is not None:
            if self._length_given:
                warn(
                    f"both max_new_tokens={self.max_new_tokens} and max_length={self.max_length} are set; "
                    "max_new_tokens is used"
                )
            length = prompt_length + self.max_new_tokens
        elif self._length_given or self.max_length != GenerationConfig.max_length:
            length = self.max_length
        else:
            length = min(self.max_length + prompt_length, max_positions or self.max_length + prompt_length)
        self._warn_of_least(prompt_length, length)
        self._warn_of_sampling()
        if length <= prompt_length:
            raise InputError(
                f"the decoder's prompt has {prompt_length} tokens, so max_length must be more than that, not {length}"
            )
        if max_positions is not None and length - 1 > max_positions:
            raise InputError(
                f"this model's decoder has {max_positions} positions, so a sequence can have {max_positions + 1} "
                f"tokens, not {length}; lower max_length or max_new_tokens"
            )
        return length

    def _warn_of_least(self, prompt_length: int, longest: int) -> None:
        """Warn as transformers does where not both lengths can count, or no sequence is long enough."""
        if self.min_new_tokens is not None and self.min_length:
            problem = (
                f"both min_new_tokens={self.min_new_tokens} and min_length={self.min_length} are set; "
                "min_new_tokens is used"
            )
        elif self.min_new_tokens is not None and self.min_new_tokens + prompt_length > longest:
            problem = (
                f"min_new_tokens={self.min_new_tokens} is more than the {longest - prompt_length} new tokens that a "
                "sequence can have; it ends there"
            )
        elif self.min_new_tokens is None and self.min_length > longest:
            problem = f"min_length={self.min_length} is more than the longest length {longest}; a sequence ends there"
        else:
            return
        warn(problem)

    def _warn_of_sampling(self) -> None:
        """Warn as transformers does of options that count only in sampling, where there is none."""
        unused = [name for name in _SAMPLING if getattr(self, name) != getattr(GenerationConfig, name)]
        if unused and not self.do_sample:
            problem = f"without do_sample=True nothing is sampled, and {', '.join(unused)} have no effect"
            warn(problem)

    def prompt(self, batch: int) -> npt.NDArray[np.int64]:
        """The decoder's prompt, int64[batch, 1]: the start token, or else bos. Raises InputError for neither."""
        start = self.bos_token_id if self.decoder_start_token_id is None else self.decoder_start_token_id
        if start is None:
            raise InputError(
                "decoder_start_token_id is not set and there is no bos_token_id in its place; give one of them"
            )
        return np.full((batch, 1), start, np.int64)

    @property
    def ends(self) -> tuple[int, ...]:
        """The end tokens: none, one or several."""
        eos = self.eos_token_id
        return () if eos is None else eos if isinstance(eos, tuple) else (eos,)

    @property
    def keeps_steps(self) -> bool:
        """Whether something of every row and step is returned."""
        return self.output_scores or bool(self.output_logits) or self.output_attentions

    @property
    def pad(self) -> int | None:
        """The token after a sequence's end: pad_token_id, or else the first end token."""
        return self.pad_token_id if self.pad_token_id is not None else next(iter(self.ends), None)

    def _fill(self, options: Mapping[str, Any], vocab_size: int | None, length_given: bool) -> None:
        """Check the options and set every field once; the dataclass is frozen from then on."""
        values = {f.name: f.default for f in fields(self)}
        for name, value in options.items():
            if name in CHECKS:
                values[name] = CHECKS[name](name, value)
            else:
                refuse(name, value)
        _check_together(values, vocab_size)
        for name, value in (values | {"_vocab_size": vocab_size, "_length_given": length_given}).items():
            object.__setattr__(self, name, value)


def _check_together(values: Mapping[str, Any], vocab_size: int | None) -> None:
    """What no option shows alone: sequences to return against beams, tokens against the vocabulary."""
    beams, returned = values["num_beams"], values["num_return_sequences"]
    if returned > beams and not (values["do_sample"] and beams == 1):
        raise InputError(
            f"num_return_sequences={returned} is more than num_beams={beams}; there is one sequence a beam at most"
        )
    if values["num_beam_groups"] > 1 or values["diversity_penalty"] != 0:
        _check_groups(values)
    if vocab_size is None:
        return
    for name, tokens in _all_tokens(values).items():
        for token in tokens:
            if token >= vocab_size:
                raise InputError(f"{name}={token} is outside the vocabulary, whose ids are 0 to {vocab_size - 1}")


def _check_groups(values: Mapping[str, Any]) -> None:
    """What groups of beams need, and what does not go together with them."""
    beams, groups = values["num_beams"], values["num_beam_groups"]
    if groups == 1:
        raise InputError("diversity_penalty keeps groups of beams apart; give num_beam_groups too, or leave it at 0.0")
    if beams % groups:
        raise InputError(f"num_beams={beams} cannot be divided into num_beam_groups={groups} of equal size")
    if values["diversity_penalty"] <= 0:
        raise InputError(
            f"with num_beam_groups={groups} the groups would all be the same; give a diversity_penalty above 0"
        )
    for name in ("do_sample", "stop_strings", "stopping_criteria"):
        if values[name]:
            raise InputError(f"{name} does not go together with num_beam_groups; leave one of them out")


def _all_tokens(values: Mapping[str, Any]) -> dict[str, list[int]]:
    """Every token id that the options name."""
    found = {}
    for name in _WITH_TOKENS:
        value = values[name]
        found[name] = [] if value is None else list(value) if isinstance(value, tuple) else [value]
    found["bad_words_ids"] = [token for word in values["bad_words_ids"] or () for token in word]
    found["sequence_bias"] = [token for word, _ in values["sequence_bias"] or () for token in word]
    return found


def _from_model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The generation options in config.json: its own, or its decoder section's where its own are at the default."""
    defaults: dict[str, Any] = {f.name: f.default for f in fields(GenerationConfig) if f.name in CHECKS}
    defaults |= UNSUPPORTED
    section = _decoder_section(config)
    options = {}
    for name, default in defaults.items():
        if name in _ABOUT_RUNNING:
            continue
        value = config.get(name)
        if value is None or value == default:
            value = section.get(name, value)
        if value is not None:
            options[name] = value
    return options


def _decoder_section(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json about the decoder, by the names transformers' composite models give it, or all of it."""
    name = next((n for n in ("decoder", "generator", "text_config") if config.get(n) is not None), None)
    section = config if name is None else config[name]
    if not isinstance(section, Mapping):
        raise InputError(f"{name} must be an object, not {written(section)}")
    return section


def _vocab_size(config: Mapping[str, Any]) -> int | None:
    return whole_or_none("vocab_size", _decoder_section(config).get("vocab_size", config.get("vocab_size")))
