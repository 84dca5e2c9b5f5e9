"""`python -m benchmarks report`: the results of a run as docs/results/speed.md, with its plots and its raw lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import plots, systems
from .errors import BenchmarkError
from .models import MODELS, Model
from .records import Record, median, pick

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
_README_SYSTEMS = 8
_NOT_SAID = """\
- The weights of all models but the captioner that ships are random, so these figures say nothing of quality. Only sizes
  and shapes count for speed, and the tokens are compared all the same.
- With random weights two words are often nearly as likely, and one that falls otherwise changes all that follow. So the
  share of equal tokens of 8-bit and 16-bit systems is a lower bound of what trained weights would show.
- All captions here have the same number of tokens, but for the captioner that ships, which ends its own.
- A machine with other instructions, more cores or another memory gives other ratios. `python -m benchmarks run`
  measures yours."""


def write(records: Sequence[Record], folder: Path) -> Path:
    """speed.md, its pictures and speed.jsonl in the folder. Returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("speed-*.svg"):
        old.unlink()
    page = folder / "speed.md"
    page.write_text(_page(records, folder), encoding="utf-8")
    raw = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "speed.jsonl").write_text(raw, encoding="utf-8")
    return page


def into_readme(records: Sequence[Record], readme: Path, folder: Path) -> None:
    """Put the main table and plot between the marks in the README. Raises BenchmarkError where there are none."""
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchmarkError(f"{readme} has no place for the table; put the lines {BEGIN} and {END} there")
    readme.write_text(f"{before}{BEGIN}\n{_readme(records, folder, readme.parent)}\n{END}{after}", encoding="utf-8")


def _page(records: Sequence[Record], folder: Path) -> str:
    parts = ["# Speed, memory and size beside other engines", _head(records), _noise(records)]
    for model in _models(records):
        parts += _model(records, model, folder)
    parts += ["## The machine's floors", _floors(records), "## What the numbers do not say", _NOT_SAID]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(records: Sequence[Record]) -> str:
    machine = records[0]["machine"]
    runs = {record["run"]: record for record in records}.values()
    made = " and ".join(dict.fromkeys(f"{run['time'][:10]} at commit {run['commit']}" for run in runs))
    cpu = f"{machine['cores']} cores of {machine['cpu']} ({', '.join(machine['features']) or 'no vector features'})"
    where = ", in a virtual machine" if machine.get("hypervisor") else ""
    threads = next((record["conditions"]["threads"] for record in pick(records, metric="caption")), 1)
    return (
        f"Made by `python -m benchmarks report` of the last run of each model, of {made}, on {cpu}"
        f"{where}, {machine['memory_bytes'] / 1e9:.0f} GB of memory, governor {machine['governor']}, load "
        f"{machine.get('load', 0)} when the first began. {threads} threads, beam 4, one photo. Every system runs in "
        "its own process, and they take turns; what stands here are medians. The raw values are in "
        "[speed.jsonl](speed.jsonl), and [benchmarks/README.md](../../benchmarks/README.md) says how to read them."
    )


def _noise(records: Sequence[Record]) -> str:
    found = pick(records, metric="same_again")
    said = ", ".join(f"{record['median']:.1%} ({record['system']}, {record['model']})" for record in found)
    return (
        f"The same system twice, as two processes in turns, differs by {said}: no smaller difference means anything."
        * bool(found)
    )


def _model(records: Sequence[Record], model: Model, folder: Path) -> list[str]:
    """The section of one model."""
    rows = _measured(records, model)
    parts = [f"## {model.title}", _agreed(records, model), _heats(records, model)]
    if rows:
        drawn = [_bar(record) for record in rows]
        name = f"speed-{model.name}.svg"
        plots.bars(folder / name, f"{model.name}: one caption", drawn)
        parts += [f"![One caption of {model.name}]({name})", _table(rows, _main_columns(records, model))]
        others = _table(rows, _other_columns(records, model))
        parts += [others] if others.count("|---") > 1 else []
    panels = _panels(records, model)
    if panels:
        name = f"speed-{model.name}-scaling.svg"
        plots.lines(folder / name, panels, "ms a caption; photos a second in batches")
        parts += [f"![{model.name} over batches, beams, lengths, threads]({name})"]
    parts += [_refusals(records, model)]
    return parts


def _agreed(records: Sequence[Record], model: Model) -> str:
    quick = any(record.get("quick") for record in pick(records, model=model.name))
    return (
        f"{'A quick run: few turns. ' * quick}At most {model.max_length} tokens. *Equal* is the share of tokens that "
        f"are those of {model.reference}; a system with float32 weights that has another one is marked wrong."
    )


