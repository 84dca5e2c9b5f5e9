"""Finds the kernel library, loads it once, and calls it through ctypes.

Whatever keeps it from being used, a missing compiler or another version, leaves the definitions in numpy; only a wrong
wish of the caller is an error.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

import fuseline.kernels.definitions as definitions
from fuseline.errors import InputError, shown
from fuseline.packaged import on_disk
from fuseline.warning import Notice

from .definitions import Box, Float16, Float32, Int64, UInt8

ABI = 10  # FUSELINE_KERNELS_ABI of include/fuseline_kernels.h
FILE = "libfuseline_kernels.so"
_OK = 0  # FUSELINE_OK
_ITEM = 4  # bytes of a float32
_MOST_RESULTS = 2**28  # pixels that a resized photo may have
_ON, _OFF = ("on", "1", ""), ("off", "0")  # what FUSELINE_KERNELS may be; empty is as good as not set


@dataclass(frozen=True)
class LibraryInfo:
    """What the kernels run on.

    path: the library, None without one; isa: the instruction set in use, "portable" without a library; features: what
    the CPU has that matters here, as far as the library tells; abi: the version of the library's interface; reason: why
    there is no library, None if there is.
    """

    path: Path | None
    isa: str
    features: tuple[str, ...]
    abi: int | None
    reason: str | None


class Kernels(Protocol):
    """All kernels, from one source. The arguments have been checked."""

    @property
    def info(self) -> LibraryInfo: ...

    def top_candidates(self, logits: Float32, k: int) -> tuple[Float32, Int64, Float32]: ...

    def beam_candidates(
        self, logits: Float32, scores: Float32, keep: int, normalized: bool
    ) -> tuple[Float32, Float32, Int64, Int64]: ...

    def to_halves(self, floats: Float32, halves: Float16) -> None: ...

    def resized(self, pixels: UInt8, size: tuple[int, int], box: Box, cubic: bool) -> UInt8 | None: ...


class Portable:
    """The definitions in numpy, which say once in a process that they are used, and why."""

    def __init__(self, reason: str) -> None:
        self.info = LibraryInfo(None, "portable", (), None, reason)
        self.notice = Notice(f"fuseline runs on the portable operators, which are slower: {reason}")

    def top_candidates(self, logits: Float32, k: int) -> tuple[Float32, Int64, Float32]:
        self.notice.warn()
        return definitions.top_candidates(logits, k)

    def beam_candidates(
        self, logits: Float32, scores: Float32, keep: int, normalized: bool
    ) -> tuple[Float32, Float32, Int64, Int64]:
        self.notice.warn()
        return definitions.beam_candidates(logits, scores, keep, normalized)

    def to_halves(self, floats: Float32, halves: Float16) -> None:
        self.notice.warn()
        definitions.to_halves(floats, halves)

    def resized(self, pixels: UInt8, size: tuple[int, int], box: Box, cubic: bool) -> UInt8 | None:
        return None


class _Halves(ctypes.Structure):
    """fuseline_halves."""

    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("positions", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("head_size", ctypes.c_int64),
        ("floats", ctypes.c_void_p),
        ("halves", ctypes.c_void_p),
    )


class _Resizing(ctypes.Structure):
    """fuseline_resizing."""

    _fields_ = (
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("pixels", ctypes.c_void_p),
        *((name, ctypes.c_float) for name in ("left", "upper", "right", "lower")),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("filter", ctypes.c_int32),
        ("results", ctypes.c_void_p),
    )


class _Range(ctypes.Structure):
    """fuseline_range."""

    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64), ("writable", ctypes.c_int32))


class Native:
    """The library at `path`, which has the interface ABI. Raises OSError if it lacks a function all the same."""

    def __init__(self, path: Path, library: ctypes.CDLL) -> None:
        self._path = path
        try:
            for name in ("fuseline_isa", "fuseline_available_isas", "fuseline_cpu_features"):
                getattr(library, name).restype = ctypes.c_char_p
            library.fuseline_use_isa.argtypes = (ctypes.c_char_p,)
            self._top_candidates = library.fuseline_top_candidates
            self._beam_candidates = library.fuseline_beam_candidates
            self._to_halves = library.fuseline_to_halves
            self._resize = library.fuseline_resize
            self._guard_begin = library.fuseline_guard_begin
            self._guard_broken = library.fuseline_guard_broken
            self._guard_end = library.fuseline_guard_end
        except AttributeError as error:
            raise OSError(str(error)) from error
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        self._top_candidates.argtypes = (pointer, *(size,) * 4, *(pointer,) * 3)
        chosen = (ctypes.c_int32, size, size)
        self._beam_candidates.argtypes = (pointer, *(size,) * 4, pointer, *chosen, *(pointer,) * 6)
        self._to_halves.argtypes = (ctypes.POINTER(_Halves),)
        self._resize.argtypes = (ctypes.POINTER(_Resizing),)
        self._guard_begin.argtypes = (ctypes.POINTER(_Range), size, ctypes.POINTER(pointer))
        self._guard_broken.argtypes = self._guard_end.argtypes = (pointer,)
        self._guard_end.restype = None
        self._library = library

    @property
    def info(self) -> LibraryInfo:
        features = tuple(_text(self._library.fuseline_cpu_features()).split())
        return LibraryInfo(self._path, _text(self._library.fuseline_isa()), features, ABI, None)

    @property
    def available_isas(self) -> tuple[str, ...]:
        """What use_isa takes on this CPU, widest last."""
        return tuple(_text(self._library.fuseline_available_isas()).split())

    def use_isa(self, name: str) -> None:
        """Use this instruction set from now on, in the whole process. Raises InputError if that is not possible."""
        if self._library.fuseline_use_isa(name.encode()) != _OK:
            raise InputError(
                f"FUSELINE_ISA: the instruction set {shown(name)!r} cannot be used on this machine; "
                f"it offers {', '.join(self.available_isas)}"
            )

    def top_candidates(self, logits: Float32, k: int) -> tuple[Float32, Int64, Float32]:
        rows, vocab = logits.shape
        logits, row_stride = _in_rows(logits)
        values = np.empty((rows, k), np.float32)
        indices = np.empty((rows, k), np.int64)
        logsumexp = np.empty(rows, np.float32)
        status = self._top_candidates(
            logits.ctypes.data,
            rows,
            vocab,
            row_stride,
            k,
            values.ctypes.data,
            indices.ctypes.data,
            logsumexp.ctypes.data,
        )
        if status != _OK:
            raise InputError(f"the kernel library refused to find {k} candidates in float32[{rows}, {vocab}]")
        return values, indices, logsumexp

    def beam_candidates(
        self, logits: Float32, scores: Float32, keep: int, normalized: bool
    ) -> tuple[Float32, Float32, Int64, Int64]:
        (inputs, beams), vocab = scores.shape, logits.shape[1]
        logits, row_stride = _in_rows(logits)
        scores = np.require(scores, requirements=("C", "A"))
        k = min(keep, vocab)
        most = min(keep, beams * k)
        # Two arrays for all results and the scratch behind them: a step has little time for making arrays.
        size = inputs * most
        floats, integers = np.empty(2 * size + k, np.float32), np.empty(2 * size + k, np.int64)
        first_float, first_integer = floats.ctypes.data, integers.ctypes.data
        status = self._beam_candidates(
            logits.ctypes.data,
            inputs,
            beams,
            vocab,
            row_stride,
            scores.ctypes.data,
            normalized,
            k,
            most,  # and not `keep`, which need not fit into 64 bits
            first_float,
            first_float + 4 * size,
            first_integer,
            first_integer + 8 * size,
            first_float + 8 * size,
            first_integer + 16 * size,
        )
        if status != _OK:
            raise InputError(f"the kernel library refused to find {keep} continuations of float32[{inputs}, {beams}]")
        sums, logprobs = floats[: 2 * size].reshape(2, inputs, most)
        tokens, rows = integers[: 2 * size].reshape(2, inputs, most)
        return sums, logprobs, tokens, rows

    def to_halves(self, floats: Float32, halves: Float16) -> None:
        inputs, heads, positions, head_size = halves.shape
        status = self._to_halves(_Halves(inputs, positions, heads, head_size, floats.ctypes.data, halves.ctypes.data))
        if status != _OK:
            raise InputError(f"the kernel library refused to make halves of float32{list(floats.shape)}")

    def resized(self, pixels: UInt8, size: tuple[int, int], box: Box, cubic: bool) -> UInt8 | None:
        (height, width), (columns, rows) = pixels.shape[:2], size
        if not 0 < columns * rows <= _MOST_RESULTS or columns < 0:
            return None
        results = np.empty((rows, columns, 3), np.uint8)
        job = _Resizing(height, width, pixels.ctypes.data, *box, rows, columns, cubic, results.ctypes.data)
        return results if self._resize(job) == _OK else None

    def guard(self, ranges: Sequence[tuple[int, int, bool]]) -> int | None:
        """Begin to guard ranges (begin, end, whether it may be written), at least one: a handle, None if that fails."""
        handle = ctypes.c_void_p()
        status = self._guard_begin(
            (_Range * len(ranges))(*(_Range(*each) for each in ranges)), len(ranges), ctypes.byref(handle)
        )
        return handle.value if status == _OK else None

    def is_broken(self, guard: int) -> bool:
        """Whether a guard that has not ended has met a page that was gone."""
        return bool(self._guard_broken(guard))

    def end_guard(self, guard: int) -> None:
        """To be called once."""
        self._guard_end(guard)


def _in_rows(logits: Float32) -> tuple[Float32, int]:
    """The same float32[R, V] with contiguous rows, and from one row to the next in elements; copied only if need be."""
    row_bytes, step = logits.strides
    if step != _ITEM or row_bytes % _ITEM or row_bytes < logits.shape[1] * _ITEM or not logits.flags.aligned:
        return np.require(logits, requirements=("C", "A")), logits.shape[1]
    return logits, row_bytes // _ITEM


def switched_off(environment: Mapping[str, str]) -> str | None:
    """What FUSELINE_KERNELS says against using a library. Raises InputError where it is neither on nor off."""
    switch = environment.get("FUSELINE_KERNELS", "on")
    if switch in _OFF:
        return f"FUSELINE_KERNELS={switch} switches the kernel library off"
    if switch not in _ON:
        raise InputError(f"FUSELINE_KERNELS must be on or off (or 1 or 0), not {shown(switch)!r}")
    return None


def load(folders: Iterable[str], environment: Mapping[str, str]) -> Kernels:
    """The library of the first folder that has one, else the portable definitions.

    environment: FUSELINE_KERNELS and FUSELINE_ISA are read. Raises InputError if they ask for what there is not.
    """
    if (off := switched_off(environment)) is not None:
        return Portable(off)
    path = next((path for folder in folders if (path := Path(folder, FILE)).is_file()), None)
    if path is None:
        return Portable("the kernel library was not built; installing fuseline where there is a C++ compiler builds it")
    try:
        library = ctypes.CDLL(str(path))
        abi = library.fuseline_abi() if hasattr(library, "fuseline_abi") else "no version"
        if abi != ABI:
            return Portable(f"{path} has another interface ({abi}, not {ABI}); installing fuseline again mends that")
        native = Native(path, library)
    except OSError as error:
        return Portable(f"the kernel library cannot be loaded ({error})")
    if isa := environment.get("FUSELINE_ISA"):
        native.use_isa(isa)
    return native


def folders() -> Iterable[str]:
    """The folders of this package: an editable installation has two, and the library is not beside the sources."""
    places = list(sys.modules[__package__].__path__)
    if not any(map(os.path.isdir, places)) and (unpacked := on_disk("kernels", FILE)) is not None:  # in a zip
        places.append(str(unpacked.parent))
    return places


_lock = Lock()
_loaded: Kernels | None = None


def kernels() -> Kernels:
    """The kernels of this process, loaded when they are first asked for."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = load(folders(), os.environ)
    return _loaded


def _text(c_string: bytes | None) -> str:
    return (c_string or b"").decode()
