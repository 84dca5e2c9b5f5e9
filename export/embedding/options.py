"""The options that embedded graphs read as inputs, with the model's own as their defaults; all others are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from fuseline.errors import ExportError, InputError, written
from fuseline.folders.tensors import DecoderSizes
from fuseline.generation.config import GenerationConfig
from fuseline.generation.option_rules import TOKENS
from fuseline.generation.options import CHECKS, SAMPLING
from fuseline.memory import check_memory
from fuseline.search.steps import needed_bytes

from .nodes import Nodes, Value
from .processors import NO_TOKEN
from .search import LARGEST, NEVER_STOPS_EARLY

_WHOLE, _FLOAT = Value(TensorProto.INT64, []), Value(TensorProto.FLOAT, [])
_TOKENS = Value(TensorProto.INT64, ["tokens"])
LANGUAGE, TASK = "language", "task"  # of Whisper alone
MOST_BEAMS = 1024  # a graph cannot ask how much memory there is, as generate does
# What is asked of start.onnx and of step.onnx, as far as a model has it; of a graph that does all, both.
OF_START = ("decoder_input_ids", LANGUAGE, TASK, "num_beams", "max_length")
# What a graph does as the model says, without being asked.
FIXED = ("suppress_tokens", "begin_suppress_tokens")
OF_STEP = (
    *FIXED,
    "eos_token_id",
    "min_length",
    "length_penalty",
    "early_stopping",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "num_return_sequences",
)
_WHAT = {
    "decoder_input_ids": Value(TensorProto.INT64, ["B or 1", "T"]),
    "num_beams": _WHOLE,
    "max_length": _WHOLE,
    "eos_token_id": Value(TensorProto.INT64, ["ends"]),
    "min_length": _WHOLE,
    "length_penalty": _FLOAT,
    "early_stopping": _WHOLE,
    "no_repeat_ngram_size": _WHOLE,
    "repetition_penalty": _FLOAT,
    "forced_bos_token_id": _WHOLE,
    "forced_eos_token_id": _WHOLE,
    "num_return_sequences": _WHOLE,
}
# What decides only what is kept beside the sequences, or counts only in sampling, which is refused by itself.
_WITHOUT_EFFECT = (*SAMPLING, *TOKENS, "seed", "return_dict_in_generate")


@dataclass(frozen=True)
class Option:
    """An option as an input. what it is; default: the model's own; limits: what it may be, in words; fixed: whether
    it is a constant and no input."""

    what: Value
    default: npt.NDArray[Any]
    limits: str
    fixed: bool = False


def options_of(config: GenerationConfig, sizes: DecoderSizes, begin: Sequence[int]) -> dict[str, Option]:
    """The options by name, those of a model at its own values. Raises ExportError for a model that sets others.

    begin: what its texts begin with.
    """
    _refuse_others(config)
    longest = config.total_length(len(begin), sizes.max_positions)
    _refuse_too_much(config, longest, sizes)
    early = NEVER_STOPS_EARLY if isinstance(config.early_stopping, str) else int(config.early_stopping)
    values: dict[str, Any] = {
        "decoder_input_ids": [begin],
        "max_length": longest,
        "eos_token_id": list(config.ends),
        "early_stopping": early,
        "forced_bos_token_id": _one_token(config.forced_bos_token_id),
        "forced_eos_token_id": _one_token(config.forced_eos_token_id),
    }
    made = {}
    for name in _WHAT:
        value = values.get(name, getattr(config, name, None))
        dtype = np.float32 if _WHAT[name] == _FLOAT else np.int64
        made[name] = Option(_WHAT[name], np.array(value, dtype), _limits(name, sizes))
    fixed = {name: np.array(getattr(config, name) or (), np.int64) for name in FIXED}
    return made | {name: Option(_TOKENS, tokens, "", fixed=True) for name, tokens in fixed.items() if tokens.size}


def declare(g: Nodes, options: Mapping[str, Option], names: Sequence[str], vocab_size: int) -> dict[str, str]:
    """Some of the options as inputs of a graph, by name, as far as there are these."""
    there = {name: options[name] for name in names if name in options}
    values = {
        name: g.constant(name, each.default) if each.fixed else g.default(name, each.what, each.default)
        for name, each in there.items()
    }
    if "eos_token_id" in values:
        values["eos_token_id"] = _checked(g, values, vocab_size)
    return values


def _checked(g: Nodes, values: Mapping[str, str], vocab_size: int) -> str:
    """eos_token_id, which every step reads. A run fails where it cannot be, or another option cannot."""
    early, ends, last = values["early_stopping"], values["eos_token_id"], vocab_size - 1
    latest = g.op("ReduceMax", g.joined(ends, g.ints(NO_TOKEN)), keepdims=0)  # of no token nothing is the greatest
    good_ends = g.op(
        "And",
        g.within(latest, latest, (0, last)),
        g.op("GreaterOrEqual", g.op("ReduceMin", ends, keepdims=0), g.whole(0)),
    )
    forced = values["forced_bos_token_id"], values["forced_eos_token_id"]
    penalties = g.op("Max", g.op("Abs", values["length_penalty"]), values["repetition_penalty"])
    counts = g.op("Min", values["no_repeat_ngram_size"], values["min_length"])
    rules = {
        f"early_stopping must be from 0 to {NEVER_STOPS_EARLY}": g.within(early, early, (0, NEVER_STOPS_EARLY)),
        "repetition_penalty must be above 0": g.op("Greater", values["repetition_penalty"], g.number(0)),
        "length_penalty and repetition_penalty must be finite": g.op("LessOrEqual", penalties, g.number(LARGEST)),
        "no_repeat_ngram_size and min_length must be 0 or more": g.op("GreaterOrEqual", counts, g.whole(0)),
        f"eos_token_id must be one or more tokens from 0 to {last}": good_ends,
        f"forced_bos_token_id and forced_eos_token_id must be from 0 to {last}, or {NO_TOKEN} for none": g.within(
            g.op("Min", *forced), g.op("Max", *forced), (NO_TOKEN, last)
        ),
    }
    return g.checked_by(ends, _WHAT["eos_token_id"], rules)


def _one_token(token: int | tuple[int, ...] | None) -> int:
    """A token that is forced, or none. Raises ExportError for several."""
    if isinstance(token, tuple):
        if len(token) > 1:
            raise ExportError(f"forced_eos_token_id={written(token)} are several tokens; one can be embedded")
        token = token[0]
    return NO_TOKEN if token is None else token


def _refuse_others(config: GenerationConfig) -> None:
    """Raises ExportError naming every option that the graphs do not read and the model sets."""
    if not config.ends:
        raise ExportError("a model without eos_token_id cannot be embedded; give generation_config.json one")
    known = {*OF_START, *OF_STEP, "max_new_tokens", *_WITHOUT_EFFECT}
    others = {
        name: getattr(config, name)
        for name in CHECKS
        if name not in known and getattr(config, name) != getattr(GenerationConfig, name)
    }
    if others:
        raise not_done(", ".join(f"{name}={written(value)}" for name, value in others.items()))


def not_done(found: str) -> ExportError:
    """The refusal of options that a model's files set."""
    way_out = "export it again from files whose generation_config.json does not ask for that"
    return ExportError(f"this model's generation_config has {found}, which embedded graphs do not do yet; {way_out}")


