"""Files that are read in place, guarded against being cut short meanwhile.

onnxruntime maps large files of weights, and the kernels read them where they are mapped. When somebody truncates such
a file, reading what is gone ends the process by SIGBUS; inside a guard it gives zeros, and the guard says so. The rest
of a file's last page reads as zeros anyway, and no guard knows: whoever must be sure compares the file's size too.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

from .library import Native, kernels

_MAPS = Path("/proc/self/maps")
# "7f5c38000000-7f5c3c000000 r--p 00001000 08:01 1234567    /a path" (man proc_pid_maps)
_LINE = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) (r[w-][x-][ps]) [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) +(\S.*)")


class Guard:
    """Guards memory until it is released, or nothing more refers to it.

    A guard without memory is never broken: where there is no kernel library, where a system has no /proc, and where
    none of the files is mapped.
    """

    def __init__(self, ranges: Sequence[tuple[int, int, bool]] = ()) -> None:
        """ranges: (begin, end, whether it may be written), addresses of whole pages that files are mapped to."""
        native = kernels()
        self._lock = Lock()
        self._was_broken = False
        self._native: Native | None = None
        if ranges and isinstance(native, Native) and (handle := native.guard(ranges)) is not None:
            self._native, self._handle = native, handle
            self._end = weakref.finalize(self, native.end_guard, handle)
            self._end.atexit = False  # the mappings may be in use until the process is gone

    @property
    def broken(self) -> bool:
        """Whether zeros were read for something that a file no longer has. After a release: whether they had been."""
        with self._lock:
            if self._native is not None and not self._was_broken:
                self._was_broken = self._native.is_broken(self._handle)
            return self._was_broken

    def release(self) -> None:
        """Guard nothing any more; may be called again. To be called before the files' mappings go."""
        broken = self.broken
        with self._lock:
            if self._native is not None:
                self._was_broken = broken or self._native.is_broken(self._handle)
                self._native = None
                self._end()


def guard_files(files: Sequence[Path]) -> Guard:
    """Guard all that this process has mapped of these files now.

    From here on, until the guard is released, reading what a file no longer has gives zeros and breaks the guard, where
    it would end the process. So a result is good only if the guard is not broken after it. Files that are mapped later
    are not guarded. Never raises for a file that is missing.
    """
    return Guard(list(_mapped(files)))


def _mapped(files: Sequence[Path]) -> Iterator[tuple[int, int, bool]]:
    """The ranges of these files, known by device and number, or by name where that gives others (overlayfs)."""
    numbers, names = set(), set()
    for file in files:
        try:
            found = os.stat(file)
            names.add(os.fsencode(os.path.realpath(file)))
        except (OSError, ValueError):  # not there, or no name at all
            continue
        numbers.add((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
    if not numbers:
        return
    try:
        lines = _MAPS.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        if parts := _LINE.fullmatch(line):
            begin, end, access, major, minor, inode, name = parts.groups()
            if (int(major, 16), int(minor, 16), int(inode)) in numbers or name in names:
                yield int(begin, 16), int(end, 16), b"w" in access
