"""What the description says of an input that is read, beside its type: its shapes where several are good, and limits.

What the graphs refuse is said here in words; those of options are in options.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuseline.inputs.audio import SAMPLING_RATE
from fuseline.inputs.framing import Frame

from .samples import LENGTHS, SAMPLES, WHOLE
from .sources import IMAGE, SOURCE_WEIGHTS, Reader
from .speech import samples_of_a_clip


def said_of(readers: Mapping[str, Reader]) -> dict[str, dict[str, Any]]:
    """`shapes`, of which one is to be taken, and `limits`, by the inputs' names."""
    found: dict[str, dict[str, Any]] = {}
    for reader in readers.values():
        if reader.input == IMAGE:
            frame = None if reader.processor is None else reader.processor.frame
            found[IMAGE] = {"shapes": _alone_or_some("height", "width", 3), "limits": _of_photos(frame)}
        elif reader.input == SAMPLES:
            found[SAMPLES] = {"shapes": _alone_or_some("samples"), "limits": _of_clips(reader)}
            every = f"from 1 to as many {SAMPLES} as there are, or {WHOLE} for all of them"
            found[LENGTHS] = {"limits": f"{every}; one, or one for each clip"}
        else:
            found[reader.input] = {"limits": _of_tokens(reader)}
    if len(readers) > 1:
        one_each = ", ".join(reader.input for reader in readers.values())
        rule = "finite, 0 or more, and above 0 for a source that is there"
        found[SOURCE_WEIGHTS] = {"limits": f"{rule}; one for each source: {one_each}"}
    return found


def _alone_or_some(*shape: str | int) -> list[list[str | int]]:
    return [[*shape], ["B", *shape]]


def _of_photos(frame: Frame | None) -> str:
    any_size = "0 to 255, red, green and blue, upright; height and width at least 1; photos of one call have one size"
    if frame is None:
        return any_size
    one = "; one photo at a time" if frame.bare else ""
    if frame.scale or frame.shrink:
        return f"{any_size}{one}; one that is too elongated for the model's frame is refused"
    return f"{any_size}{one}; no larger than {frame.width} x {frame.height}"


def _of_clips(reader: Reader) -> str:
    assert reader.features is not None  # since it reads speech
    least, most = samples_of_a_clip(reader.features, reader.source)
    bound = "" if most is None else f", at most {most}, which are {most / SAMPLING_RATE:g} s"
    return f"{SAMPLING_RATE} a second, one channel, finite, from -1 to 1; a clip has at least {least}{bound}"


def _of_tokens(reader: Reader) -> str:
    source = reader.source
    inside = "tokens" if source.vocab_size is None else f"tokens from 0 to {source.vocab_size - 1}"
    most = "" if source.longest is None else f", at most {source.longest} of a text"
    filled = "" if reader.pad is None else f"; {reader.pad} behind a text that is shorter than others"
    return f"{inside}{most}{filled}"
