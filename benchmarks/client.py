"""The near end of a worker: starts a system in its own process and asks it things, one line of JSON each way."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import BenchmarkError

ROOT = Path(__file__).resolve().parent.parent


def as_installed(environment: Mapping[str, str]) -> dict[str, str]:
    """The same without what keeps Python from writing what it compiles: where that is set, as some containers have it,
    a system that pip has not compiled is compiled at each of its starts, which then is what is measured."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Worker:
    """A process that holds one system. While it is not asked anything it is stopped, so that it cannot disturb.

    A library that spins after its work, or cleans up in a thread of its own, then does so on its own time. Linux only,
    as is what the workers read from /proc.
    """

    def __init__(
        self,
        python: Path,
        system: str,
        variables: Mapping[str, str],
        threads: int,
        module: str = "benchmarks.worker",
    ) -> None:
        """module: what runs in the process."""
        environment = {**as_installed(os.environ), **variables, "OMP_NUM_THREADS": str(threads)}
        path = [str(ROOT), *filter(None, [variables.get("FUSELINE_PATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(path)
        # No hub is asked, and no telemetry or advice is fetched in the middle of a measurement.
        environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
        self.system = system
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            [str(python), "-m", module, system],
            cwd=tempfile.gettempdir(),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self._buffer = b""

    def ask(self, what: str, timeout: float = 600, **fields: Any) -> dict[str, Any]:
        """The answer. Raises BenchmarkError with what the system said, or how its process ended."""
        process = self._process
        if process.poll() is not None:
            raise BenchmarkError(self._epitaph())
        assert process.stdin
        process.send_signal(signal.SIGCONT)
        try:
            process.stdin.write(json.dumps({"do": what, **fields}).encode() + b"\n")
            process.stdin.flush()
            line = self._line(timeout)
        except BrokenPipeError:
            line = b""
        if not line:
            process.wait(timeout=30)
            raise BenchmarkError(self._epitaph())
        answer: dict[str, Any] = json.loads(line)
        process.send_signal(signal.SIGSTOP)
        if "error" in answer:
            raise BenchmarkError(answer["error"])
        return answer

    def seconds_since_start(self) -> float:
        """Of the wall clock, since the process was asked for."""
        return time.perf_counter() - self._started

    def resident(self) -> int:
        """Bytes of the process in memory; of a page that n processes share an n-th (PSS), so that they can be added."""
        try:
            lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()
        except ProcessLookupError:  # it has ended, and says so when it is asked next
            return 0
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024

    def rise(self) -> int:
        """Bytes by which the process was larger at its largest than it is now: what it takes again when it works."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        except ProcessLookupError:
            return 0
        sizes = dict(line.split(":") for line in lines if line.startswith(("VmHWM:", "VmRSS:")))
        return (int(sizes["VmHWM"].split()[0]) - int(sizes["VmRSS"].split()[0])) * 1024 if sizes else 0

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, timeout: float) -> bytes:
        """One line of the process's output, empty at its end."""
        assert self._process.stdout
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._process.kill()
                raise BenchmarkError(f"{self.system} gave no answer in {timeout:.0f} s")
            found = os.read(self._process.stdout.fileno(), 1 << 16)
            if not found:
                return b""
            self._buffer += found
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _epitaph(self) -> str:
        """How the process ended, and the last it said."""
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        code = self._process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        return f"the process {how}" + (f": {lines[-1][:300]}" if lines else "")
