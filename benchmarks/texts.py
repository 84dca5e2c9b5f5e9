"""Text to text beside transformers, CTranslate2 and optimum-onnx: `python -m benchmarks.texts [MODEL ...]`.

Of each model one text of 25 tokens with 4 beams, and a batch of 32 texts of 5 to 60 tokens, sorted; 25 tokens are said.
All systems take turns, each in a process of its own that is stopped while others work, after a warm-up; figures are
medians. The start is that of a new process until its first text. The floor is the time of reading a step's weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import environments
from .client import Worker
from .machine import Floors, commit, machine
from .text_checkpoints import MODELS, SEED, build

BEAMS, TOKENS, NEW, BATCH = 4, 25, 25, 32
ROUNDS, WARM_UP = 9, 2


@dataclass(frozen=True)
class Contender:
    """A system with one of its variants; requirements: of the environment it runs in, None for this one."""

    system: str
    variant: str
    requirements: str | None = None

    @property
    def name(self) -> str:
        return f"{self.system} {self.variant}"


CONTENDERS = (
    Contender("fuseline", "int8"),
    Contender("fuseline", "fp32"),
    Contender("transformers", "fp32"),
    Contender("ctranslate2", "int8", "ctranslate2"),
    Contender("ctranslate2", "float32", "ctranslate2"),
    Contender("optimum", "fp32", "optimum-onnx"),
)


def texts_of(vocab_size: int) -> tuple[list[list[int]], list[list[int]]]:
    """One text of TOKENS tokens, and BATCH of other lengths, the longest first; each ends with its end token."""
    random = np.random.default_rng(SEED)
    lengths = sorted(random.integers(5, 61, BATCH).tolist(), reverse=True)
    one, *batch = ([*random.integers(3, vocab_size - 1, length - 1).tolist(), 1] for length in (TOKENS, *lengths))
    return [one], batch


def prepared(model: str) -> Path:
    """The cache's folder of a model, with its checkpoint, and what each system makes of it."""
    home = environments.cache() / "texts" / model
    if not (home / "checkpoint" / "config.json").is_file():
        build(model, home / "checkpoint")
    if not (home / "fuseline" / "fuseline.json").is_file():
        from fuseline.export import export

        export(home / "checkpoint", home / "fuseline", ["int8", "fp32"])
    for each in CONTENDERS:
        if each.requirements is None or folder_of(home, each).is_dir():
            continue
        with _process(each) as process:
            process.ask("export", 3600, checkpoint=str(home / "checkpoint"), out=str(folder_of(home, each)),
                        variant=each.variant)  # fmt: skip
    return home


def folder_of(home: Path, each: Contender) -> Path:
    """Where the system reads the model."""
    if each.system == "transformers":
        return home / "checkpoint"
    return home / "fuseline" if each.system == "fuseline" else home / f"{each.system}-{each.variant}"


def _process(each: Contender) -> Worker:
    python = Path(sys.executable)
    if each.requirements is not None:
        here = Path(__file__).parent / "systems" / f"{each.requirements}.txt"
        python = environments.environment(here) / "bin" / "python"
    return Worker(python, each.system, {}, _THREADS, module="benchmarks.text_systems")


_THREADS = 2


