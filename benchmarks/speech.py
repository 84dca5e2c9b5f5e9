"""Speech to text beside transformers and faster-whisper: `python -m benchmarks.speech --sounds SOUND... MODEL...`.

MODEL is a Whisper checkpoint, as transformers or as faster-whisper (CTranslate2) reads it; each system exports or
converts it by its own means. Of the sounds, which people speak in, clips of 3, 11, 30 and 600 seconds are joined. All
systems have the same work: one temperature, no detector of voices, nothing carried over from window to window,
timestamps only of what is longer than a window. They take turns, each in a process of its own that is stopped while
others work, after a warm-up; figures are medians. The start is that of a new process until its first text.

whisper.cpp is not among them: it reads files of its own format alone, which neither pywhispercpp nor its own packages
make of a checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import environments, speech_page
from .client import ROOT, Worker
from .errors import BenchmarkError
from .machine import machine
from .speech_clips import write_clips

SECONDS = (3, 11, 30, 600)
BEAMS = (1, 5)
WINDOW = 30  # seconds; what is longer is heard in several windows, and fewer times
THREADS, ROUNDS, LONG_ROUNDS, STARTS, WARM_UP = 2, 7, 1, 3, 1
_LONG_ANSWER = 3_600  # seconds
_IN_MEMORY = (11, 5)  # the clip and the beams of the smaller figure of memory, where they are measured


@dataclass(frozen=True)
class Contender:
    """A system with one of its variants. requirements: of the environment that it runs in, and converter: of the one
    that makes its folder; None for this one."""

    system: str
    variant: str
    requirements: str | None = None
    converter: str | None = None

    @property
    def name(self) -> str:
        return f"{self.system} {self.variant}"

    def process(self, converts: bool = False) -> Worker:
        """A new one. converts: that in which its folder is made."""
        wanted = self.converter if converts else self.requirements
        python = Path(sys.executable)
        if wanted is not None:
            python = environments.environment(ROOT / "benchmarks" / "systems" / f"{wanted}.txt") / "bin" / "python"
        return Worker(python, self.system, {}, THREADS, module="benchmarks.speech_systems")


CONTENDERS = (
    Contender("fuseline", "int8"),
    Contender("fuseline", "fp32"),
    Contender("transformers", "fp32"),
    Contender("faster-whisper", "int8", "faster-whisper", "ctranslate2"),
    Contender("faster-whisper", "float32", "faster-whisper", "ctranslate2"),
)


@dataclass(frozen=True)
class Subject:
    """A model with the folders that the systems read. language: what it is told; None of one that knows but English."""

    name: str
    folders: Mapping[str, Path]
    language: str | None

    @classmethod
    def of(cls, checkpoint: Path, language: str) -> Subject:
        """The folders are made in the cache, anew where the checkpoint or the exporter has changed."""
        if not (checkpoint / "config.json").is_file():
            raise BenchmarkError(f"{checkpoint} is no checkpoint: it has no config.json; give a folder of Whisper's")
        home = environments.cache() / "speech" / f"{checkpoint.name}-{_key(checkpoint)}"
        of_ctranslate2 = (checkpoint / "model.bin").is_file()
        folders = {}
        for each in CONTENDERS:
            if each.system == "fuseline":
                folders[each.name] = home / "fuseline"
            elif each.system == "transformers" or of_ctranslate2:
                folders[each.name] = checkpoint
            else:
                folders[each.name] = home / each.name.replace(" ", "-")
            if not folders[each.name].is_dir():
                _make(each, checkpoint, folders[each.name])
        if of_ctranslate2:
            folders = {name: folder for name, folder in folders.items() if not name.startswith("transformers")}
        return cls(checkpoint.name, folders, language if _is_multilingual(home / "fuseline") else None)


def _key(checkpoint: Path) -> str:
    weights = [path for path in checkpoint.iterdir() if path.suffix in (".bin", ".safetensors")]
    facts = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(weights)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for path in sorted((ROOT / "export").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _make(each: Contender, checkpoint: Path, folder: Path) -> None:
    if each.system == "fuseline":
        from fuseline.export import export

        folder.parent.mkdir(parents=True, exist_ok=True)
        export(checkpoint, folder, ["int8", "fp32"])
        return
    with each.process(converts=True) as process:
        process.ask("export", _LONG_ANSWER, checkpoint=str(checkpoint), out=str(folder), variant=each.variant)


def _is_multilingual(folder: Path) -> bool:
    from fuseline import Model
    from fuseline.speech.vocabulary import Vocabulary

    with Model.from_pretrained(folder, "fp32") as model:
        return Vocabulary.of(model).multilingual


@dataclass(frozen=True)
class Plan:
    """What is measured. clips: paths by seconds."""

    clips: Mapping[int, Path]
    rounds: int
    long_rounds: int

    def rounds_of(self, seconds: int) -> int:
        return self.rounds if seconds <= WINDOW else self.long_rounds


def measured(subject: Subject, plan: Plan) -> dict[str, dict[str, Any]]:
    """By contender: "start" in ms, "peak" and "long peak" in bytes, "parts" of fuseline's, and by clip and beams
    ("3 s, 1 beam") the text and the milliseconds, their median and the least."""
    contenders = [each for each in CONTENDERS if each.name in subject.folders]
    found: dict[str, dict[str, Any]] = {each.name: {"runs": {}} for each in contenders}
    processes = {each.name: _started(each, subject, plan, found[each.name]) for each in contenders}
    try:
        for seconds in sorted(plan.clips):
            for beams in BEAMS:
                _take_turns(processes, plan, seconds, beams, found)
        for each in contenders:
            if each.system == "fuseline":
                short = str(plan.clips[min(plan.clips)])
                found[each.name]["parts"] = processes[each.name].ask("parts", path=short)
    finally:
        for process in processes.values():
            process.close()
    return found


def _started(each: Contender, subject: Subject, plan: Plan, found: dict[str, Any]) -> Worker:
    """The last of several processes, each with its first text; the memory of that one."""
    first, starts = min(plan.clips), []
    process: Worker | None = None
    for _ in range(STARTS):
        if process is not None:
            process.close()
        process = each.process()
        folder = str(subject.folders[each.name])
        process.ask("open", folder=folder, variant=each.variant, threads=THREADS, language=subject.language)
        process.ask("hear", path=str(plan.clips[first]), beams=1, seconds=first)
        starts.append(process.seconds_since_start() * 1000)
    assert process is not None  # since STARTS is not 0
    found["start"] = statistics.median(starts)
    seconds, beams = _IN_MEMORY
    seconds = seconds if seconds in plan.clips else first
    found["peak"] = process.ask("hear", path=str(plan.clips[seconds]), beams=beams, seconds=seconds)["peak"]
    return process


def _take_turns(
    processes: Mapping[str, Worker], plan: Plan, seconds: int, beams: int, found: Mapping[str, dict[str, Any]]
) -> None:
    rounds, warm_up = plan.rounds_of(seconds), WARM_UP if seconds <= WINDOW else 0
    times: dict[str, list[float]] = {name: [] for name in processes}
    names, said = list(processes), dict[str, Any]()
    for turn in range(warm_up + rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            path = str(plan.clips[seconds])
            said[name] = processes[name].ask("hear", _LONG_ANSWER, path=path, beams=beams, seconds=seconds)
            if turn >= warm_up:
                times[name].append(said[name]["ms"])
    for name, each in said.items():
        run = {"text": each["text"], "ms": statistics.median(times[name]), "least": min(times[name])}
        found[name]["runs"][speech_page.run_name(seconds, beams)] = run
        found[name]["long peak"] = each["peak"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="folder of a Whisper checkpoint")
    parser.add_argument("--sounds", nargs="+", type=Path, required=True, metavar="SOUND", help="speech, as sound files")
    parser.add_argument("--language", default="en", metavar="LANG", help="what is spoken in them (default: en)")
    parser.add_argument("--seconds", type=int, nargs="+", default=list(SECONDS), metavar="N", help="lengths of clips")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="turns of each system")
    parser.add_argument("--long-rounds", type=int, default=LONG_ROUNDS, metavar="N", help="of what is longer than 30 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page about them, as docs/results/speech.md")
    options = parser.parse_args(arguments)
    try:
        clips = write_clips(options.sounds, options.seconds, environments.cache() / "speech" / "clips")
        plan = Plan(clips, options.rounds, options.long_rounds)
        results: dict[str, Any] = {}
        for checkpoint in options.models:
            subject = Subject.of(checkpoint.resolve(), options.language)
            results[subject.name] = measured(subject, plan)
            print(speech_page.tables({subject.name: results[subject.name]}), flush=True)
            if options.json:
                options.json.write_text(json.dumps({"machine": machine(), "models": results}, indent=1))
            if options.page:
                page = speech_page.page(results, plan.rounds, plan.long_rounds, THREADS)
                options.page.write_text(page, encoding="utf-8")
    except BenchmarkError as error:
        raise SystemExit(f"benchmarks.speech: {error}") from error


if __name__ == "__main__":
    main()
