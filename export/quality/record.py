"""Where results of an evaluation go: a folder's fuseline.json and MODEL_CARD.md, and which folders take none.

fuseline.json's "quality" holds one result a variant, by which variants are chosen, so it is of one data set: the one
that was evaluated first. Only the same photos under the same conditions change it. Every other result is an entry of
the list "evaluations", {"conditions": {...}, "variants": {...}}, one for each set of conditions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError, shown
from fuseline.files.reading import DESCRIPTION
from fuseline.packaged import is_installed
from fuseline.trials.auto import CONDITIONS

from ..writing.card import CARD
from ..writing.folder import EVALUATIONS, update_description
from ..writing.place import replace_file
from .bootstrap import signed
from .by_source import row_name

BEGIN, END = "<!-- fuseline evaluate: begin -->", "<!-- fuseline evaluate: end -->"
# What has to be equal for one result to take the place of another. A name is the user's to choose and does not count.
_CONDITIONS = tuple(name for name in CONDITIONS if name != "dataset")
SOURCES = "sources"
Quality = Mapping[str, Mapping[str, Any]]


def why_not_written(folder: Path) -> str | None:
    """Why results and variants do not go into a resolved folder; None where they can."""
    if is_installed(folder):
        return f"{folder} belongs to an installed package, which stays as it was installed; copy the folder first"
    if folder.parent.name == "snapshots":
        return f"{folder} lies in the cache of the hub, whose files are not to be changed; copy the folder first"
    if not (folder / DESCRIPTION).is_file():
        return f"{folder} has no {DESCRIPTION}, since another tool made it; export the model with fuseline"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} may not be written; copy it, or change its permissions"
    return None


def is_others(folder: Path) -> bool:
    """Whether nothing of ours is to lie beside a resolved folder either: packages, and the cache of the hub."""
    return is_installed(folder) or folder.parent.name == "snapshots"


def check_writable(folder: Path) -> None:
    """Raises ExportError where why_not_written has a reason."""
    reason = why_not_written(folder)
    if reason is not None:
        raise ExportError(reason)


def write_results(folder: Path, conditions: Mapping[str, Any], variants: Quality) -> None:
    """Record an evaluation, and show it in the model card. Each of the two files is whole or as it was.

    Raises ExportError if the folder cannot be written.
    """
    try:
        about = update_description(folder, lambda about: record(about, conditions, variants))
        update_card(folder, about)
    except OSError as error:
        raise ExportError(f"what was measured cannot be written into {folder}: {error.strerror or error}") from error


def record(about: dict[str, Any], conditions: Mapping[str, Any], variants: Quality) -> None:
    """Put an evaluation into what fuseline.json says: into "quality" or "evaluations". Other variants stay there."""
    quality = about.get("quality", {})
    replaced = [quality[name] for name in variants if name in quality]
    others: list[Any] = about[EVALUATIONS] if isinstance(about.get(EVALUATIONS), list) else []
    of_these = [each for each in others if _is_entry(each) and _same(each["conditions"], conditions)]
    others = [each for each in others if each not in of_these]
    measured = {name: found for each in of_these for name, found in each["variants"].items()}
    before = {name: found for name, found in quality.items() if _same(found, conditions)} | measured
    measured |= {name: _with_sources(found, before.get(name, {})) for name, found in variants.items()}
    if not quality or (any(_same(was, conditions) for was in quality.values()) and _all_same(replaced, conditions)):
        about["quality"] = {**quality, **{name: {**conditions, **found} for name, found in measured.items()}}
    else:
        others.append({"conditions": dict(conditions), "variants": measured})
    if others or EVALUATIONS in about:
        about[EVALUATIONS] = others


def _with_sources(found: Mapping[str, Any], was: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what was measured of each source before, where only the whole was measured again and the texts are equal."""
    same = SOURCES in was and was.get("texts_sha256") == found.get("texts_sha256")
    return {**found, SOURCES: was[SOURCES]} if same and SOURCES not in found else found


def _is_entry(each: object) -> bool:
    return isinstance(each, dict) and all(isinstance(each.get(key), dict) for key in ("conditions", "variants"))


