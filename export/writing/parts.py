"""The graphs of a variant by part: "encoder" and "decoder"; of several sources "encoder:NAME" each, of none "decoder".

fuseline.json has those of several sources under "encoders", by source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

ENCODER, DECODER, _OF_SOURCE = "encoder", "decoder", "encoder:"
LAYOUTS = "layouts"  # the field of a variant that has its files in other layouts than fused


def part_of(source: str) -> str:
    """The encoder of one of several sources."""
    return f"{_OF_SOURCE}{source}"


def encoders_of(parts: Collection[str]) -> list[str]:
    """The parts that are encoders."""
    return [part for part in parts if part != DECODER]


def stem_of(part: str) -> str:
    """What the file of a part is called, but for the variant."""
    return f"{part.removeprefix(_OF_SOURCE)}_encoder_model" if part.startswith(_OF_SOURCE) else f"{part}_model"


def nested(parts: Mapping[str, Any]) -> dict[str, Any]:
    """As fuseline.json has it."""
    several = {part.removeprefix(_OF_SOURCE): value for part, value in parts.items() if part.startswith(_OF_SOURCE)}
    plain = {part: value for part, value in parts.items() if not part.startswith(_OF_SOURCE)}
    return {"encoders": several, **plain} if several else plain


def flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """By part, of what fuseline.json has; of a variant those of the fused layout."""
    parts = {part_of(name): value for name, value in found.get("encoders", {}).items()}
    return parts | {part: value for part, value in found.items() if part not in ("encoders", LAYOUTS)}


def all_files(variant: Mapping[str, Any]) -> list[str]:
    """The graphs of a variant in every layout, of what fuseline.json has."""
    return [file for each in (variant, *variant.get(LAYOUTS, {}).values()) for file in flat(each).values()]
