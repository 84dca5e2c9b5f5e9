"""Packages that the runtime does without and some commands need."""

from __future__ import annotations

from importlib.util import find_spec

from .errors import ExportError


def need(what: str, packages: tuple[str, ...]) -> None:
    """Raise ExportError naming those that are missing. what: the work, such as "exporting"."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        install = f"install with pip install {' '.join(missing)}"
        raise ExportError(f"{what} needs {' and '.join(missing)}, which {are} missing; {install}")
