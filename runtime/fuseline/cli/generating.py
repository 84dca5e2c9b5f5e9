"""What commands that run a model have in common: its options, those of generation, and a note about cut-off texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..generation.config import GenerationConfig
    from ..generation.result import Generation
    from ..model import Model
    from .terminal import Terminal


def check_once(names: Sequence[str]) -> None:
    """Raise InputError where standard input is named twice."""
    if names.count("-") > 1:
        raise InputError("- is given twice, and standard input can be read once; give it once")


def add_running_options(add: Callable[..., Any]) -> None:
    """Add --variant, --device and --threads. add: of an argparse parser."""
    add(
        "--variant",
        default="auto",
        metavar="NAME",
        help="as `fuseline info` lists them (default: the fastest good one)",
    )
    add("--device", default="cpu", help="cpu, cuda, or a provider of onnxruntime (default: cpu)")
    add("--threads", type=int, metavar="N", help="threads (default: one a physical core)")


def generation_fields(options: argparse.Namespace) -> dict[str, Any]:
    """--num-beams and --max-length, if given. A given max_length replaces whatever limit the model has."""
    fields = {} if options.num_beams is None else {"num_beams": options.num_beams}
    return fields if options.max_length is None else fields | {"max_length": options.max_length, "max_new_tokens": None}


def note_if_cut_off(terminal: Terminal, model: Model, config: GenerationConfig, made: Generation) -> None:
    """Say once where a text ended by a length that nobody chose."""
    from ..generation.config import cut_off

    sentence = cut_off(config, made, model.folder.decoder.max_positions, "--max-length")
    if sentence is not None:
        terminal.note(sentence)
