"""The CUDA operators for the CPU: compiled once for all tests, or as FUSELINE_TEST_CUDA_LIBRARY names them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.made_once import shared

from .host_library import COMPILER, compile_for_host


@pytest.fixture(scope="session")
def library() -> Path:
    if (given := os.environ.get("FUSELINE_TEST_CUDA_LIBRARY")) is not None:
        return Path(given)
    if COMPILER is None:
        pytest.skip("there is no C++ compiler")
    name = "libfuseline_cuda_host.so"
    return shared("kernels of CUDA", lambda folder: compile_for_host(folder / name)) / name
