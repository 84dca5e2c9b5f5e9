"""Workers, watched from outside: which die, which use more CPU time than their case may, which wait for nothing.

Time is CPU time, so a busy machine raises no alarm. A process that sleeps uses none; it is caught by being asleep,
which one that only waits for a core is not.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.fuzz.kinds import Kind
from tests.fuzz.worker import TRACE, Report, work

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK = 0.05  # seconds between two looks at the workers
_LOOKS_ASLEEP = 20
_MAKING_SECONDS = 60.0  # of CPU time, to make a case
_CASES = 200  # of a worker before another takes its place, so that what it keeps does not pile up
_FORK = multiprocessing.get_context("fork")  # from here, where everything is imported and no session was ever made


@dataclass
class Result:
    """A case that is over. what: its damage."""

    kind: str
    case: int
    what: str
    report: Report


@dataclass
class _Worker:
    root: Path
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    cases: int = 0
    kind: Kind | None = None
    case: int = 0
    what: str = ""
    limit: float = _MAKING_SECONDS
    began: float = 0.0
    # CPU seconds, when they last grew or it was not asleep, and how often it was looked at since.
    awake: tuple[float, float, int] = field(default=(0.0, 0.0, 0))


def run_cases(
    seed: int,
    kinds: dict[str, Kind],
    orders: Iterable[tuple[str, int]],
    folder: Path,
    templates: Path,
    workers: int,
    keep: Path | None = None,
) -> Iterator[Result]:
    """The results of the cases (kind, number), as they come. folder: for what workers write; keep: of the one case."""
    waiting = iter(orders)
    idle = [_started(seed, kinds, folder / f"worker-{number}", templates, keep) for number in range(workers)]
    busy: list[_Worker] = []
    try:
        while True:
            while idle and (order := next(waiting, None)) is not None:
                worker = idle.pop()
                if worker.cases >= _CASES:
                    worker = _replaced(worker, seed, kinds, templates, keep)
                _give(worker, kinds[order[0]], order[1])
                busy.append(worker)
            if not busy:
                return
            wait([worker.pipe for worker in busy], _LOOK)
            for worker in list(busy):
                report = _looked_at(worker)
                if report is None:
                    continue
                busy.remove(worker)
                assert worker.kind is not None
                yield Result(worker.kind.name, worker.case, worker.what, report)
                alive = worker.process.is_alive() and report.outcome not in ("died", "hung")
                idle.append(worker if alive else _replaced(worker, seed, kinds, templates, keep))
    finally:
        for worker in [*idle, *busy]:
            _stop(worker)


def _started(seed: int, kinds: dict[str, Kind], root: Path, templates: Path, keep: Path | None) -> _Worker:
    root.mkdir(parents=True, exist_ok=True)
    ours, theirs = _FORK.Pipe()
    process = _FORK.Process(target=work, args=(seed, kinds, root, templates, keep, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(root, process, ours)


def _replaced(worker: _Worker, seed: int, kinds: dict[str, Kind], templates: Path, keep: Path | None) -> _Worker:
    _stop(worker)
    return _started(seed, kinds, worker.root, templates, keep)


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _give(worker: _Worker, kind: Kind, case: int) -> None:
    worker.kind, worker.case, worker.what = kind, case, ""
    worker.cases += 1
    worker.limit = _MAKING_SECONDS
    _watch_from_now(worker)
    with contextlib.suppress(BrokenPipeError):  # it died since: seen at the next look
        worker.pipe.send((kind.name, case))


def _watch_from_now(worker: _Worker) -> None:
    worker.began, _ = _cpu_and_state(worker)
    worker.awake = (worker.began, time.monotonic(), 0)


def _looked_at(worker: _Worker) -> Report | None:
    """The report of a worker's case if it is over, by itself or because it had to be."""
    try:
        while worker.pipe.poll():
            message = worker.pipe.recv()
            if message[0] == "done":
                report: Report = message[1]
                return report
            _, worker.what, worker.limit = message
            _watch_from_now(worker)
    except (EOFError, ConnectionResetError):
        return _died(worker)
    assert worker.kind is not None
    used, state = _cpu_and_state(worker)
    before, since, looks = worker.awake
    worker.awake = (used, time.monotonic(), 0) if used > before or state != "S" else (before, since, looks + 1)
    if used - worker.began > worker.limit:
        return _hung(worker, f"more than {worker.limit:g} s of CPU time")
    # Who watches may have waited for a core, too, so seconds alone say nothing.
    if looks >= _LOOKS_ASLEEP and time.monotonic() - worker.awake[1] > worker.kind.asleep_seconds:
        return _hung(worker, "waits for what never comes")
    return None


def _cpu_and_state(worker: _Worker) -> tuple[float, str]:
    """CPU seconds of all its threads together, and "S" where all of them sleep: none runs, or would if it could."""
    folder = Path(f"/proc/{worker.process.pid}")
    try:
        fields = _fields(folder / "stat")
        states = {_fields(task / "stat")[0] for task in (folder / "task").iterdir()}
    except OSError:  # it, or one of its threads, has just ended
        return worker.awake[0], "Z"
    return (int(fields[11]) + int(fields[12])) / _TICKS, "S" if states == {"S"} else "R"


def _fields(path: Path) -> list[str]:
    """The fields of a stat file after the name, which may hold anything."""
    return path.read_text().rpartition(")")[2].split()


def _died(worker: _Worker) -> Report:
    worker.process.join()
    code = worker.process.exitcode or 0
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return Report("died", findings=[("death", f"{how} {_last_line(worker)}: {_subject(worker)}", _trace(worker))])


def _hung(worker: _Worker, how: str) -> Report:
    pid = worker.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGUSR1)  # its stack, into the trace
    time.sleep(0.2)
    worker.process.kill()
    return Report("hung", findings=[("hang", f"{how} {_last_line(worker)}: {_subject(worker)}", _trace(worker))])


def _subject(worker: _Worker) -> str:
    """What was damaged: the operator, the file."""
    return worker.what.split(" ")[0].rstrip(":") or "while the case was made"


def _trace(worker: _Worker) -> str:
    """The lines of its stack that are not the fuzzer's, innermost first."""
    lines = (worker.root / TRACE).read_text().splitlines()
    outer = next((at for at, line in enumerate(lines) if "/tests/fuzz/worker.py" in line), len(lines))
    return "\n".join(lines[:outer][:12])


def _last_line(worker: _Worker) -> str:
    """The innermost line of the product in the trace."""
    for line in (worker.root / TRACE).read_text().splitlines():
        if "/fuseline/" in line or "/kernels/" in line or "/tests/fuzz/" in line:
            path, _, place = line.strip().removeprefix('File "').partition('", ')
            return f"in {Path(path).name} {place}"
    return ""
