"""`python -m benchmarks profile`: where the time of one caption goes, by operator, and what Python takes of it.

onnxruntime writes down when each of its nodes began and ended, in a process whose sessions are opened with its
profiler on; around that stand our own clocks. Writing it down costs time itself, so the caption is measured without
it too, and both totals are shown. So does taking decoder layers apart, each of which is one node in the file.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import models, plots, systems
from .errors import BenchmarkError
from .photos import photos

NUM_BEAMS, RUNS, SHOWN = 4, 5, 6
PYTHON, GLUE = "Python and search", "onnxruntime around the nodes"


@dataclass(frozen=True)
class Span:
    """Something that took time, in microseconds since the caption began. lane: caption, encoder, decoder or node."""

    name: str
    lane: str
    start: float
    duration: float


@dataclass(frozen=True)
class Row:
    """One line of the table, in milliseconds."""

    name: str
    calls: int
    milliseconds: float


def profile(name: str, variant: str | None, threads: int, out: Path) -> str:
    """Write timeline.svg, trace.json (for chrome://tracing or Perfetto) and profile.md into the folder out.

    name: a model of the benchmarks, or a fuseline folder. Returns the table. Raises BenchmarkError, fuseline.Error.
    """
    folder = _folder(name, threads)
    plain = _plain(folder, variant, threads)
    spans = _profiled(folder, variant, threads)
    rows = table(spans)
    whole = spans[0].duration / 1000
    title = f"{name} {variant or ''}".strip()
    text = _markdown(title, rows, whole, plain)
    out.mkdir(parents=True, exist_ok=True)
    (out / "profile.md").write_text(text, encoding="utf-8")
    (out / "trace.json").write_text(json.dumps(chrome_trace(spans)), encoding="utf-8")
    _timeline(out / "timeline.svg", title, spans, rows)
    return f"{text}\n{out / 'timeline.svg'}, {out / 'trace.json'}"


def table(spans: Sequence[Span]) -> list[Row]:
    """What each operator took, then what onnxruntime took around them, then the rest: Python. Longest first."""
    nodes = [span for span in spans if span.lane == "node"]
    runs = sum(span.duration for span in spans if span.lane in ("encoder", "decoder"))
    inside = sum(span.duration for span in nodes)
    count = sum(span.lane in ("encoder", "decoder") for span in spans)
    rows = [
        Row(name, len(found), sum(found) / 1000)
        for name in {span.name for span in nodes}
        for found in [[span.duration for span in nodes if span.name == name]]
    ]
    rows += [Row(GLUE, count, (runs - inside) / 1000), Row(PYTHON, count, (spans[0].duration - runs) / 1000)]
    return sorted(rows, key=lambda row: -row.milliseconds)


def chrome_trace(spans: Sequence[Span]) -> dict[str, Any]:
    """The spans as Chrome's tracing format has them: complete events, one thread a lane."""
    lanes = {"caption": 1, "encoder": 2, "decoder": 2, "node": 3}
    names = {1: "caption", 2: "graphs", 3: "operators"}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": lane, "args": {"name": name}}
        for lane, name in names.items()
    ]
    events += [
        {"ph": "X", "name": span.name, "pid": 1, "tid": lanes[span.lane], "ts": span.start, "dur": span.duration}
        for span in spans
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _folder(name: str, threads: int) -> Path:
    if name not in models.MODELS:
        if not Path(name).is_dir():
            raise BenchmarkError(f"{name} is no folder, and no model of {', '.join(models.MODELS)}")
        return Path(name)
    return models.made_for(systems.specs()["fuseline-fp32"], models.MODELS[name], threads).folder


def _caption(model: Any, photo: Path) -> Callable[[], object]:
    from fuseline.inputs.images import load_image

    pixels = model.image_processor([load_image(photo)])
    length = min(16, model.folder.decoder.max_positions + 1)
    return lambda: model.generate(pixels, num_beams=NUM_BEAMS, max_length=length)


def _plain(folder: Path, variant: str | None, threads: int) -> float:
    """Milliseconds of a caption when nothing is written down, the median."""
    import fuseline

    caption = _caption(fuseline.Model.from_pretrained(folder, variant, threads=threads), photos()[0])
    found = []
    for _ in range(RUNS + 2):
        began = time.perf_counter()
        caption()
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found[2:])


