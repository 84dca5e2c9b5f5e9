"""What commands that run a model have in common: its options, those of generation, and a note about cut-off texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError, written

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
    """Add --variant, --device and what belongs to it, and --threads. add: of an argparse parser."""
    add(
        "--variant",
        default="auto",
        metavar="NAME",
        help="as `fuseline info` lists them (default: the fastest good one)",
    )
    add(
        "--device",
        default="cpu",
        help="as `fuseline devices` lists them, auto for the fastest, or encoder=NAME,decoder=NAME (default: cpu)",
    )
    add(
        "--device-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what the device's provider is told; may be given several times",
    )
    add("--fallback", choices=["cpu"], help="use the CPU where the device is not to be had or fails")
    add("--threads", type=int, metavar="N", help="threads (default: one a physical core)")


def opening_fields(options: argparse.Namespace) -> dict[str, Any]:
    """What these options say, as Model.from_pretrained takes it. Raises InputError."""
    told = {}
    for given in options.device_option:
        name, equals, value = given.partition("=")
        if not name or not equals:
            raise InputError(f"--device-option must be KEY=VALUE, not {written(given)}")
        told[name] = value
    device: str | dict[str, str] = options.device
    if "=" in options.device:
        device = {part: name for part, _, name in (each.partition("=") for each in options.device.split(","))}
    by_part = dict.fromkeys(device, told) if isinstance(device, dict) and told else told or None
    fields = {"variant": options.variant, "device": device, "threads": options.threads}
    return fields | {"device_options": by_part, "fallback": options.fallback}


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
