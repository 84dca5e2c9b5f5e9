"""The options that embedded graphs read as inputs, with the model's own as their defaults; all others are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from fuseline.errors import ExportError, written
from fuseline.generation.config import GenerationConfig
from fuseline.generation.option_rules import TOKENS
from fuseline.generation.options import CHECKS, SAMPLING

from .nodes import Nodes, Value
from .processors import NO_TOKEN
from .search import NEVER_STOPS_EARLY

_WHOLE, _FLOAT = Value(TensorProto.INT64, []), Value(TensorProto.FLOAT, [])
_TOKENS = Value(TensorProto.INT64, ["tokens"])
LANGUAGE, TASK = "language", "task"  # of Whisper alone
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


def options_of(config: GenerationConfig, max_positions: int, begin: Sequence[int]) -> dict[str, Option]:
    """The options by name, those of a model at its own values. Raises ExportError for a model that sets others.

    begin: what its texts begin with.
    """
    _refuse_others(config)
    early = NEVER_STOPS_EARLY if isinstance(config.early_stopping, str) else int(config.early_stopping)
    values: dict[str, Any] = {
        "decoder_input_ids": [begin],
        "max_length": config.total_length(len(begin), max_positions),
        "eos_token_id": list(config.ends),
        "early_stopping": early,
        "forced_bos_token_id": _one_token(config.forced_bos_token_id),
        "forced_eos_token_id": _one_token(config.forced_eos_token_id),
    }
    made = {}
    for name in _WHAT:
        value = values.get(name, getattr(config, name, None))
        dtype = np.float32 if _WHAT[name] == _FLOAT else np.int64
        made[name] = Option(_WHAT[name], np.array(value, dtype), _limits(name, max_positions))
    fixed = {name: np.array(getattr(config, name) or (), np.int64) for name in FIXED}
    return made | {name: Option(_TOKENS, tokens, "", fixed=True) for name, tokens in fixed.items() if tokens.size}


def declare(g: Nodes, options: Mapping[str, Option], names: Sequence[str]) -> dict[str, str]:
    """Some of the options as inputs of a graph, by name, as far as there are these."""
    there = {name: options[name] for name in names if name in options}
    values = {
        name: g.constant(name, each.default) if each.fixed else g.default(name, each.what, each.default)
        for name, each in there.items()
    }
    if "early_stopping" in values:
        values["early_stopping"] = _checked(g, values)
    return values


def _checked(g: Nodes, values: Mapping[str, str]) -> str:
    """early_stopping, which every step reads. A run fails where it cannot be, or another option cannot."""
    early, most = values["early_stopping"], NEVER_STOPS_EARLY
    fits = g.op("And", g.op("GreaterOrEqual", early, g.whole(0)), g.op("LessOrEqual", early, g.whole(most)))
    early = g.checked(early, fits, f"early_stopping must be from 0 to {most}")
    positive = g.op("Greater", values["repetition_penalty"], g.number(0))
    early = g.checked(early, positive, "repetition_penalty must be above 0")
    larger = g.op("Max", g.op("Abs", values["length_penalty"]), values["repetition_penalty"])
    finite = g.op("LessOrEqual", larger, g.number(float(np.finfo(np.float32).max)))
    early = g.checked(early, finite, "length_penalty and repetition_penalty must be finite")
    least = g.op("Min", values["no_repeat_ngram_size"], values["min_length"])
    counts = g.op("GreaterOrEqual", least, g.whole(0))
    return g.checked(early, counts, "no_repeat_ngram_size and min_length must be 0 or more")


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
        found = ", ".join(f"{name}={written(value)}" for name, value in others.items())
        raise ExportError(f"this model's generation_config has {found}, which embedded graphs do not do yet")


def _limits(name: str, max_positions: int) -> str:
    return {
        "decoder_input_ids": "begins with the start token; one row, or one for each input",
        "num_beams": "1 or more",
        "max_length": f"more than decoder_input_ids has tokens, at most {max_positions + 1}",
        "eos_token_id": "one or more",
        "min_length": "0 or more",
        "length_penalty": "any; above 0 favours longer texts",
        "early_stopping": f'0 (False), 1 (True) or {NEVER_STOPS_EARLY} ("never")',
        "no_repeat_ngram_size": "0 or more; 0 for none",
        "repetition_penalty": "above 0; 1 for none",
        "forced_bos_token_id": f"the token after the start token; {NO_TOKEN} for none",
        "forced_eos_token_id": f"the last token of a sequence of the greatest length; {NO_TOKEN} for none",
        "num_return_sequences": "1 to num_beams",
    }[name]
