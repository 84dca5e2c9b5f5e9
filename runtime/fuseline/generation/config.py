"""What a caption is asked for (GenerationConfig) and what comes back (Generation).

Names, defaults and meanings are those of GenerationConfig in transformers 4.57. An option of a call that is not
supported is known by name and refused unless it has its default; none is ever ignored. What files say is read by
fuseline.generation.files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FolderError, InputError, written
from ..warning import warn
from .files import ABOUT_RUNNING, OF_INPUT_TOKENS, options_of_files, source_of, vocab_size_of, without_effect
from .option_rules import TOKENS, check_together
from .options import CHECKS, SAMPLING, UNSUPPORTED, Options, refuse
from .result import Generation

# What transformers' image-to-text pipeline takes for the most new tokens where the model sets no length.
PIPELINE_NEW_TOKENS = 256


@dataclass(frozen=True)
class _Origin:
    """Where a configuration comes from, which decides what its options mean and are held to."""

    vocab_size: int | None = None
    length_given: bool = False
    """whether a call gave max_length: transformers reads one of 20 as "not set" otherwise"""
    limit_given: bool = False
    """whether a call gave max_length or max_new_tokens, and so is held to the decoder's positions"""
    new_tokens: int | None = None
    """the most new tokens where nobody sets a length, if that is not generate's own default"""
    aside: tuple[tuple[str, Any], ...] = ()
    """impossible values of a file that have no effect while nothing is sampled"""
    of_model: bool = False

    def of_call(self, options: Mapping[str, Any]) -> _Origin:
        """The same, once a call has given these options."""
        given = self.length_given if "max_length" not in options else options["max_length"] is not None
        return replace(self, length_given=given, limit_given=self.limit_given or _has_limit(options))


@dataclass(frozen=True, init=False, repr=False)
class GenerationConfig(Options):
    """How to search for text: the fields of Options, with the names, defaults and meanings of transformers 4.57."""

    _origin: _Origin = field(default=_Origin(), repr=False, compare=False)

    def __init__(self, **options: Any) -> None:
        """Raises InputError for an option that is unknown, not supported yet, or has an impossible value."""
        self._fill(options, _Origin().of_call(options))

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
        *,
        reads_text: bool = False,
    ) -> GenerationConfig:
        """The defaults of a model folder.

        generation_config: generation_config.json parsed, empty where there is none; config: config.json parsed.
        As in transformers, config.json and its decoder section count only where generation_config.json sets nothing.
        The start token is looked up there too where generation_config.json has neither it nor a bos token.
        where: the folder, for error messages. vocab_size: of the decoder's graph; None where only config.json may know.
        reads_text: whether the encoder reads tokens; else options about these are left alone.
        Raises FolderError.
        """
        made = cls.__new__(cls)
        name = source_of(generation_config, config, _defaults())
        try:
            size = vocab_size_of(config) if vocab_size is None else vocab_size
            options = options_of_files(generation_config, config, str(Path(where) / name), size, _defaults())
            if not reads_text:
                options = {name: value for name, value in options.items() if name not in OF_INPUT_TOKENS}
            aside = without_effect(options)
            origin = _Origin(vocab_size=size, aside=tuple(aside.items()), of_model=True)
            made._fill({k: v for k, v in options.items() if k not in aside}, origin)
        except InputError as error:
            raise FolderError(f"{Path(where) / name}: {error}") from error
        return made

    def override(self, **options: Any) -> GenerationConfig:
        """This configuration with a call's options. Raises InputError as the constructor does."""
        if not options:
            return self
        return self._with(options, self._origin.of_call(options))

    def over(self, given: object, *, model_defaults: bool = True) -> GenerationConfig:
        """A call's generation_config over this one, which is a model's, as transformers' generate takes it.

        given: a GenerationConfig, a mapping, or an object with to_dict(), as transformers' own is. Of one that comes
        from a model (a model's generation_config, or what `override` made of it) all counts, of others what is not at
        its default. model_defaults: whether the rest is this one's, or this one's token ids only. Raises InputError.
        """
        origin = replace(self._origin, length_given=False, new_tokens=None)
        if isinstance(given, GenerationConfig):
            if given._origin.of_model and given._origin.vocab_size == origin.vocab_size:
                return given
            options = {name: getattr(given, name) for name in CHECKS}
            if given._origin.of_model:
                return self._with(options, replace(given._origin, vocab_size=origin.vocab_size))
        else:
            options = _as_options(given)
        defaults = _defaults()
        chosen = {name: value for name, value in options.items() if name not in defaults or value != defaults[name]}
        origin = replace(origin, limit_given=_has_limit(chosen))
        if model_defaults:
            return self._with(chosen, origin)
        ids = {name: getattr(self, name) for name in TOKENS}
        made = type(self).__new__(type(self))
        made._fill(ids | chosen, replace(origin, aside=()))
        return made

    def with_default_length(self, new_tokens: int) -> GenerationConfig:
        """The same, where so many new tokens are the most if nobody sets a length, as in transformers' pipelines."""
        return self._with({}, replace(self._origin, new_tokens=new_tokens))

    def with_defaults(self, **options: Any) -> GenerationConfig:
        """The same with other defaults: options that hold as if the model's files had set them, and no call."""
        return self._with(options, self._origin)

    @property
    def length_is_default(self) -> bool:
        """Whether neither the model nor the call says how long a text may be."""
        unset = not self._origin.length_given and self.max_length == GenerationConfig.max_length
        return unset and self.max_new_tokens is None

    def total_length(self, prompt_length: int, max_positions: int | None = None) -> int:
        """The longest sequence in tokens, prompt included, for a prompt of that many tokens.

        max_positions: how many positions the decoder can tell apart, if known; the last token of a sequence needs none.
        Warns where both max_new_tokens and max_length were given. Raises InputError where there is no room.
        """
        if self.max_new_tokens is not None:
            if self._origin.length_given:
                warn(
                    f"both max_new_tokens={self.max_new_tokens} and max_length={self.max_length} are set; "
                    "max_new_tokens is used"
                )
            length = prompt_length + self.max_new_tokens
        elif not self.length_is_default:
            length = self.max_length
        elif self._origin.new_tokens is not None:
            length = prompt_length + self._origin.new_tokens
        else:
            length = min(self.max_length + prompt_length, max_positions or self.max_length + prompt_length)
        if not self._origin.limit_given and max_positions is not None:  # a file's, and most texts end before
            length = min(length, max_positions + 1)
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
        names = (*SAMPLING, "seed")
        unused = [name for name in names if getattr(self, name) != getattr(GenerationConfig, name)]
        if unused and not self.do_sample:
            have = "has" if len(unused) == 1 else "have"
            warn(f"without do_sample=True nothing is sampled, and {', '.join(unused)} {have} no effect")

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

    def check_source(self, reads_text: bool) -> None:
        """Raise InputError for an option that needs the tokens of the input where the model reads none."""
        for name in OF_INPUT_TOKENS:
            value, default = getattr(self, name), getattr(GenerationConfig, name)
            if value != default and not reads_text:
                why = "because this model has no source of tokens"
                raise InputError(f"{name}={written(value)} is not supported, {why}; leave it out or at {default!r}")

    @property
    def keeps_steps(self) -> bool:
        """Whether something of every row and step is returned."""
        return self.output_scores or bool(self.output_logits) or self.output_attentions

    @property
    def keeps_model_logprobs(self) -> bool:
        """Whether it is kept what the decoder itself finds of each token."""
        return self.output_model_logprobs or self.output_sequences_confidences

    @property
    def pad(self) -> int | None:
        """The token after a sequence's end: pad_token_id, or else the first end token."""
        return self.pad_token_id if self.pad_token_id is not None else next(iter(self.ends), None)

    def _with(self, options: Mapping[str, Any], origin: _Origin) -> GenerationConfig:
        """This configuration with other options, its own that had no effect among them where they have one now."""
        made = type(self).__new__(type(self))
        kept = {name: getattr(self, name) for name in CHECKS} | dict(options)
        if CHECKS["do_sample"]("do_sample", kept["do_sample"]):
            kept = kept | {name: value for name, value in origin.aside if name not in options}
        made._fill(kept, origin)
        return made

    def _fill(self, options: Mapping[str, Any], origin: _Origin) -> None:
        """Check the options and set every field once; the dataclass is frozen from then on."""
        values = {f.name: f.default for f in fields(self)}
        for name, value in options.items():
            if name in CHECKS:
                values[name] = CHECKS[name](name, value)
            else:
                refuse(name, value)
        check_together(values, origin.vocab_size)
        for name, value in (values | {"_origin": origin}).items():
            object.__setattr__(self, name, value)


