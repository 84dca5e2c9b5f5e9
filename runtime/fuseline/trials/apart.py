"""A trial in a process of its own: a provider that crashes or hangs takes that process with it and nothing else.

The process is started by the same Python, which finds the same packages, without a shell. What it is to do goes to it
as JSON on standard input, and its answer comes back in a file, since providers write what they like to the rest.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DeviceError, shown
from ..graphs.reasons import reason
from ..graphs.starting import HELD_BACK

SECONDS = 180.0  # for a trial; a GPU in software takes 60 for a model's first text
LOOKING = 30.0  # for what lists devices, which registers providers and asks drivers
_BEGIN = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
    "from fuseline.trials.trial import answer; answer(**given)"
)
_SAID = 1 << 16  # of the end of standard error, bytes
_WHAT = re.compile(r"^\s*what\(\):\s*(\S.*)$", re.MULTILINE)  # of C++'s exceptions that nobody has caught


def possible() -> bool:
    """Whether there is a Python to start. A program made by PyInstaller, or one that Python is built into, is none."""
    name = Path(sys.executable or "").name.lower()
    return ("python" in name or "pypy" in name) and not getattr(sys, "frozen", False)


def run(task: str, given: Mapping[str, Any], seconds: float | None = None) -> Any:
    """The task's answer. Raises DeviceError where the process ends without one or takes longer, with how it ended."""
    if not possible():
        raise DeviceError(
            "it is not tried, since this program has no Python that could try it apart; name it to use it"
        )
    with _scratch() as scratch:
        answered, told = Path(scratch) / "answer.json", {"path": sys.path, "task": task, "given": dict(given)}
        told["file"] = str(answered)
        code = _started(json.dumps(told).encode(), Path(scratch), SECONDS if seconds is None else seconds)
        if answered.is_file():  # also where the process crashed as it ended, which says nothing of the answer
            found = json.loads(answered.read_text(encoding="utf-8"))
            if "error" in found:
                raise DeviceError(found["error"])
            return found["answer"]
        raise DeviceError(_how_it_ended(code, _said(Path(scratch))))


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a trial. Raises DeviceError."""
    try:
        return tempfile.TemporaryDirectory(prefix="fuseline-")
    except OSError as error:
        raise DeviceError(
            f"it is not tried, since a trial needs a folder that can be written to ({error.strerror or error}); TMPDIR "
            "names one"
        ) from None


def _started(told: bytes, scratch: Path, seconds: float) -> int:
    """The exit status of a process that was told something and has `scratch` for its files. Raises DeviceError after so
    many seconds."""
    try:
        with (scratch / f"{HELD_BACK}.txt").open("wb") as output:
            # -P: no module of the current folder is imported before the path is that of this process.
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BEGIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=output,
                env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
    except OSError as error:
        raise DeviceError(f"no process can be started to try it: {error.strerror or error}") from None
    try:
        process.communicate(told, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"it did not answer within {seconds:.0f} s, and its process was ended") from None
    finally:
        process.kill()  # also where a signal came; nothing happens to one that has ended
        process.wait()
    return process.returncode


def _said(scratch: Path) -> str:
    """What the process wrote to standard error, and what fuseline.graphs.starting held back of it until it crashed."""
    files = sorted(scratch.glob(f"{HELD_BACK}*"), key=lambda file: file.stat().st_mtime_ns)
    return "\n".join(file.read_bytes()[-_SAID:].decode("utf-8", "replace") for file in files)


def _how_it_ended(code: int, said: str) -> str:
    """In a sentence. code: as Popen.returncode; said: on standard error."""
    if code < 0:
        names = {int(each): each.name for each in signal.Signals}
        how = f"was ended by {names.get(-code, f'signal {-code}')}"
    else:
        how = f"ended with exit status {code if code < 256 else hex(code)}"
    lines = [line for line in said.splitlines() if line.strip()]
    what = _WHAT.findall(said)
    last = shown(reason(what[-1] if what else lines[-1]), 200) if lines else ""
    return f"its provider crashes: the process that tried it {how}" + (f": {last}" if last else "")