def _heats(records: Sequence[Record], model: Model) -> str:
    """What is said of a model whose systems did not fit the memory together."""
    count = max((record["conditions"].get("heat", 1) for record in pick(records, model=model.name)), default=1)
    if count == 1:
        return ""
    wanted = {"system": model.reference, "model": model.name, "metric": "caption"}
    anchor = [median(records, **wanted, heat=heat) for heat in range(1, count + 1)]
    said = ", ".join(f"{value:,.0f}" for value in anchor if value)
    return (
        f"The systems do not fit this machine's memory together and ran in {count} heats, {model.reference} in each"
        f"{f' (caption: {said} ms)' * bool(said)}; *times as fast* compares two figures of one heat."
    )


Column = tuple[str, Callable[[Record], str]]


def _main_columns(records: Sequence[Record], model: Model) -> list[Column]:
    def times_as_fast(record: Record) -> str:
        # The conditions name the heat, so both captions are of one.
        wanted = {"model": model.name, "metric": "caption", **record["conditions"]}
        base = median(records, system=model.reference, **wanted)
        return f"{base / record['median']:.2f}" if base else ""

    def value(record: Record, metric: str) -> float | None:
        return median(records, system=record["system"], model=model.name, metric=metric)

    def of_step(record: Record, metric: str) -> float | None:
        # Two tokens took longer than all where each length is compiled anew, and that says nothing of steps.
        return value(record, metric) if (value(record, "step") or 0) > 0 else None

    def over_floor(record: Record) -> str:
        step, floor = of_step(record, "step"), step_floor(records, model, record["system"])
        return f"{step / floor:.1f}" if step and floor else ""

    return [
        ("system", lambda record: record["system"] + (" (wrong tokens)" if record["status"] == "wrong" else "")),
        ("caption, ms", lambda record: f"**{_number(record['median'])}**"),
        ("p95", lambda record: _number(record["p95"])),
        ("times as fast", times_as_fast),
        ("encoder", lambda record: _number(value(record, "encoder"))),
        ("first step", lambda record: _number(of_step(record, "first_step"))),
        ("step", lambda record: _number(of_step(record, "step"))),
        ("step / floor", over_floor),
        ("equal", lambda record: _share(value(record, "agreement"))),
        ("start, s", lambda record: _number(_scaled(value(record, "start"), 1e-3))),
        ("peak, MB", lambda record: _number(_scaled(value(record, "peak_memory"), 1e-6))),
        ("installed, MB", lambda record: _number(_scaled(value(record, "installed_size"), 1e-6))),
        ("folder, MB", lambda record: _number(_scaled(value(record, "folder_size"), 1e-6))),
    ]


def _other_columns(records: Sequence[Record], model: Model) -> list[Column]:
    def column(title: str, metric: str, scale: float = 1.0) -> Column:
        def cell(record: Record) -> str:
            return _number(_scaled(median(records, system=record["system"], model=model.name, metric=metric), scale))

        return title, cell

    return [
        ("system", lambda record: record["system"]),
        column("import, s", "start_import", 1e-3),
        column("open, s", "start_open", 1e-3),
        column("first caption, s", "start_first", 1e-3),
        column("photo, ms", "photo"),
        column("files mapped, MB", "mapped_memory", 1e-6),
        column("CPU in the second after, ms", "rest_cpu"),
        column("search, % of a caption", "search_share", 100),
        column("export, s", "export_time", 1e-3),
        column("export peak, MB", "export_memory", 1e-6),
    ]


def step_floor(records: Sequence[Record], model: Model, system: str) -> float | None:
    """Milliseconds to read the weights of one step once, in the precision of the system."""
    spec = systems.specs().get(system)
    weights = median(records, system="machine", model=model.name, metric="step_weights")
    if spec is None or weights is None:
        return None
    size = weights * systems.WEIGHT_BYTES[spec.precision]
    for read in pick(records, system="machine", model=model.name, metric="read_bandwidth"):
        if abs(read["conditions"]["bytes"] / size - 1) < 1e-4:  # recorded numbers have six digits
            return float(1000 * size / read["median"])
    return None


def encoder_floor(records: Sequence[Record], model: Model) -> float | None:
    """Milliseconds of the encoder's multiply-adds at the machine's peak in float32."""
    work = median(records, system="machine", model=model.name, metric="encoder_multiply_adds")
    peaks = [record["median"] for record in pick(records, system="machine", metric="multiply_adds")]
    return 1000 * work / max(peaks) if work and peaks else None


def _floors(records: Sequence[Record]) -> str:
    lines = ["| what | threads | measured |", "|---|---|---|"]
    names = {"read_bandwidth": "reading 1 GiB", "multiply_adds": "float32 multiply-adds"}
    names["dot_multiply_adds"] = "8-bit multiply-adds (VNNI)"
    for metric, name in names.items():
        for record in pick(records, system="machine", model="", metric=metric):
            lines.append(f"| {name} | {record['conditions']['threads']} | {record['median'] / 1e9:.3g} G a second |")
    for model in _models(records):
        if (encoder := encoder_floor(records, model)) is not None:
            lines.append(f"| {model.name}: the encoder's multiply-adds at the float32 peak | all | {encoder:.3g} ms |")
        for precision, example in {"fp32": "fuseline-fp32", "int8": "fuseline-int8", "int4": "fuseline-int4"}.items():
            if (floor := step_floor(records, model, example)) is not None:
                lines.append(f"| {model.name}: reading the {precision} weights of a step | all | {floor:.3g} ms |")
    return "\n".join(lines)