def _all_same(results: Sequence[Mapping[str, Any]], conditions: Mapping[str, Any]) -> bool:
    return all(_same(each, conditions) for each in results)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two results are of the same photos under the same conditions. Older ones do not say their split."""
    if "dataset_sha256" not in one or any(one.get(key) != other.get(key) for key in _CONDITIONS):
        return False
    return "split" not in one or "split" not in other or one["split"] == other["split"]


def update_card(folder: Path, about: Mapping[str, Any], *, make: bool = True) -> None:
    """Bring the section of the model card up to date. make: also where there is none yet. Raises OSError.

    A card that fuseline.json lists stays, since its hash would be wrong.
    """
    card = folder / CARD
    if CARD in about["files"] or (card.exists() and not card.is_file()):
        return
    text = card.read_bytes().decode("utf-8", "surrogateescape") if card.exists() else f"# {folder.name}\n"
    if make or BEGIN in text:
        replace_file(card, _with_section(text, about).encode("utf-8", "surrogateescape"))


def _with_section(card: str, about: Mapping[str, Any]) -> str:
    """The card with the section between its marks replaced, or with one at the end."""
    section = f"{BEGIN}\n{quality_section(about['quality'], about.get(EVALUATIONS, ()))}{END}"
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return before + section + after
    return f"{card.rstrip()}\n\n{section}\n"


def quality_section(quality: Quality, evaluations: Sequence[Any] = ()) -> str:
    """Markdown: one table for each set of conditions, variants as rows, differences to fp32 with their intervals."""
    lines = ["## Measured quality", ""]
    for conditions in dict.fromkeys(map(_conditions, quality.values())):
        of = {name: found for name, found in quality.items() if _conditions(found) == conditions}
        lines += [f"{conditions}.", "", *_table(of), ""]
    others = [each for each in evaluations if _is_entry(each) and each["variants"]]
    lines += ["### On other data", ""] if others else []
    for each in others:
        lines += [f"{_conditions(each['conditions'])}.", "", *_table(each["variants"]), ""]
    every = [*quality.values(), *(each["conditions"] for each in others)]
    over = next((kind_of(found) for found in every if kind_of(found) != "photos"), "photos")
    own = any("interval" in found for found in quality.values())
    after = "After a comma: the 95% interval of the score itself. " if own else ""
    in_brackets = f"In brackets: the difference to fp32 and its 95% interval (paired bootstrap over the {over})."
    whole = "Where a source is left out, or is that of others, the difference is to the same variant with its own."
    measured = [*quality.values(), *(found for each in others for found in each["variants"].values())]
    rest = f" {whole}" if any(SOURCES in found for found in measured) else ""
    lines += [f"{after}{in_brackets}{rest}", ""]
    return "\n".join(lines)


def kind_of(found: Mapping[str, Any]) -> str:
    """What the data set of a result is of: inputs of several sources, clips, texts or photos."""
    return next((kind for kind in ("inputs", "clips", "texts") if kind in found), "photos")


def _conditions(found: Mapping[str, Any]) -> str:
    kind = kind_of(found)
    counts = [f"{found.get(kind)} {kind}", *([f"{found['words']} words"] if "words" in found else [])]
    said = [f"{name} {shown(found[name])}" for name in ("from", "to", "tokenizer") if name in found]
    said += ["long texts cut"] if found.get("truncated") else []
    said += [f"{name.split()[0]} {shown(found[name])}" for name in found if name.endswith(" signature")]
    parts = [shown(found.get("dataset")), *counts, f"beam {found.get('num_beams')}", *said]
    return ", ".join(parts).replace("<", "&lt;")  # no mark of ours in a name


def _table(quality: Quality) -> list[str]:
    names = list(dict.fromkeys(key for found in quality.values() for key in found if is_score(found, key)))
    rows = [["variant", *names]]
    for variant, found in quality.items():
        rows.append([variant, *(cell(found, name) for name in names)])
        for source, of in found.get(SOURCES, {}).items():
            for how, each in of.items():
                rows.append([row_name(variant, source, how), *(cell(each, name) for name in names)])
    rows.insert(1, ["---"] * len(rows[0]))
    return [f"| {' | '.join(row)} |" for row in rows]


def is_score(found: Mapping[str, Any], key: str) -> bool:
    """Whether an entry of a variant's quality is a score, and no condition."""
    return isinstance(found[key], float)


def cell(found: Mapping[str, Any], name: str) -> str:
    """A score, with its own interval where there is one, and with its difference to fp32, as tables show it."""
    if name not in found:
        return ""
    own, less, whole = (found.get(key, {}).get(name) for key in ("interval", "less fp32", "less whole"))
    less = less or whole
    within = f", {own['low']:.4f} to {own['high']:.4f}" if own else ""
    apart = f" ({signed(less['value'])}: {signed(less['low'])} to {signed(less['high'])})" if less else ""
    return f"{found[name]:.4f}{within}{apart}"