def _profiled(folder: Path, variant: str | None, threads: int) -> list[Span]:
    """The spans of one caption after warm-up; the first is all of it."""
    import fuseline

    with tempfile.TemporaryDirectory() as scratch, _profiling(Path(scratch) / "run") as sessions:
        model = fuseline.Model.from_pretrained(folder, variant, threads=threads)
        caption = _caption(model, photos()[0])
        for _ in range(2):
            caption()
        began = time.time_ns()
        caption()
        ended = time.time_ns()
        spans = [Span("caption", "caption", 0.0, (ended - began) / 1000)]
        # The encoder's session is opened first, see fuseline.model.
        for lane, session in zip(("encoder", "decoder"), sessions, strict=True):
            offset = (session.get_profiling_start_time_ns() - began) / 1000
            events = json.loads(Path(session.end_profiling()).read_text())
            spans += _spans(events, lane, offset)
    return spans


def _spans(events: Sequence[dict[str, Any]], lane: str, offset: float) -> Iterator[Span]:
    """The runs and kernels that began after the caption did. offset: microseconds from its clock to ours."""
    number = 0
    for event in sorted(events, key=lambda event: event.get("ts", 0)):
        start = event.get("ts", 0) + offset
        if start < 0:
            continue
        if event["name"] == "model_run":
            yield Span(lane if lane == "encoder" else f"step {number + 1}", lane, start, event["dur"])
            number += 1
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            yield Span(event["args"].get("op_name", event["name"]), "node", start, event["dur"])


@contextmanager
def _profiling(prefix: Path) -> Iterator[list[Any]]:
    """Every session that is opened inside writes a profile; yields the list that they come into."""
    import onnx
    import onnxruntime

    from fuseline.kernels.layers import split_layers

    options, session = onnxruntime.SessionOptions, onnxruntime.InferenceSession
    opened: list[Any] = []

    def with_profile() -> Any:
        made = options()
        made.enable_profiling = True
        made.profile_file_prefix = f"{prefix}-{len(opened)}"
        return made

    def remembered(path: str, options: Any, providers: list[str], **more: Any) -> Any:
        # The operators of a decoder layer, which the file has as one node, each by itself.
        graph = split_layers(onnx.load(path, load_external_data=False))
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(Path(path).parent))
        opened.append(session(graph.SerializeToString(), options, providers, **more))
        return opened[-1]

    onnxruntime.SessionOptions, onnxruntime.InferenceSession = with_profile, remembered
    try:
        yield opened
    finally:
        onnxruntime.SessionOptions, onnxruntime.InferenceSession = options, session


def _markdown(title: str, rows: Sequence[Row], whole: float, plain: float) -> str:
    lines = [f"| {row.name} | {row.calls} | {row.milliseconds:.3f} | {row.milliseconds / whole:.1%} |" for row in rows]
    python = next(row.milliseconds for row in rows if row.name == PYTHON) / whole
    return (
        f"One caption of {title}: {whole:.2f} ms with the profiler on, {plain:.2f} ms without; Python's share "
        f"{python:.1%}.\n\n| operator | calls | ms | share |\n|---|---:|---:|---:|\n" + "\n".join(lines) + "\n"
    )


def _timeline(path: Path, title: str, spans: Sequence[Span], rows: Sequence[Row]) -> None:
    """Two lanes of bars: the graphs' runs with Python between them, and the operators in them."""
    named = [row.name for row in rows if row.name not in (PYTHON, GLUE)][:SHOWN]
    colours = {name: plots.PARTS[place] for place, name in enumerate(named)}
    others = plots.PARTS[-1]
    with plots.figure(path, 10, 2.6) as axes:
        axis = axes[0][0]
        for name in [*named, None]:
            bars = [
                (span.start / 1000, span.duration / 1000)
                for span in spans
                if span.lane == "node" and (span.name == name or (name is None and span.name not in colours))
            ]
            axis.broken_barh(bars, (0, 0.8), color=colours.get(name or "", others), label=name or "other operators")
        for lane, colour in (("encoder", plots.PARTS[3]), ("decoder", plots.PARTS[0])):
            runs = [(span.start / 1000, span.duration / 1000) for span in spans if span.lane == lane]
            axis.broken_barh(runs, (1, 0.8), color=colour, edgecolor=plots.INK, linewidth=0.4, alpha=0.6)
        axis.set_yticks([0.4, 1.4], ["operators", "encoder, steps"])
        axis.set_xlabel("ms; gaps are Python and search")
        axis.set_title(f"One caption of {title}, profiled", loc="left", fontsize=10, color=plots.INK)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