def _refuse_too_much(config: GenerationConfig, longest: int, sizes: DecoderSizes) -> None:
    """Raises ExportError where no call without options could be made, for want of memory. longest: in tokens."""
    asked = f"{config.num_beams} beams of up to {longest} tokens, this model's own options,"
    try:
        check_memory(needed_bytes(config.num_beams, longest, sizes), asked, "lower num_beams in generation_config.json")
    except InputError as error:
        raise ExportError(str(error)) from None


def _limits(name: str, sizes: DecoderSizes) -> str:
    tokens = f"from 0 to {sizes.vocab_size - 1}"
    return {
        "decoder_input_ids": f"tokens {tokens}; one row, or one for each input",
        "num_beams": f"from 1 to {MOST_BEAMS}",
        "max_length": f"more than decoder_input_ids has tokens, at most {sizes.max_positions + 1}",
        "eos_token_id": f"one or more tokens {tokens}",
        "min_length": "0 or more",
        "length_penalty": "above 0 favours longer texts",
        "early_stopping": f'0 (False), 1 (True) or {NEVER_STOPS_EARLY} ("never")',
        "no_repeat_ngram_size": "0 or more; 0 for none",
        "repetition_penalty": "above 0; 1 for none",
        "forced_bos_token_id": f"the token after the start token, {tokens}; {NO_TOKEN} for none",
        "forced_eos_token_id": f"the last token of a sequence of the greatest length, {tokens}; {NO_TOKEN} for none",
        "num_return_sequences": "1 to num_beams",
    }[name]
