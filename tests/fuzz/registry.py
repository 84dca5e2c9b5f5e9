"""All kinds of cases by name."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from tests.fuzz.kinds import Kind

NAMES = ("photos", "folders", "graphs", "tokenizers", "options", "operators")
PLANTED = "planted"  # faults on purpose, for the test of the fuzzer itself; runs only by name


def kinds_of(names: Iterable[str]) -> dict[str, Kind]:
    """The kinds of these names, each of the module of its name. Raises KeyError for a name that is none."""
    known = (*NAMES, PLANTED)
    for name in names:
        if name not in known:
            raise KeyError(f"there is no kind {name}; there are {', '.join(NAMES)}")
    return {name: import_module(f"tests.fuzz.{name}").KIND for name in names}
