"""Inputs of a model's sources, as people have them: texts, and files of photos and sounds, by the source's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError, shown, written
from ..folders.tensors import PHOTOGRAPH, Source
from .contract import Inputs
from .images import load_image


def made_of(
    given: object, sources: Mapping[str, Source], inputs_of: Callable[[str], Inputs], apart: str
) -> dict[str, Mapping[str, Any]]:
    """{"hint": {"input_ids": int64[1, S], ...}} of {"hint": "at the station"}.

    given: by source a text, or what load_image or load_audio takes; apart: the source that is given in another way.
    Raises InputError for a source that there is not, and for what cannot be read, with the source's name.
    """
    if not isinstance(given, Mapping):
        raise InputError(f'sources must be a mapping by source, such as {{"hint": "a text"}}, not {written(given)}')
    others = [name for name in sources if name != apart]
    made = {}
    for name, value in given.items():
        if name not in others:
            has = f"it has {', '.join(others)}" if others else "it has none but what it describes"
            raise InputError(f"this model has no source {shown(name, 40)} beside; {has}")
        try:
            made[name] = inputs_of(name)([load_image(value) if sources[name].reads == PHOTOGRAPH else value])
        except InputError as error:
            raise InputError(f"source {name}: {error}") from error
    return made
