"""fuseline.h and its programs as the tests of it use them: built with CMake, installed, found as a package, run under
AddressSanitizer with LeakSanitizer and under UndefinedBehaviorSanitizer.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from fuseline.kernels import library_info

ROOT = Path(__file__).resolve().parents[2]
# -O0 compiles fastest. The kernels have sanitizers of their own, in .ci/kernels, so their library is loaded as it is.
FLAGS = "-O0 -g1 -Werror -fno-sanitize-recover=all -fsanitize=address,undefined"


def run(*command: str | Path, **variables: str) -> str:
    """What a command writes to standard output; it must end well and write nothing to standard error."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    return done.stdout


@dataclass(frozen=True)
class Programs:
    """Where the programs were built: calls, which is tests/embed/calls.c, and the examples caption and transcribe."""

    path: Path

    @classmethod
    def build(cls, place: Path) -> Programs:
        """Build and install the library in a folder, and the programs as users of it."""
        common = ["-DCMAKE_BUILD_TYPE=None", f"-DCMAKE_C_FLAGS={FLAGS}"]
        installed = f"-DCMAKE_INSTALL_PREFIX={place / 'installed'}"
        cxx = [f"-DCMAKE_CXX_FLAGS={FLAGS}", installed, "-DFUSELINE_LINK_KERNELS=OFF"]
        run("cmake", "-S", ROOT / "embed", "-B", place / "library", *common, *cxx)
        run("cmake", "--build", place / "library", "--parallel", str(os.cpu_count()), "--target", "install")
        found = f"-DCMAKE_PREFIX_PATH={place / 'installed'}", f"-DCMAKE_RUNTIME_OUTPUT_DIRECTORY={place / 'programs'}"
        for source, name in ((ROOT / "examples/c", "examples"), (ROOT / "tests/embed", "calls")):
            run("cmake", "-S", source, "-B", place / name, *found, *common)
            run("cmake", "--build", place / name)
        return cls(place)

    def command(self, program: str, *arguments: str | Path) -> list[str | Path]:
        """Older sanitizers cannot live with as many random bits in addresses as newer kernels use."""
        here = subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode == 0
        return [*(["setarch", "-R"] if here else []), self.path / "programs" / program, *arguments]

    def run(self, program: str, *arguments: str | Path, kernels: bool = True) -> str:
        """What a program prints. kernels: whether their library is loaded, or the operators' bodies run."""
        return run(*self.command(program, *arguments), **variables(kernels))


def variables(kernels: bool) -> dict[str, str]:
    """Which onnxruntime the programs load, and which kernels."""
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
    return {"FUSELINE_ONNXRUNTIME": str(library), "KERNELS": str(library_info().path or "") if kernels else ""}
