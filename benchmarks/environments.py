"""An environment for every system: made once in the cache, from the pinned requirements beside the system's file.

pip installs what needs torch, since it takes the build for CPUs where an index offers one, and uv would load some
gigabytes for graphics cards; uv, where there is one, installs the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import systems
from .client import ROOT, Worker
from .errors import BenchmarkError

CACHE_VARIABLE = "FUSELINE_BENCHMARKS_CACHE"
_COMPLETE = "complete.json"


def cache() -> Path:
    """The folder for environments, models and exports: $FUSELINE_BENCHMARKS_CACHE or ~/.cache/fuseline/benchmarks."""
    given = os.environ.get(CACHE_VARIABLE)
    folder = Path(given) if given else Path.home() / ".cache" / "fuseline" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment(requirements: Path) -> Path:
    """The folder of the environment with these requirements, made if there is none. Raises BenchmarkError."""
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:8]
    folder = cache() / "environments" / f"{requirements.stem}-{key}"
    if not (folder / _COMPLETE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        _install(folder, requirements)
        (folder / _COMPLETE).write_text(json.dumps({"bytes": _packages_bytes(folder)}))
    return folder


def installed_bytes(folder: Path) -> int:
    """Bytes below site-packages, without pip and setuptools that every environment has."""
    return int(json.loads((folder / _COMPLETE).read_text())["bytes"])


def installed(file: str, quick: bool) -> int | None:
    """Bytes that the systems of a file need installed; of fuseline's, None while nobody has built its wheel yet."""
    requirements = systems.requirements(file)
    if requirements is not None:
        return installed_bytes(environment(requirements))
    folder = cache() / "environments" / f"fuseline-{_sources_key()}"
    if not (folder / _COMPLETE).is_file():
        if quick:
            return None
        for old in folder.parent.glob("fuseline-*"):
            shutil.rmtree(old)
        folder.parent.mkdir(exist_ok=True)
        _install_project(folder)
        (folder / _COMPLETE).write_text(json.dumps({"bytes": _packages_bytes(folder)}))
    return installed_bytes(folder)


def _sources_key() -> str:
    digest = hashlib.sha256()
    for path in [ROOT / "pyproject.toml", *sorted((ROOT / "runtime").rglob("*")), *sorted(ROOT.glob("kernels/src/*"))]:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _install_project(folder: Path) -> None:
    """The wheel of this checkout, and what it depends on."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", scratch, str(ROOT)]
        _must(wheel, "the wheel", folder)
        built = str(next(Path(scratch).glob("*.whl")))
        _must([sys.executable, "-m", "venv", str(folder)], "an environment", folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-compile", built]
        _must(pip, "fuseline", folder)


def python_of(file: str) -> Path:
    """The interpreter that the systems of a file run in."""
    requirements = systems.requirements(file)
    return Path(sys.executable) if requirements is None else environment(requirements) / "bin" / "python"


def variables_of(file: str) -> Mapping[str, str]:
    """What the processes of a file's systems find in their environment beyond the usual."""
    compiled = {"TORCHINDUCTOR_CACHE_DIR": str(cache() / "compiled")}  # torch.compile takes minutes, the first time
    with_fuseline = getattr(systems.module(file), "WITH_FUSELINE", False)
    return {"FUSELINE_PATH": str(_fuseline_path()), **compiled} if with_fuseline else compiled


def start(spec: systems.Spec, threads: int) -> Worker:
    """A process of the system, in its environment."""
    return Worker(python_of(spec.module), spec.name, {**spec.variables, **variables_of(spec.module)}, threads)


def _install(folder: Path, requirements: Path) -> None:
    uv = shutil.which("uv")
    python = str(folder / "bin" / "python")
    if uv is None or "torch" in requirements.read_text():
        commands = [
            [sys.executable, "-m", "venv", str(folder)],
            [python, "-m", "pip", "install", "--no-compile", "-r", str(requirements)],
        ]
    else:
        commands = [
            [uv, "venv", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--python", python, "-r", str(requirements)],
        ]
    for command in commands:
        _must(command, requirements.name, folder)


def _must(command: list[str], what: str, folder: Path) -> None:
    """Run it, or leave no folder and raise BenchmarkError with the last that it said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        shutil.rmtree(folder, ignore_errors=True)
        raise BenchmarkError(f"{what} cannot be installed: {(said or ['no message'])[-1][:300]}")


def _packages_bytes(folder: Path) -> int:
    packages = next((folder / "lib").glob("python*/site-packages"))
    own = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    return sum(bytes_below(entry) for entry in packages.iterdir() if not entry.name.startswith(own))


def bytes_below(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, compiled Python left out: pip makes it or not, as it is told."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    files = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc")


def _fuseline_path() -> Path:
    """A folder to put on the path of an environment that fuseline is not installed in: links to this checkout's."""
    import fuseline
    from fuseline.kernels import library_info

    target = cache() / "path" / "fuseline"
    shutil.rmtree(target, ignore_errors=True)
    (target / "kernels").mkdir(parents=True)
    for source in Path(fuseline.__file__).parent.iterdir():
        if source.name != "kernels":
            (target / source.name).symlink_to(source)
    kernels = Path(sys.modules["fuseline.kernels"].__file__ or "").parent
    library = library_info().path
    packages = [path.parent for path in kernels.glob("*/__init__.py")]
    for source in [*kernels.glob("*.py"), *packages, *([library] if library else [])]:
        link = target / "kernels" / source.name
        if not link.exists():
            link.symlink_to(source)
    return target.parent
