"""The machine that figures are from, and its floors: reading memory and multiply-adds."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import environments
from .client import ROOT

_SECONDS = 1.5
_CPU = Path("/sys/devices/system/cpu")
# What makes a difference to engines, by the names of /proc/cpuinfo on x86 and ARM.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
_FEATURES += ("asimd", "asimddp", "i8mm", "bf16", "sve")


@cache
def machine() -> dict[str, Any]:
    """CPU, its features, cores, caches, memory, governor, system."""
    lines = [line.split(":", 1) for line in _text(Path("/proc/cpuinfo")).splitlines() if ":" in line]
    fields = {name.strip(): value.strip() for name, value in lines}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    memory = _text(Path("/proc/meminfo")).split()
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "features": [name for name in _FEATURES if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory[1]) * 1024 if len(memory) > 1 else 0,
        "last_cache": _text(_CPU / "cpu0/cache/index3/size").strip() or "unknown",
        "governor": _text(_CPU / "cpu0/cpufreq/scaling_governor").strip() or "not shown by this machine",
        "hypervisor": "hypervisor" in flags,
        "system": platform.platform(),
    }


def commit() -> str:
    """The commit of this checkout, with "+" after it if files differ from it; "unknown" outside of git."""
    try:
        git = ["git", "-C", str(ROOT)]
        found = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")


class Floors:
    """Measures with floors.c where there is a C compiler, else with numpy, which comes close for reading."""

    def __init__(self) -> None:
        self._program = _compiled()
        self.means = "floors.c" if self._program else "numpy"

    def read(self, size: int, threads: int) -> float:
        """Bytes a second of reading `size` bytes over and over."""
        if self._program:
            return _run(self._program, "read", str(size), str(threads), str(_SECONDS)) or 0.0
        array = np.ones(size // 8, np.int64)
        return size / _best(lambda: array.max())

    def multiply_adds(self, threads: int) -> float:
        """float32 multiply-adds a second."""
        if self._program:
            return _run(self._program, "fma", str(threads), str(_SECONDS)) or 0.0
        square = np.ones((1024, 1024), np.float32)
        return float(1024**3 / _best(lambda: square @ square))

    def dots(self, threads: int) -> float | None:
        """8-bit multiply-adds a second with VNNI or AVX2; None where CPU or compiler have neither."""
        return _run(self._program, "dot", str(threads), str(_SECONDS)) if self._program else None


def _compiled() -> Path | None:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    source = ROOT / "benchmarks" / "floors.c"
    target = environments.cache() / "floors"
    if target.is_file() and target.stat().st_mtime > source.stat().st_mtime:
        return target
    if compiler is None:
        return None
    command = [compiler, "-O3", "-march=native", "-pthread", str(source), "-o", str(target)]
    return target if subprocess.run(command, capture_output=True).returncode == 0 else None


def _run(program: Path, *arguments: str) -> float | None:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else None


def _best(run: Any) -> float:
    """Seconds of the fastest of the runs that fit into the time."""
    ends, best = time.perf_counter() + _SECONDS, float("inf")
    while time.perf_counter() < ends:
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
