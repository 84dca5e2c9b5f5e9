"""The C programs, built once for all tests of this room."""

from __future__ import annotations

import shutil

import pytest

from tests.embed.built import Programs
from tests.made_once import shared


@pytest.fixture(scope="session")
def c_programs() -> Programs:
    """tests/embed/calls.c and examples/c under sanitizers."""
    if shutil.which("cmake") is None or shutil.which("cc") is None:
        pytest.skip("needs cmake and a C compiler")
    return Programs(shared("programs in C", Programs.build))
