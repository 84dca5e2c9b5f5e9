"""The sources of kernels/cuda compiled for the CPU, with tests/cuda/host in the place of CUDA's headers.

    python -m tests.cuda.host_library FILE [FLAG...]

compiles them with other flags, such as a sanitizer's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_POISON = "-DFUSELINE_POISON"  # not under AddressSanitizer, which does not look at what is in a section of its own
_WARNINGS = ("-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror")
_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread", '-DFUSELINE_PROVIDER="CPUExecutionProvider"')
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")


def sources() -> list[Path]:
    return sorted(path for path in (ROOT / "kernels/cuda/src").iterdir() if path.suffix in (".cu", ".cpp"))


def compile_for_host(library: Path, flags: Sequence[str] = ("-O1", "-g1", _POISON)) -> Path:
    """Raises CalledProcessError, with what the compiler says, where it refuses them or warns."""
    assert COMPILER is not None, "there is no C++ compiler"
    include = [f"-I{ROOT / folder}" for folder in ("tests/cuda/host", "kernels/src")]
    objects = [library.with_suffix(f".{source.stem}.o") for source in sources()]
    for source, made in zip(sources(), objects, strict=True):
        _run([COMPILER, *_FLAGS, *_WARNINGS, *include, *flags, "-x", "c++", "-c", str(source), "-o", str(made)])
    _run([COMPILER, "-shared", "-pthread", *flags, *map(str, objects), "-o", str(library)])
    return library


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    done.check_returncode()


if __name__ == "__main__":
    compile_for_host(Path(sys.argv[1]), sys.argv[2:] or ("-O1", "-g1", _POISON))