def measured(model: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of one text, words a second of the batch, the start, by contender."""
    home = prepared(model)
    vocab_size = json.loads((home / "checkpoint" / "config.json").read_text())["vocab_size"]
    one, batch = texts_of(vocab_size)
    found: dict[str, dict[str, Any]] = {each.name: {"start": [], "one": [], "batch": []} for each in CONTENDERS}
    processes: dict[str, Worker] = {}
    for each in CONTENDERS:
        for _ in range(3):
            if each.name in processes:
                processes[each.name].close()
            process = processes[each.name] = _process(each)
            process.ask("open", folder=str(folder_of(home, each)), variant=each.variant, threads=_THREADS)
            found[each.name]["first"] = process.ask("say", texts=one, beams=BEAMS, new=NEW)["said"][0]
            found[each.name]["start"].append(process.seconds_since_start() * 1000)
    for turn in range(WARM_UP + rounds):
        for name, process in processes.items():
            for what, texts in (("one", one), ("batch", batch)):
                ms = process.ask("say", texts=texts, beams=BEAMS, new=NEW)["ms"]
                if turn >= WARM_UP:
                    found[name][what].append(ms)
    for process in processes.values():
        process.close()
    return {name: _summary(each) for name, each in found.items()}


def _summary(found: Mapping[str, Any]) -> dict[str, Any]:
    one, batch, start = (statistics.median(found[name]) for name in ("one", "batch", "start"))
    return {"one_ms": one, "batch_ms": batch, "words_a_second": BATCH * NEW / batch * 1000, "start_ms": start,
            "first": found["first"]}  # fmt: skip


def step_over_floor(home: Path) -> dict[str, float]:
    """Of each variant: a decoder step with BEAMS beams over the time that reading its weights takes."""
    from fuseline import Model

    floors, ratios = Floors(), {}
    one, _ = texts_of(json.loads((home / "checkpoint" / "config.json").read_text())["vocab_size"])
    for variant in ("int8", "fp32"):
        model = Model.from_pretrained(home / "fuseline", variant, threads=_THREADS)
        encoded = model.encode(np.array(one))
        times = []
        for _ in range(ROUNDS):
            made = model.generate(encoded, num_beams=BEAMS, max_new_tokens=NEW, min_new_tokens=NEW)
            times.append(made.timings.decoder / made.timings.steps)
        size = model.folder.bytes_of(model.folder.variants[variant].decoder)
        ratios[variant] = statistics.median(times) / (size / floors.read(size, _THREADS) * 1000)
        model.close()
    return ratios


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| model | system | one text, ms | batch, words a second | start to first text, ms |",
        "|---" * 5 + "|",
    ]
    for model, systems in results.items():
        for name, found in systems["systems"].items():
            figures = f"{found['one_ms']:.1f} | {found['words_a_second']:.0f} | {found['start_ms']:.0f}"
            lines.append(f"| {model} | {name} | {figures} |")
        over = ", ".join(f"{variant} {ratio:.2f}" for variant, ratio in systems["step_over_floor"].items())
        lines.append(f"| {model} | a step over reading its weights | {over} | | |")
    return "\n".join(lines)


def page(results: Mapping[str, Mapping[str, Any]], rounds: int) -> str:
    """docs/results/texts.md."""
    about = machine()
    return f"""# Text to text: speed beside others

Made by `python -m benchmarks.texts --rounds {rounds} --page docs/results/texts.md` at commit {commit()}, on
{about["cpu"]} ({", ".join(about["features"])}), {_THREADS} threads. Checkpoints have the sizes that are published and
random weights; each system exports or converts them by its own means. One text is of {TOKENS} tokens, the batch of
{BATCH} texts of 5 to 60; {NEW} tokens are said with {BEAMS} beams. Systems take turns, each in a process of its own;
figures are medians. Milliseconds are of this machine, ratios travel. The start is a new process until its first text.

{table(results)}

{ratios(results)}
"""


def ratios(results: Mapping[str, Mapping[str, Any]]) -> str:
    """How many times as fast fuseline int8 is, as Markdown."""
    lines = ["| fuseline int8, times as fast as | one text | batch | start |", "|---" * 4 + "|"]
    for model, found in results.items():
        ours = found["systems"][CONTENDERS[0].name]
        for name, theirs in found["systems"].items():
            if not name.startswith("fuseline"):
                each = (theirs[key] / ours[key] for key in ("one_ms", "batch_ms", "start_ms"))
                lines.append(f"| {model}: {name} | " + " | ".join(f"{ratio:.2f}" for ratio in each) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="turns of each system (default: 9)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page about them, as docs/results/texts.md")
    options = parser.parse_args(arguments)
    results: dict[str, dict[str, Any]] = {}
    for model in options.models:
        systems = measured(model, options.rounds)
        results[model] = {"systems": systems, "step_over_floor": step_over_floor(prepared(model))}
        print(table({model: results[model]}), flush=True)
        if options.json:
            options.json.write_text(json.dumps({"machine": machine(), "models": results}, indent=1))
        if options.page:
            options.page.write_text(page(results, options.rounds), encoding="utf-8")
    print(f"\n{machine()['cpu']}, {_THREADS} threads")


if __name__ == "__main__":
    main()
