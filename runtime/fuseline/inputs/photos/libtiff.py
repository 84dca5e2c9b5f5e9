"""libtiff, which writes what it finds damaged to standard error by itself, kept quiet while a photo is decoded."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_within = 0
_handler: Any = None  # what libtiff had before, while threads are within


@contextmanager
def quiet(extension: str) -> Iterator[None]:
    """`extension`: the file of Pillow's compiled part. Where its libtiff cannot be found, nothing is changed."""
    global _within, _handler
    try:
        set_handler = ctypes.CDLL(extension).TIFFSetErrorHandler
    except (AttributeError, OSError):
        yield
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    with _lock:
        if _within == 0:
            _handler = set_handler(None)
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if _within == 0:
                set_handler(_handler)
