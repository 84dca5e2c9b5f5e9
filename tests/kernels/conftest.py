"""What tests of single kernels share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fuseline.kernels import library

LIBRARY = library.load(library.folders(), {})
ISAS = LIBRARY.available_isas if isinstance(LIBRARY, library.Native) else ()
BODY = "body"  # of an operator, in the place of an instruction set


class Definition(library.Portable):
    """The portable operators, which need not say so here."""

    def __init__(self) -> None:
        super().__init__("asked for by a test")
        self.notice._said = True


@pytest.fixture(params=["definition", *ISAS])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[library.Kernels]:
    """Each implementation in turn, put in place for the functions of fuseline.kernels."""
    chosen = LIBRARY if request.param in ISAS else Definition()
    monkeypatch.setattr(library, "_loaded", chosen)
    if not isinstance(chosen, library.Native):
        yield chosen
        return
    before = chosen.info.isa
    chosen.use_isa(request.param)
    assert chosen.info.isa == request.param
    yield chosen
    chosen.use_isa(before)


@pytest.fixture(params=[BODY, *ISAS])
def on(request: pytest.FixtureRequest) -> Iterator[str]:
    """The body, or the library with each instruction set."""
    if request.param == BODY:
        yield BODY
        return
    before = LIBRARY.info.isa
    LIBRARY.use_isa(request.param)  # type: ignore[attr-defined]
    yield request.param
    LIBRARY.use_isa(before)  # type: ignore[attr-defined]
