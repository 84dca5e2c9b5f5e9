"""Inputs of a model's sources, as people have them: texts, and files of photos and sounds, by the source's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError, shown, written
from ..folders.tensors import PHOTOGRAPH, SPEECH, Source
from .contract import Inputs
from .images import load_image


def _opened(value: Any, source: Source, inputs: Inputs) -> Any:
    """A photo, samples of a sound, or what a text is. Raises InputError, for a sound of more than the encoder hears."""
    if source.reads == PHOTOGRAPH:
        return load_image(value)
    if source.reads != SPEECH:
        return value
    from .audio import SAMPLING_RATE, load_audio

    samples, hears = load_audio(value), getattr(getattr(inputs, "features", None), "samples", None)
    if hears is not None and len(samples) > hears:
        lasts, most = len(samples) / SAMPLING_RATE, hears / SAMPLING_RATE
        raise InputError(f"the sound lasts {lasts:.1f} s and the model hears {most:.0f} s of it; cut it")
    return samples


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
            made[name] = inputs_of(name)([_opened(value, sources[name], inputs_of(name))])
        except InputError as error:
            raise InputError(f"source {name}: {error}") from error
    return made
