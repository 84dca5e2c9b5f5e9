"""Operators for NVIDIA's GPUs, in a library of their own, which `python -m fuseline.kernels.cuda` builds.

No wheel has it. Where it lies beside the kernel library it is registered with sessions whose provider is CUDA, and with
no others (fuseline.graphs.session); without it the operators' bodies run. FUSELINE_KERNELS=off leaves it alone too.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..library import folders, switched_off

ABI = 1  # kAbi of src/operators.cpp
FILE = "libfuseline_cuda.so"
HOW = "python -m fuseline.kernels.cuda builds it"


@dataclass(frozen=True)
class CudaOperators:
    """path: the library, None where it cannot be used; reason: why, None where it can."""

    path: Path | None
    reason: str | None


@cache
def cuda_operators() -> CudaOperators:
    """The library, loaded, which CUDA's own libraries must be before. Raises InputError as library_info does."""
    return find(folders(), os.environ)


def find(places: Iterable[str], environment: Mapping[str, str]) -> CudaOperators:
    """That of the first folder that has one. Raises InputError for a FUSELINE_KERNELS that is neither on nor off."""
    if (reason := switched_off(environment)) is not None:
        return CudaOperators(None, reason)
    if (path := _file(places)) is None:
        return CudaOperators(None, f"the library was not built; {HOW}")
    try:
        library = ctypes.CDLL(str(path))
        abi = library.fuseline_cuda_abi() if hasattr(library, "fuseline_cuda_abi") else "no version"
    except OSError as error:
        return CudaOperators(None, f"the library cannot be loaded ({error}); {HOW} anew")
    if abi != ABI:
        return CudaOperators(None, f"{path} has another interface ({abi}, not {ABI}); {HOW} anew")
    return CudaOperators(path, None)


def stamp() -> tuple[int, int] | None:
    """Size and time of the library that would be used, None where there is none; nothing is loaded. What was found out
    about a device holds for the library that was there. Raises InputError as `find` does."""
    path = None if switched_off(os.environ) is not None else _file(folders())
    if path is None:
        return None
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _file(places: Iterable[str]) -> Path | None:
    return next((path for folder in places if (path := Path(folder, FILE)).is_file()), None)
