"""Inputs of a model's sources, as people have them: texts, and files of photos and sounds, by the source's name."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError, shown, written
from ..folders.tensors import PHOTOGRAPH, SPEECH, TEXT, Source
from .contract import Inputs
from .images import load_image
from .open import TextInputs

HINT = "hint"  # the source of a few words about a photo, which commands and pipelines have an option for


def made_of(
    given: object, sources: Mapping[str, Source], inputs_of: Callable[[str], Inputs], apart: str
) -> dict[str, Mapping[str, Any]]:
    """{"hint": {"input_ids": int64[1, S], ...}} of {"hint": "at the station"}.

    given: by source a text, or what load_image or load_audio takes; None, or a text of nothing that can be seen, is
    left out, and a hint is made tidy. apart: the source that is given in another way. Raises InputError for a source
    that there is not, and for what cannot be read, with the source's name.
    """
    if not isinstance(given, Mapping):
        raise InputError(f'sources must be a mapping by source, such as {{"hint": "a text"}}, not {written(given)}')
    others = [name for name in sources if name != apart]
    made = {}
    for name, value in given.items():
        if name not in others:
            has = f"it has {', '.join(others)}" if others else "it has none but what it describes"
            raise InputError(f"this model has no source {shown(name, 40)} beside; {has}")
        if value is None or (sources[name].reads == TEXT and isinstance(value, str) and is_blank(value)):
            continue
        try:
            made[name] = _made(value, sources[name], inputs_of(name))
        except InputError as error:
            raise InputError(f"source {name}: {error}") from error
    return made


def _made(value: Any, source: Source, inputs: Inputs) -> Mapping[str, Any]:
    """What one photo, text or sound is for its encoder, B = 1. Raises InputError."""
    if source.reads != TEXT:
        return inputs([_opened(value, source, inputs)])
    if not isinstance(value, str):
        raise InputError(f"it reads a text, not {written(value)}")
    value = tidy(value) if source.name == HINT else value
    made = inputs([value], names=["it"], max_length=_ANY_LENGTH)
    if isinstance(inputs, TextInputs) and inputs.longest is not None:
        around, count = inputs.tokenizer.around, next(iter(made.values())).shape[1]
        if count > inputs.longest:
            from .texts import too_many  # which takes time to be imported, and photos need it not

            raise InputError(f"{too_many('it', count - around, around, inputs.longest)}; give a shorter text")
    return made


_ANY_LENGTH = 1 << 40


def _opened(value: Any, source: Source, inputs: Inputs) -> Any:
    """A photo, or samples of a sound. Raises InputError, for a sound of more than the encoder hears too."""
    if source.reads == PHOTOGRAPH:
        return load_image(value)
    from .audio import SAMPLING_RATE, load_audio

    samples, hears = load_audio(value), getattr(getattr(inputs, "features", None), "samples", None)
    if hears is not None and len(samples) > hears:
        lasts, most = len(samples) / SAMPLING_RATE, hears / SAMPLING_RATE
        raise InputError(f"the sound lasts {lasts:.1f} s and the model hears {most:.0f} s of it; cut it")
    return samples


def is_blank(text: str) -> bool:
    """Whether there is nothing in a text that can be seen: spaces, control characters, marks without a width."""
    return all(each.isspace() or unicodedata.category(each) in ("Cc", "Cf") for each in text)


def tidy(hint: object) -> str | None:
    """A hint as the model reads it: single spaces, and letters that are one character where they can be (NFC), since
    some systems write an accent apart. None for None and for a blank one. Raises InputError for what is no text."""
    if hint is None:
        return None
    if not isinstance(hint, str):
        raise InputError(f"a hint must be a text, or None where there is none, not {written(hint)}")
    return None if is_blank(hint) else " ".join(unicodedata.normalize("NFC", hint).split())


def check_takes_hint(sources: Mapping[str, Source], apart: str) -> None:
    """Raise InputError for a model without a source of texts called hint. apart: the source that it is about."""
    if HINT in sources and sources[HINT].reads == TEXT and apart != HINT:
        return
    kinds = {PHOTOGRAPH: "photos", SPEECH: "speech", TEXT: "texts"}
    has = ", ".join(f"{name} ({kinds[source.reads]})" for name, source in sources.items()) or "none"
    what = "source" if len(sources) == 1 else "sources"
    raise InputError(f"this model takes no hint: it has no source of texts called {HINT}; its {what}: {has}")
