"""The far end: one process with one system in it, driven by lines of JSON on its standard input.

Runs in the environment of the system, so beside the standard library it imports only the system's file. Requests are
{"do": NAME, ...}; an answer is one object, with "error" where something failed. Milliseconds throughout.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.errors import first_sentence


class Session:
    """What a worker can be asked; the method's name is the request's "do"."""

    def __init__(self, name: str) -> None:
        self.spec = systems.specs()[name]
        self.file = systems.module(self.spec.module)
        self.system: Any = None
        self.prepared: dict[tuple[str, ...], Any] = {}

    def load(self) -> dict[str, Any]:
        """Import what the system needs."""
        began = time.perf_counter()
        self.file.imports()
        return {"ms": _since(began)}

    def open(self, folder: str, threads: int) -> dict[str, Any]:
        """Open the model."""
        began = time.perf_counter()
        self.system = self.file.System(Path(folder), threads, **self.spec.settings)
        return {"ms": _since(began)}

    def first(self, folder: str, threads: int, photo: str, num_beams: int, max_length: int) -> dict[str, Any]:
        """All of a program that captions one photo and ends: import, open, first run, and the memory of it."""
        found = {"import": self.load()["ms"], "open": self.open(folder, threads)["ms"]}
        began = time.perf_counter()
        sequences = self.system.generate(self.system.pixels([Path(photo)]), num_beams, max_length)
        return {**found, "first": _since(began), "sequences": sequences, **self.memory()}

    def generate(self, photos: list[str], num_beams: int, max_length: int) -> dict[str, Any]:
        """The best sequence of every photo, and the milliseconds it took."""
        pixels = self._pixels(photos)
        began = time.perf_counter()
        sequences = self.system.generate(pixels, num_beams, max_length)
        return {"ms": _since(began), "sequences": sequences, "steps": getattr(self.system, "steps", max_length - 1)}

    def turn(self, photos: list[str], num_beams: int, lengths: list[int], seconds: float) -> dict[str, Any]:
        """One turn of the interleaved rounds: photo, encoder, then a caption of every length, again for some seconds.

        At least once. The encoder runs first, so that a caption never pays for caches that another system has emptied.
        """
        paths, pixels = [Path(photo) for photo in photos], self._pixels(photos)
        found: dict[str, list[float]] = {name: [] for name in ("photo", "encoder", *map(str, lengths))}
        began = time.perf_counter()
        while not found["photo"] or time.perf_counter() - began < seconds:
            found["photo"].append(_timed(lambda: self.system.pixels(paths)))
            found["encoder"].append(_timed(lambda: self.system.encode(pixels)))
            for length in lengths:
                found[str(length)].append(_timed(lambda: self.system.generate(pixels, num_beams, length)))  # noqa: B023
        return found

    def rest(self, photos: list[str], num_beams: int, max_length: int, seconds: float) -> dict[str, Any]:
        """Processor time of all threads of this process in the seconds after a caption, when it has nothing to do."""
        self.generate(photos, num_beams, max_length)
        began = time.process_time()
        time.sleep(seconds)
        return {"ms": (time.process_time() - began) * 1000}

    def search_share(self, photos: list[str], num_beams: int, max_length: int, runs: int) -> dict[str, Any]:
        """Of some captions, the share of the time outside encoder and decoder; none where a system cannot tell.

        One more warms up, as in a turn: before it the process has slept.
        """
        share = getattr(self.system, "search_share", None)
        pixels = self._pixels(photos)
        return {"shares": [share(pixels, num_beams, max_length) for _ in range(runs + 1)][1:] if share else []}

    def memory(self) -> dict[str, Any]:
        """Bytes: the peak that was resident, and what of it now is pages of files."""
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return {key: int(lines[name].split()[0]) * 1024 for key, name in (("peak", "VmHWM"), ("mapped", "RssFile"))}

    def export(self, name: str, source: str, out: str) -> dict[str, Any]:
        """Make a folder, and say how long that took and how much memory. Nothing is left of a failed one."""
        target, began = Path(out), time.perf_counter()
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            getattr(self.file, systems.exports()[name].function)(Path(source), partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return {"ms": _since(began), "peak": peak * 1024}

    def versions(self) -> dict[str, Any]:
        """Python, and the packages that have to do with it."""
        names = ("fuseline", "onnxruntime", "torch", "transformers", "optimum-onnx", "optimum-intel", "openvino")
        names += ("ctranslate2", "numpy", "onnxruntime-openvino", "pillow", "tokenizers")
        found = {name: _version(name) for name in names}
        return {"python": sys.version.split()[0], **{name: version for name, version in found.items() if version}}

    def _pixels(self, photos: list[str]) -> Any:
        key = tuple(photos)
        if key not in self.prepared:
            self.prepared[key] = self.system.pixels([Path(photo) for photo in photos])
        return self.prepared[key]


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return _since(began)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    session: Session | None = None
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        try:
            session = session or Session(sys.argv[1])
            answer: Mapping[str, Any] = getattr(session, request.pop("do"))(**request)
        except Exception as error:  # a system may raise whatever it likes
            answer = {"error": first_sentence(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