def cut_off(config: GenerationConfig, made: Generation, max_positions: int, option: str) -> str | None:
    """What to say where a text ended by a length that neither the model nor the caller chose; None where none did.

    A text that ends at a length that somebody chose is as wished, and a captioner whose own limit is short would say it
    of nearly each photo: Generation.finish_reasons tells of all. option: what lengthens it.
    """
    if not config.length_is_default or "max_length" not in made.finish_reasons:
        return None
    tokens, new = made.sequences.shape[1], made.token_logprobs.shape[1]
    if tokens > max_positions:
        return f"a text ended after {new} new tokens, as many as this model's decoder has positions for"
    return (
        f"a text ended after {new} new tokens, since neither the model nor the call says how many; {option} allows more"
    )


def _has_limit(options: Mapping[str, Any]) -> bool:
    return any(options.get(name) is not None for name in ("max_length", "max_new_tokens"))


def _defaults() -> dict[str, Any]:
    """Of every option that there is, ours or transformers'."""
    return {name: getattr(GenerationConfig, name) for name in CHECKS} | dict(UNSUPPORTED)


def _as_options(given: object) -> dict[str, Any]:
    """The options in a generation_config that is not ours, without what says how to run. Raises InputError."""
    try:
        content = given if isinstance(given, Mapping) else given.to_dict()  # type: ignore[attr-defined]
        named = isinstance(content, Mapping) and all(isinstance(name, str) for name in content)
    except Exception:  # there is no to_dict, or it is anybody's code
        named = False
    if not named:
        right = "a GenerationConfig, of fuseline or transformers, or a mapping of options by name"
        raise InputError(f"generation_config must be {right}, not {written(given)}")
    return {
        name: value
        for name, value in content.items()
        if not name.startswith("_") and name != "transformers_version" and name not in ABOUT_RUNNING
    }
