"""What benchmarks.speech has measured, as Markdown: times, ratios, where fuseline spends them, whether texts agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuseline.export.quality.scores import edit_distance
from fuseline.export.quality.speech_scores import basic

from .machine import commit, machine

# What each of fuseline's variants is compared with, and whose texts the others' are.
_RIVALS = {"fuseline int8": "faster-whisper int8", "fuseline fp32": "faster-whisper float32"}
_REFERENCES = ("transformers fp32", "fuseline fp32")

Found = Mapping[str, Mapping[str, Any]]  # by contender, see benchmarks.speech.measured
Results = Mapping[str, Found]  # by model


def run_name(seconds: int, beams: int) -> str:
    """How a clip with a number of beams is called."""
    return f"{seconds} s, {beams} beam{'s' if beams > 1 else ''}"


def tables(results: Results) -> str:
    """All tables of some models."""
    parts = ((_times, "Times, ms"), (_ratios, "Times of fuseline over others"), (_parts, "Where fuseline's time goes"))
    sections = [(title, table(results)) for table, title in (*parts, (_agreement, "Words as the reference hears them"))]
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in sections if table)


def page(results: Results, rounds: int, long_rounds: int, threads: int) -> str:
    """docs/results/speech.md."""
    about = machine()
    return f"""# Speech to text: speed beside others

Made by `python -m benchmarks.speech --rounds {rounds} --long-rounds {long_rounds} --page docs/results/speech.md
--sounds SOUND... MODEL...` at commit {commit()}, on {about["cpu"]} ({", ".join(about["features"])}), {threads}
threads. The clips are joined of the sounds; benchmarks/README.md says where these and the checkpoints can be had. Times
are from a file to its text: one temperature, no detector of voices, nothing carried over from window to window,
timestamps only of what is longer than 30 s. Systems take turns, each in a process of its own; figures are medians.
Milliseconds are of this machine, ratios travel. The start is a new process until its first text, of the shortest clip.
The peak of memory is VmHWM, after the start and one clip of 11 s with 5 beams, and at the end of all. Real time is the
time of the longest clip over its length.

{tables(results)}
"""


def _times(results: Results) -> str:
    lines = []
    for model, found in results.items():
        runs = list(next(iter(found.values()))["runs"])
        heads = ["model", "system", *runs, "start", "peak, MB", "at the end, MB", "real time"]
        lines += [] if lines else [_row(heads), _row(["---"] * len(heads))]
        for name, each in found.items():
            times = [f"{each['runs'][run]['ms']:.0f}" for run in runs]
            memory = [f"{each[key] / 1e6:.0f}" for key in ("peak", "long peak")]
            seconds, factor = runs[-1].split()[0], each["runs"][runs[-1]]["ms"] / 1000
            lines.append(_row([model, name, *times, f"{each['start']:.0f}", *memory, f"{factor / int(seconds):.4f}"]))
    return "\n".join(lines)


def _ratios(results: Results) -> str:
    lines = []
    for model, found in results.items():
        runs = list(next(iter(found.values()))["runs"])
        heads = ["model", "fuseline over", *runs, "start", "peak"]
        lines += [] if lines else [_row(heads), _row(["---"] * len(heads))]
        for ours, theirs in [*_RIVALS.items(), ("fuseline fp32", "transformers fp32")]:
            if ours in found and theirs in found:
                one, other = found[ours], found[theirs]
                times = [one["runs"][run]["ms"] / other["runs"][run]["ms"] for run in runs]
                ratios = [*times, *(one[key] / other[key] for key in ("start", "peak"))]
                lines.append(_row([model, f"{ours} / {theirs}", *(f"{ratio:.2f}" for ratio in ratios)]))
    return "\n".join(lines) if len(lines) > 2 else ""


def _parts(results: Results) -> str:
    """Of clips of one window, whose features and encoder take the same time, whatever their length."""
    lines = []
    for model, found in results.items():
        for name, each in found.items():
            if "parts" not in each:
                continue
            before = each["parts"]["features"] + each["parts"]["encoder"]
            runs = {run: of["ms"] - before for run, of in each["runs"].items() if int(run.split()[0]) <= 30}
            heads = ["model", "variant", "features", "encoder", *(f"the rest of {run}" for run in runs)]
            lines += [] if lines else [_row(heads), _row(["---"] * len(heads))]
            figures = [each["parts"]["features"], each["parts"]["encoder"], *runs.values()]
            lines.append(_row([model, name, *(f"{figure:.1f}" for figure in figures)]))
    return "\n".join(lines)


def _agreement(results: Results) -> str:
    """Of each system the share of words that are as those of transformers, or else of fuseline's floats."""
    lines = []
    for model, found in results.items():
        reference = next((name for name in _REFERENCES if name in found), next(iter(found)))
        runs = list(found[reference]["runs"])
        heads = ["model", "system", *runs]
        lines += [] if lines else [_row(heads), _row(["---"] * len(heads))]
        for name, each in found.items():
            if name != reference:
                shares = [_same(found[reference]["runs"][run]["text"], each["runs"][run]["text"]) for run in runs]
                lines.append(_row([model, f"{name} as {reference}", *(f"{share:.2%}" for share in shares)]))
    return "\n".join(lines)


def _same(wanted: str, text: str) -> float:
    """One less the word error rate, after the plain normalisation of Whisper."""
    words, others = basic(wanted).split(), basic(text).split()
    return 1 - edit_distance(words, others) / max(len(words), 1)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
