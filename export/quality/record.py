"""Writes what was measured into a folder that exists: fuseline.json's "quality", and a section of MODEL_CARD.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError

from ..folder import replace_file, update_description

BEGIN, END = "<!-- fuseline evaluate: begin -->", "<!-- fuseline evaluate: end -->"
CARD = "MODEL_CARD.md"
Quality = Mapping[str, Mapping[str, Any]]


def write_quality(folder: Path, quality: Quality) -> None:
    """By variant; what other variants have stays. Every file is whole or as it was.

    Raises ExportError if the folder cannot be written.
    """

    def change(about: dict[str, Any]) -> None:
        about["quality"] = {**about.get("quality", {}), **{name: dict(found) for name, found in quality.items()}}

    try:
        about = update_description(folder, change)
        card = folder / CARD
        text = card.read_text(encoding="utf-8") if card.exists() else f"# {folder.name}\n"
        replace_file(card, _with_section(text, about["quality"]).encode())
    except OSError as error:
        raise ExportError(f"what was measured cannot be written into {folder}: {error.strerror or error}") from error


def _with_section(card: str, quality: Quality) -> str:
    """The card with the section between its marks replaced, or with one at the end."""
    section = f"{BEGIN}\n{quality_section(quality)}{END}"
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return before + section + after
    return f"{card.rstrip()}\n\n{section}\n"


def quality_section(quality: Quality) -> str:
    """Markdown: one table for each set of conditions, variants as rows, differences to fp32 with their intervals."""
    lines = ["## Measured quality", ""]
    for conditions in dict.fromkeys(map(_conditions, quality.values())):
        of = {name: found for name, found in quality.items() if _conditions(found) == conditions}
        lines += [f"{conditions}.", "", *_table(of), ""]
    lines += ["In brackets: the difference to fp32 and its 95% interval (paired bootstrap over the photos).", ""]
    return "\n".join(lines)


def _conditions(found: Mapping[str, Any]) -> str:
    tokenizer = f", tokenizer {found['tokenizer']}" if "tokenizer" in found else ""
    return f"{found.get('dataset')}, {found.get('photos')} photos, beam {found.get('num_beams')}{tokenizer}"


def _table(quality: Quality) -> list[str]:
    names = list(dict.fromkeys(key for found in quality.values() for key in found if is_score(found, key)))
    rows = [["variant", *names]]
    rows += [[variant, *(cell(found, name) for name in names)] for variant, found in quality.items()]
    rows.insert(1, ["---"] * len(rows[0]))
    return [f"| {' | '.join(row)} |" for row in rows]


def is_score(found: Mapping[str, Any], key: str) -> bool:
    """Whether an entry of a variant's quality is a score, and no condition."""
    return isinstance(found[key], float)


def cell(found: Mapping[str, Any], name: str) -> str:
    """A score with its difference to fp32, as tables show it."""
    if name not in found:
        return ""
    less = found.get("less fp32", {}).get(name)
    apart = f" ({less['value']:+.4f}: {less['low']:+.4f} to {less['high']:+.4f})" if less else ""
    return f"{found[name]:.4f}{apart}"
