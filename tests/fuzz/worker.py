"""The process that runs cases, one after the other, and says of each what it saw."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import re
import resource
import shutil
import signal
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import fuseline
from tests.fuzz.kinds import Kind, Place, Refused, Trial, Wrong, random_of
from tests.fuzz.messages import faults, normalised
from tests.fuzz.watch import Files, Memory, Outputs

_PR_SET_PDEATHSIG = 1
_NUMBERS = re.compile(r"\d+")
TRACE = "trace"  # the file, beside the cases, with the stack of a process that died or was killed


@dataclass
class Report:
    """Of one case. outcome: what came out, "refused" or "failed"; findings: kind of finding, cause (equal for equal
    causes) and the whole of it."""

    outcome: str
    sentence: str = ""
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    megabytes: float = 0.0


def work(seed: int, kinds: dict[str, Kind], root: Path, templates: Path, keep: Path | None, pipe: Connection) -> None:
    """Run the cases that come through the pipe, (kind, number) each, until None comes.

    For each first ("made", what, CPU seconds) goes back, then ("done", Report). root: a folder of this process alone.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.dont_write_bytecode = True
    place = _place(root, templates, keep)
    os.environ.update(XDG_CACHE_HOME=str(place.cache), HOME=str(place.cache), HF_HOME=str(place.cache / "hf"))
    os.chdir(root)
    with open(root / TRACE, "w") as trace:
        faulthandler.enable(trace)
        faulthandler.register(signal.SIGUSR1, trace)
        outputs, files, memory = Outputs(root / "outputs"), Files(place), Memory()
        while (order := pipe.recv()) is not None:
            kind = kinds[order[0]]
            _emptied(place.case)
            try:
                trial = kind.make(random_of(seed, *order), place)
            except BaseException as error:
                pipe.send(("made", "", kind.cpu_seconds))
                pipe.send(("done", Report("failed", findings=[("fuzzer", _cause(error), _traceback(error))])))
                continue
            gc.collect()
            outputs.written()
            memory.begin(trial.megabytes or kind.megabytes)
            pipe.send(("made", trial.what, trial.cpu_seconds or kind.cpu_seconds))
            report = _tried(trial, files)
            report.megabytes = memory.end()
            if kind.name != "graphs":  # which look themselves at what opening takes; what a run takes has no limit
                _judge_size(report, trial, trial.megabytes or kind.megabytes)
            if said := outputs.written():
                report.findings.append(("noise", _first_words(said), said[:500]))
            pipe.send(("done", report))


def _place(root: Path, templates: Path, keep: Path | None) -> Place:
    case = keep or root / "case"
    place = Place(case, templates, case.parent / "outside", root / "cache")
    for folder in (place.outside, place.cache):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("weights.bin", "config.json", "fuseline.json", "tokenizer.json", "photo.png"):
        (place.outside / name).write_bytes(b"{}" + bytes(1 << 16))
    return place


def _emptied(folder: Path) -> None:
    if folder.exists():
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _tried(trial: Trial, files: Files) -> Report:
    """Run it under watch; nothing that it raises gets further."""
    outcome, error = "failed", None
    with warnings.catch_warnings(record=True) as warned, files.watching() as seen:
        warnings.simplefilter("always")
        try:
            outcome = trial.run()
        except BaseException as raised:  # a panic of Rust derives from BaseException alone
            error = raised
    report = Report(outcome) if error is None else _answered(error)
    report.findings += [("outside", _NUMBERS.sub("N", each), each) for each in dict.fromkeys(seen)]
    for each in warned:  # what fuseline says on purpose is a UserWarning in the name of whoever calls it
        if each.category is not UserWarning or "site-packages" in each.filename:
            text = f"{each.category.__name__} at {Path(each.filename).name}: {each.message}"
            report.findings.append(("warning", normalised(text), text))
        elif wrong := faults(str(each.message)):
            report.findings.append(("message", f"a warning {', '.join(wrong)}", str(each.message)[:500]))
    return report


def _answered(error: BaseException) -> Report:
    """What an exception is: a refusal, whose sentence is looked at, or a fault."""
    if isinstance(error, fuseline.Error):
        report = Report("refused", str(error))
        for fault in faults(str(error)):
            report.findings.append(("message", f"{fault}, in {_place_of(error)}", str(error)[:500]))
        return report
    if isinstance(error, Refused):
        return Report("refused", str(error))
    if isinstance(error, Wrong):
        return Report("failed", findings=[("answer", normalised(str(error)), str(error))])
    return Report("failed", findings=[("escape", _cause(error), _traceback(error))])


def _judge_size(report: Report, trial: Trial, most: float) -> None:
    if report.megabytes > most:
        how = f"{report.outcome} {normalised(report.sentence)}"
        detail = f"{report.megabytes:.0f} MB and at most {most:.0f} are right ({trial.what})"
        report.findings.append(("memory", how, detail))


def _cause(error: BaseException) -> str:
    """The type, the last line of the product that it passed, and the text."""
    return f"{type(error).__name__} in {_place_of(error)}: {normalised(str(error))[:100]}"


def _place_of(error: BaseException) -> str:
    """The innermost function of the product."""
    frames = [
        f"{Path(frame.filename).name}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if f"{os.sep}fuseline{os.sep}" in frame.filename or f"{os.sep}kernels{os.sep}" in frame.filename
    ]
    return frames[-1] if frames else "no line of fuseline"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error, limit=-6))[-1500:]


def _first_words(said: str) -> str:
    return normalised(next((line for line in said.splitlines() if line.strip()), said))
