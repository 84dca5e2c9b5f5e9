"""What commands that run a model have in common: its options, those of generation, and a note about cut-off texts."""

from __future__ import annotations

import argparse
import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown, written

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
    add_device_option(add)
    add("--fallback", choices=["cpu"], help="use the CPU where the device is not to be had or fails")
    add("--threads", type=int, metavar="N", help="threads (default: one a physical core)")


def add_device_option(add: Callable[..., Any]) -> None:
    """Add --device-option. add: of an argparse parser."""
    add(
        "--device-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what the device's provider is told; may be given several times",
    )


def option_fields(given: Sequence[str]) -> dict[str, str]:
    """What every --device-option says, by name. Raises InputError."""
    told = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise InputError(f"--device-option must be KEY=VALUE, not {written(each)}")
        told[name] = value
    return told


def opening_fields(options: argparse.Namespace) -> dict[str, Any]:
    """What these options say, as Model.from_pretrained takes it. Raises InputError."""
    told = option_fields(options.device_option)
    device: str | dict[str, str] = options.device
    if "=" in options.device:
        device = {}
        for part, _, name in (each.partition("=") for each in options.device.split(",")):
            if part in device:
                raise InputError(f"--device names {shown(part)} twice; give encoder=NAME,decoder=NAME")
            device[part] = name
    by_part: dict[str, Any] | None = told or None
    if told and isinstance(device, dict):  # of the part that has a provider to tell them
        others = [part for part, name in device.items() if not name.lower().startswith("cpu")]
        by_part = dict.fromkeys(others or device, told)
    fields = {"variant": options.variant, "device": device, "threads": options.threads}
    return fields | {"device_options": by_part, "fallback": options.fallback}


def opened_model(folder: str, options: argparse.Namespace, **fields: Any) -> Model:
    """The model where these options say. Raises as Model.from_pretrained does."""
    from ..model import Model

    with _output_kept() if options.device != "cpu" else nullcontext():
        return Model.from_pretrained(folder, **opening_fields(options), **fields)


@contextmanager
def _output_kept() -> Iterator[None]:
    """What a provider's libraries print while they start, as QNN's do, goes to standard error: of standard output every
    line is the command's."""
    try:
        os.fstat(2)
        before = os.dup(1)
    except OSError:  # one of them is closed
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        with suppress(OSError, AttributeError, TypeError):  # what C writes is kept until there is a lot; not on Windows
            ctypes.CDLL(None).fflush(None)
        os.dup2(before, 1)
        os.close(before)


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
