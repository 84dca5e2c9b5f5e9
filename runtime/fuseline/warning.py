"""Warnings that point at the caller's own line, however many functions of this package are in between."""

from __future__ import annotations

import sys
import warnings

_PACKAGE = __package__  # its parts, fuseline.export and the rest, begin with it and a point


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn on behalf of the first function outside the package, by the callers of this one."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__") or "<unknown>"
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, str(module), registry)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and (module == _PACKAGE or module.startswith(f"{_PACKAGE}."))
