"""The C programs, built once for all tests of this room."""

from __future__ import annotations

import shutil

import pytest

from tests.embed.built import Programs


@pytest.fixture(scope="session")
def c_programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """tests/embed/calls.c and examples/c under sanitizers."""
    if shutil.which("cmake") is None or shutil.which("cc") is None:
        pytest.skip("needs cmake and a C compiler")
    return Programs.build(tmp_path_factory.mktemp("programs"))
