"""Faults on purpose, one of each kind that the fuzzer must notice; tests/runtime/test_fuzz.py says which."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable
from random import Random

import numpy as np

import fuseline
from tests.fuzz.kinds import Kind, Place, Trial, Wrong

_LIBC = ctypes.CDLL(None)


def _nothing(_: Place) -> str:
    return "loaded"


def _refuse(_: Place) -> str:
    raise fuseline.Error("the photo is empty; give one that is whole")


def _die(_: Place) -> str:
    os.kill(os.getpid(), signal.SIGSEGV)
    return "loaded"


def _leave(_: Place) -> str:
    os._exit(0)


def _compute(_: Place) -> str:
    while True:
        pass


def _sleep(_: Place) -> str:
    time.sleep(3600)
    return "loaded"


def _grow(_: Place) -> str:
    return f"loaded {np.ones(2**29, np.float32)[-1]}"  # two gigabytes


def _grow_and_fail(_: Place) -> str:
    return f"loaded {np.ones(2**40, np.float32).sum()}"


def _escape(_: Place) -> str:
    raise ValueError("no error of fuseline")


class _Long(fuseline.Error):
    def __str__(self) -> str:
        return "one line\nand another"


def _two_lines(_: Place) -> str:
    raise _Long


def _show_an_object(_: Place) -> str:
    raise fuseline.Error(f"a photo cannot be read from {object()}")


def _write_to_2(_: Place) -> str:
    os.write(2, b"libpng warning: something\n")
    return "loaded"


def _print_in_c(_: Place) -> str:
    _LIBC.puts(b"words of a library")
    return "loaded"


def _open_a_file(_: Place) -> str:
    with open("/etc/hostname"):
        return "loaded"


def _open_in_c(place: Place) -> str:
    _LIBC.close(_LIBC.open(os.fsencode(place.outside / "weights.bin"), os.O_RDONLY))
    return "loaded"


def _write_a_file(place: Place) -> str:
    (place.case / "left").write_text("behind")
    return "loaded"


def _keep_open(place: Place) -> str:
    os.open(place.case, os.O_RDONLY)
    return "loaded"


def _connect(_: Place) -> str:
    with socket.socket() as made:
        made.connect_ex(("127.0.0.1", 9))
    return "loaded"


def _warn(_: Place) -> str:
    warnings.warn("overflow encountered", RuntimeWarning, stacklevel=1)
    return "loaded"


def _lie(_: Place) -> str:
    raise Wrong("an image of 3 x 4 from a photo of 4 x 3")


def _run(_: Place) -> str:
    os.system("true")
    return "loaded"


# What each does, and the kind of finding that it must be; None for none.
FAULTS: tuple[tuple[Callable[[Place], str], str | None], ...] = (
    (_nothing, None),
    (_refuse, None),
    (_die, "death"),
    (_leave, "death"),
    (_compute, "hang"),
    (_sleep, "hang"),
    (_grow, "memory"),
    (_grow_and_fail, "escape"),
    (_escape, "escape"),
    (_two_lines, "message"),
    (_show_an_object, "message"),
    (_write_to_2, "noise"),
    (_print_in_c, "noise"),
    (_open_a_file, "outside"),
    (_open_in_c, "outside"),
    (_write_a_file, "outside"),
    (_keep_open, "outside"),
    (_connect, "outside"),
    (_run, "outside"),
    (_warn, "warning"),
    (_lie, "answer"),
)


def number_of(random: Random) -> int:
    """Which of FAULTS the case with these random numbers is."""
    return random.randrange(len(FAULTS))


def _make(random: Random, place: Place) -> Trial:
    fault = FAULTS[number_of(random)][0]
    (place.case / "photo").write_bytes(random.randbytes(8))
    return Trial(fault.__name__.strip("_"), lambda: fault(place), cpu_seconds=1.0 if fault is _compute else None)


KIND = Kind("planted", _make, cpu_seconds=10.0, megabytes=700.0, templates=False, asleep_seconds=1.0)
