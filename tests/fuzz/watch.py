"""What a worker sees of itself: files, sockets and programs that are opened, memory, words on its outputs.

Files that native libraries open pass Python's audit events by; for those, `inotify` watches the folder `outside`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import PIL
import tokenizers

import fuseline
import fuseline.kernels
from tests.fuzz.kinds import Place

# Audit events that nothing which reads a photo or a folder may raise, by their beginnings.
_FORBIDDEN = (
    "socket.", "subprocess.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "os.exec", "os.fork",
    "os.posix_spawn",
    "os.spawn", "os.system", "os.startfile", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
    "os.truncate", "os.chmod", "os.chown", "os.utime", "os.kill", "os.chdir", "os.putenv", "shutil.", "tempfile.",
    "pickle.find_class", "code.__new__", "ctypes.dlopen",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What Python and its packages are read from, compiled ones too, and what the runtime asks the machine.
_CODE = tuple(
    os.path.realpath(path)
    for path in (
        *(sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), sys.pycache_prefix or sys.prefix),
        *(os.path.dirname(str(module.__file__)) for module in (fuseline, fuseline.kernels)),
        *(os.path.dirname(os.path.dirname(module.__file__)) for module in (np, PIL, tokenizers, onnxruntime)),
    )
)
_MACHINE = ("/sys/devices/system/cpu", "/sys/fs/cgroup", "/proc/cpuinfo", "/dev/null", "/dev/urandom")
_LIBC = ctypes.CDLL(None, use_errno=True)
_IN_ACCESS, _IN_MODIFY, _IN_OPEN, _IN_CREATE = 0x1, 0x2, 0x20, 0x100


class Files:
    """Which files, sockets and programs were opened while `watching`. One a process: audit hooks stay for good."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._readable = tuple(map(os.path.realpath, (place.case, place.cache, *_CODE, "/proc/self"))) + _MACHINE
        self._writable = (os.path.realpath(place.cache), "/dev/null")
        self._armed = False
        self._seen: list[str] = []
        self._inotify = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        _LIBC.inotify_add_watch(
            self._inotify, os.fsencode(place.outside), _IN_ACCESS | _IN_MODIFY | _IN_OPEN | _IN_CREATE
        )
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """The list is filled while the body runs, and with what inotify and the case's folder tell at its end."""
        self._seen = seen = []
        before, descriptors = self._listing(), _descriptors()
        self._native()  # what the making of the case did
        self._armed = True
        try:
            yield seen
        finally:
            self._armed = False
            seen += self._native()
            seen += [f"wrote or removed {name} in the folder" for name in sorted(before ^ self._listing())]
            if _descriptors() > descriptors:
                gc.collect()
                left = _descriptors() - descriptors
                seen += [f"left {left} files open"] if left > 0 else []

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        self._armed = False  # what this function does is not the product's doing
        try:
            if event == "open":
                self._opened(*arguments)
            elif event.startswith(_FORBIDDEN) and not self._harmless(event, arguments):
                self._seen.append(f"{event} {str(arguments)[:150]}")
        finally:
            self._armed = True

    def _harmless(self, event: str, arguments: tuple[Any, ...]) -> bool:
        first = arguments[0] if arguments else None
        if event == "ctypes.dlopen":
            return first is None or os.path.realpath(str(first)).startswith(_CODE)
        path = os.fsdecode(first) if isinstance(first, str | bytes | os.PathLike) else ""
        return event.startswith("os.") and os.path.realpath(path).startswith(self._writable)

    def _opened(self, path: object, mode: object, flags: int) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        real = os.path.realpath(os.fsdecode(path))
        writes = bool(flags & _WRITING)
        if not real.startswith(self._writable if writes else self._readable):
            self._seen.append(f"{'writes' if writes else 'opens'} {self._shown(real)}")

    def _shown(self, real: str) -> str:
        outside = os.path.realpath(self._place.outside)
        return real.replace(outside, "OUTSIDE").replace(os.path.realpath(self._place.case), "FOLDER")

    def _native(self) -> list[str]:
        """What happened in the folder outside since the last call, whoever did it."""
        try:
            events = os.read(self._inotify, 1 << 16)
        except BlockingIOError:
            return []
        names, at = set(), 0
        while at < len(events):
            _, _, _, length = struct.unpack_from("iIII", events, at)
            names.add(events[at + 16 : at + 16 + length].rstrip(b"\0").decode("utf-8", "replace"))
            at += 16 + length
        return [f"opens OUTSIDE/{name}" for name in sorted(names)]

    def _listing(self) -> set[str]:
        found = set()
        for folder, _, names in os.walk(self._place.case):
            for name in names:
                status = os.lstat(os.path.join(folder, name))
                found.add(os.path.join(folder, name)[len(str(self._place.case)) :] + f" {status.st_size}")
        return found


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Memory:
    """By how much the process grew at its peak since `begin`, in megabytes of touched memory."""

    # A guard for the machine only: what a case may touch is measured, and address space is often more than that.
    GUARD = 4

    def begin(self, megabytes: float) -> None:
        """Forget the peak so far, and keep the process from growing beyond GUARD times megabytes."""
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")
        most = int((_status("VmSize") + self.GUARD * megabytes) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

    def end(self) -> float:
        """Megabytes."""
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return _status("VmHWM") - self._before


def resident() -> float:
    """Megabytes of the process now."""
    return _status("VmRSS")


def peak() -> float:
    """Megabytes at the peak since Memory.begin."""
    return _status("VmHWM")


def _status(field: str) -> float:
    """A size in /proc/self/status, in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


class Outputs:
    """File descriptors 1 and 2, into a file, whoever writes to them."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(self._file, 1)
        os.dup2(self._file, 2)
        self._flush()

    def written(self) -> str:
        """What was written since the last call."""
        self._flush()
        size = os.fstat(self._file).st_size
        text = os.pread(self._file, 2000, 0).decode("utf-8", "replace") if size else ""
        if size:
            os.ftruncate(self._file, 0)
        return text

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        _LIBC.fflush(None)