def _refusals(records: Sequence[Record], model: Model) -> str:
    found: dict[str, list[str]] = {}
    for record in pick(records, model=model.name, status="refused"):
        found.setdefault(record["reason"].replace("|", "/"), []).append(record["system"])
    lines = [f"| {', '.join(dict.fromkeys(those))} | {reason} |" for reason, those in found.items()]
    head = "What could not be measured, and why:\n\n| systems | reason |\n|---|---|\n"
    return head + "\n".join(lines) if lines else ""


def _panels(records: Sequence[Record], model: Model) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """What grows with what. A panel's lines keep the conditions of the main table but for the one that varies."""
    captions = [record for record in pick(records, model=model.name, metric="caption") if record["values"]]
    main = _main_captions(records, model)
    if not main:
        return {}
    usual = main[0]["conditions"]
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    batches: dict[str, list[tuple[float, float]]] = {}
    for record in pick(records, model=model.name, metric="throughput"):
        batches.setdefault(record["system"], []).append((record["conditions"]["photos"], record["median"]))
    if batches:
        panels["photos a second, by batch"] = batches
    for name, title in {"num_beams": "ms by beams", "max_length": "ms by tokens", "threads": "ms by threads"}.items():
        found: dict[str, dict[float, float]] = {}
        for record in captions:
            others = {key: value for key, value in record["conditions"].items() if key not in (name, "heat")}
            if all(usual[key] == value for key, value in others.items()):
                points = found.setdefault(record["system"], {})
                points.setdefault(record["conditions"][name], record["median"])  # of several heats, the first
        lines = {system: list(points.items()) for system, points in found.items() if len(points) > 1}
        if lines:
            panels[title] = lines
    return panels


def _readme(records: Sequence[Record], folder: Path, root: Path) -> str:
    """The fastest systems of every main model, and where the rest is."""
    parts = []
    place = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.as_posix()
    for model in [model for model in _models(records) if model.quick]:
        rows = [record for record in _measured(records, model) if record["status"] == "ok"]
        ours = [record for record in rows if record["system"].startswith("fuseline")]
        base = [record for record in rows if record["system"] == model.reference]
        kept = ours + base + [record for record in rows if record not in ours + base]
        kept = sorted(kept[:_README_SYSTEMS], key=lambda record: record["median"])
        wanted = ("system", "caption, ms", "times as fast", "encoder", "step", "start, s", "peak, MB", "installed, MB")
        columns = [column for column in _main_columns(records, model) if column[0] in wanted]
        parts += [f"{model.title}:", _table(kept, columns)]
        parts += [f"![One caption of {model.name}]({place}/speed-{model.name}.svg)"] if not model.shipped else []
    return "\n\n".join([*parts, f"[All of it, and what these numbers do not say]({place}/speed.md)"])


def _measured(records: Sequence[Record], model: Model) -> list[Record]:
    """The rows of the main table, fastest first, wrong ones last."""
    rows = [record for record in _main_captions(records, model) if record["values"]]
    return sorted(rows, key=lambda record: (record["status"] == "wrong", record["median"]))


def _main_captions(records: Sequence[Record], model: Model) -> list[Record]:
    """One record a system: the first caption measured is that of the main conditions."""
    found: dict[str, Record] = {}
    for record in pick(records, model=model.name, metric="caption"):
        found.setdefault(record["system"], record)
    return [record for record in found.values() if record["values"]]


def _models(records: Sequence[Record]) -> list[Model]:
    named = {record["model"] for record in records}
    return [model for model in MODELS.values() if model.name in named]


def _bar(record: Record) -> tuple[str, float, float, str]:
    return record["system"], record["median"], record["p95"], record["status"]


def _table(rows: Sequence[Record], columns: Sequence[Column]) -> str:
    """Columns that are empty in every row are left out."""
    cells = [[cell(record) for _, cell in columns] for record in rows]
    kept = [place for place in range(len(columns)) if any(row[place] for row in cells)]
    head = "| " + " | ".join(columns[place][0] for place in kept) + " |"
    body = ["| " + " | ".join(row[place] for place in kept) + " |" for row in cells]
    return "\n".join([head, "|---" + "|---:" * (len(kept) - 1) + "|", *body])


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.2f}"


def _share(value: Any) -> str:
    return "" if value is None else "all" if value == 1 else f"{value:.0%}" if value < 0.995 else "over 99%"
