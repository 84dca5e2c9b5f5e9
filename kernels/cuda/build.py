"""Builds the library of CUDA operators with NVIDIA's compiler, of its packages for Python or of an installed toolkit.

No GPU is needed for it. The library has machine code for the architectures that are named and, for later ones, the last
one's PTX, which the driver compiles when it is first used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fuseline.errors import DeviceError, shown

from ..library import folders
from . import FILE

SOURCES = Path(__file__).parent / "src"
ARCHITECTURES = (80, 86, 89, 90)  # A100, GeForce RTX 30 and 40, H100 and their relatives
_SHARED = Path(__file__).parents[1] / "src"  # of the kernel library: what onnxruntime's operators are
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_MEMORY = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Toolkit:
    """NVIDIA's compiler, the folders of its headers, and the library of CUDA's runtime."""

    nvcc: Path
    include: Sequence[Path]
    runtime: Path


@dataclass(frozen=True)
class Kernel:
    """What the compiler says of a kernel on an architecture: registers a thread, bytes of stack and of spills a thread,
    bytes of shared memory a block."""

    name: str
    architecture: int
    registers: int
    stack: int
    spills: int
    shared: int


def build(
    output: Path | None = None, toolkit: Path | None = None, architectures: Sequence[int] = ARCHITECTURES
) -> tuple[Path, list[Kernel]]:
    """The library, in the folder `output` (None: where it is found), and its kernels.

    toolkit: an installed CUDA. Raises DeviceError where there is no compiler, or it fails.
    """
    used = find_toolkit(os.environ, toolkit)
    folder = output or _writable()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, FILE)
        objects = [Path(scratch, f"{source.stem}.o") for source in sorted(SOURCES.iterdir()) if source.suffix != ".h"]
        commands = [_compiling(used, each, architectures) for each in objects]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            said = list(pool.map(_run, commands))
        # The runtime is that of onnxruntime's process: with one of its own the library would not know its device.
        link = [*map(str, objects), "-Xlinker", str(used.runtime), "-o", str(made)]
        _run([str(used.nvcc), "-shared", "-cudart", "none", *link])
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{FILE}.{os.getpid()}"  # a library in use is replaced, not overwritten
        shutil.copyfile(made, beside)
        beside.replace(folder / FILE)
    return folder / FILE, [kernel for each in said for kernel in kernels_of(each)]


def find_toolkit(environment: Mapping[str, str], given: Path | None = None) -> Toolkit:
    """The compiler of the folder that is given, of NVIDIA's packages, of CUDA_HOME, or of the search path, in this
    order. Raises DeviceError."""
    if given is not None:
        places = [given]
    else:
        spec, home, found = find_spec("nvidia"), environment.get("CUDA_HOME"), shutil.which("nvcc")
        packages = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
        places = [each for place in packages for each in sorted(place.glob("cu[0-9]*"), reverse=True)]
        places += [Path(home)] if home else []
        places += [Path(found).resolve().parents[1]] if found else []
    for place in places:
        nvcc, runtime = place / "bin" / "nvcc", _runtime(place)
        if nvcc.is_file() and runtime is not None:
            return Toolkit(nvcc, [place / "include", place / "include" / "cccl"], runtime)
    looked = f" in {shown(str(given), 200)}" if given is not None else ""
    raise DeviceError(f"there is no CUDA compiler{looked}: pip install 'fuseline[cuda-kernels]' brings it")


def kernels_of(said: str) -> Iterator[Kernel]:
    """What the compiler said of each kernel, as `-Xptxas -v` makes it tell."""
    name, architecture, stack = "", 0, (0, 0)
    for line in said.splitlines():
        if (entry := _ENTRY.search(line)) is not None:
            name, architecture = _readable(entry[1]), int(entry[2])
        elif (found := _STACK.search(line)) is not None:
            stack = int(found[1]), int(found[2]) + int(found[3])
        elif (used := _USED.search(line)) is not None:
            shared = _MEMORY.search(line)
            yield Kernel(name, architecture, int(used[1]), *stack, int(shared[1]) if shared else 0)


def _compiling(toolkit: Toolkit, made: Path, architectures: Sequence[int]) -> list[str]:
    source = next(path for path in SOURCES.glob(f"{made.stem}.c*"))
    codes = [f"arch=compute_{each},code=sm_{each}" for each in architectures]
    codes.append(f"arch=compute_{architectures[-1]},code=compute_{architectures[-1]}")
    include = [f"-I{folder}" for folder in (*toolkit.include, _SHARED)]
    host = "-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-unknown-pragmas"
    kinds = [word for code in codes for word in ("-gencode", code)]
    return [str(toolkit.nvcc), "-std=c++17", "-O3", "-Xptxas", "-v", "-Xcompiler", host, *kinds, *include,
            "-c", str(source), "-o", str(made)]  # fmt: skip


def _run(command: Sequence[str]) -> str:
    """What a command writes to standard error. Raises DeviceError."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise DeviceError(f"the CUDA compiler failed: {shown((done.stderr or done.stdout).strip(), 2000)}")
    return done.stderr


def _runtime(place: Path) -> Path | None:
    """The newest libcudart with a version in its name, by which it is found when it is loaded."""
    found = [path for folder in ("lib", "lib64") for path in place.glob(f"{folder}/libcudart.so.[0-9]*")]
    return min(found, key=lambda path: len(path.name), default=None)  # libcudart.so.13, not libcudart.so.13.0.96


def _writable() -> Path:
    """Where `cuda_operators` looks. Raises DeviceError."""
    for place in map(Path, folders()):
        if place.is_dir() and os.access(place, os.W_OK):
            return place
    raise DeviceError("none of the folders of fuseline.kernels can be written; give another one with --output")


def _readable(name: str) -> str:
    """A kernel's name without its rooms: attend_to_cache<true, float>, say."""
    filter_ = shutil.which("c++filt") or shutil.which("cu++filt")
    if filter_ is not None:
        name = subprocess.run([filter_, name], capture_output=True, text=True, check=True).stdout.strip()
    return re.sub(r"fuseline::cuda::|\(anonymous namespace\)::|^void ", "", name).split("(")[0]
