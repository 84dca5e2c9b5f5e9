"""The place where a folder is written: one process at a time, the new one put there in one step, no leftovers.

While a folder `name` is written, a hidden one lies beside it, `.name.fuseline-new`, with a lock in it. A process that
is killed leaves it, and whoever writes the folder next removes it. The new folder and the old one are exchanged by
the file system in one step. Where it cannot do that, the old one is called `.name.fuseline-old` for a moment, and
whoever comes next puts it back if it was not replaced.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from fuseline.errors import ExportError

_LONGEST_NAME = 255  # bytes, on all file systems in use
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100  # linux/fs.h, fcntl.h
# What a file system without RENAME_EXCHANGE answers, and a kernel without renameat2.
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
# What via_optimum.py writes: optimum's graphs with their weights, and the checkpoint's files.
_OPTIMUMS_GRAPH = re.compile(r"(en|de)coder_model(_merged)?\.onnx([._]data)?")
_OPTIMUMS_FILES = {
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
}
_Path = TypeVar("_Path", bound=str | Path | None)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Place:
    """A path that this process alone writes to, see claimed. scratch: the hidden folder beside it."""

    path: Path
    scratch: Path

    @contextmanager
    def replaced(self) -> Iterator[Path]:
        """An empty folder that takes the place's own when it is filled. Where anything fails, all is as it was."""
        with self.beside() as new:
            yield new
            self.put(new)

    @contextmanager
    def beside(self) -> Iterator[Path]:
        """An empty folder that goes at the end, unless `put` has taken it."""
        new = self.scratch / "new"
        new.mkdir()
        try:
            yield new
        finally:
            _clear(self.scratch)

    def put(self, new: Path) -> None:
        """Let what `beside` gave take the place. Where that fails, the place is as it was."""
        _be_like(self.path, new)
        _sync(new)
        self._put(new)

    def _put(self, new: Path) -> None:
        """The old folder is in scratch afterwards, if there was one."""
        if not self.path.is_dir():
            os.rename(new, self.path)
        elif not _exchanged(new, self.path):
            try:
                os.rename(self.path, beside(self.path, "old"))
                os.rename(new, self.path)
            finally:
                _recover(self.path, self.scratch)
        _fsync(self.path.parent)


@contextmanager
def claimed(path: Path) -> Iterator[Place]:
    """Nobody else writes to path meanwhile; what a killed process left of its work there is put right first.

    Folders that lead to the path and are not there are made, and go again where nothing was written in the end.
    Raises ExportError where another process has claimed it, or nothing can be written beside it.
    """
    path = located(path)
    _check_name(path)
    scratch = beside(path, "new")
    with _leading_to(path):
        lock = _locked(scratch, path)
        try:
            _recover(path, scratch)
            _clear(scratch)
            yield Place(path, scratch)
        except OSError as error:
            if error.errno in _FULL and error.filename is None:  # as a file that is open already raises it
                error.filename = str(path.parent)
            raise
        finally:
            _clear(scratch)
            (scratch / "lock").unlink(missing_ok=True)
            with suppress(OSError):  # another process has put its lock there already
                scratch.rmdir()
            lock.close()


@contextmanager
def _leading_to(path: Path) -> Iterator[None]:
    """The folders above path are there meanwhile; of those made here the ones that stayed empty go."""
    made = [folder for folder in path.parents if not os.path.lexists(folder)]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"the folder {path.parent} cannot be made: {error.strerror}") from error
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # it holds something, or was not made after all
                folder.rmdir()


def located(path: Path) -> Path:
    """The path without links and dots in what leads to it; the last name may be a link. Raises ExportError."""
    try:
        return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
    except (OSError, RuntimeError, ValueError) as error:  # also for a loop of links, and for a zero byte
        raise ExportError(f"{path} is no path that can be written to: {error}") from error


def recovered(path: _Path) -> _Path:
    """The same path, after an old folder that a killed process left beside it is back there."""
    with suppress(ExportError, OSError, ValueError):
        if path is not None and beside(located(Path(path)), "old").is_dir():
            with claimed(Path(path)):
                pass
    return path


def check_out(out: Path, *, replace: bool = True) -> None:
    """Raises ExportError if a folder cannot be written to `out`, or something is there that is not to be replaced.

    replace: whether a fuseline folder, or what --via optimum wrote, may be; anything else never is.
    """
    check_place(located(out))
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ExportError(f"{out} exists and is not a folder; name another folder to export to")
    filled = out.is_dir() and any(out.iterdir())
    if filled and not (out / "fuseline.json").is_file() and not _is_via_optimum(out):
        raise ExportError(
            f"{out} holds something else than a fuseline folder and is left as it is; name another folder"
        )
    if filled and not replace:
        found = "a fuseline folder" if (out / "fuseline.json").is_file() else "an export via optimum"
        raise ExportError(f"{out} is {found} already; replace it with --force, or name another folder")


def _is_via_optimum(folder: Path) -> bool:
    """Whether there is what --via optimum writes, and nothing else: such a folder has no fuseline.json."""
    names = {path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    graphs = {name for name in names if _OPTIMUMS_GRAPH.fullmatch(name)}
    return "encoder_model.onnx" in graphs and not set(os.listdir(folder)) - graphs - _OPTIMUMS_FILES


def check_place(path: Path) -> None:
    """Raises ExportError where what is at that path, as located gives it, cannot make way for another folder."""
    _check_name(path)
    with suppress(FileNotFoundError):  # of a current folder that was removed
        if Path.cwd().is_relative_to(path):
            raise ExportError(f"{path} is the current folder or holds it, so it cannot be replaced; run from elsewhere")
    if path.is_dir() and not path.is_symlink():
        _check_mounts(path)


def _check_name(path: Path) -> None:
    """Raises ExportError where nothing can be written beside the path."""
    if not path.name:
        raise ExportError(f"{path} cannot be replaced; name a folder in it")
    if "\0" in path.name or len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise ExportError(f"{path.name!r} cannot be the name of a folder; give a shorter one, without zero bytes")
    above = next(folder for folder in path.parents if os.path.lexists(folder))  # what is missing below it is made
    if not above.is_dir():
        raise ExportError(f"{above} is not a folder, so {path.name} cannot be written below it; name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ExportError(f"nothing can be written into {above}, where {path.name} would be; name another place")


def _check_mounts(path: Path) -> None:
    """A mount point cannot be renamed, and what is mounted in a folder would be removed with the folder."""
    home = path.parent.stat().st_dev
    for where, _, _ in os.walk(path):
        if os.path.ismount(where) or os.stat(where).st_dev != home:
            raise ExportError(f"{where} is a mount point, so {path} cannot be replaced; name another folder")


def beside(path: Path, what: str) -> Path:
    """A hidden name beside a file or folder, for what fuseline keeps there."""
    name = f".{path.name}.fuseline-{what}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.fuseline-{what}"
    return path.with_name(name)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it there; a link to the old file's content stays what it was.

    For the process that has claimed the folder. Raises OSError if it cannot be done.
    """
    new = beside(path, "new")
    new.unlink(missing_ok=True)  # a killed process left it
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _fsync(path.parent)


def _locked(scratch: Path, path: Path) -> IO[bytes]:
    """The lock in scratch, held as long as the file is open. Its last owner may remove both at any time."""
    while True:
        with suppress(FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)  # whose maker may just have removed it, see _leading_to
            scratch.mkdir(mode=0o700)
        try:
            lock = (scratch / "lock").open("ab")
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat((scratch / "lock").stat(), os.fstat(lock.fileno())):
                return lock
        except FileNotFoundError:
            pass
        except BlockingIOError:
            lock.close()
            raise ExportError(f"another process is writing {path}; wait until it is done") from None
        except OSError as error:
            lock.close()
            if error.errno not in _NO_LOCKS:
                raise
            raise ExportError(f"the file system of {path} has no locks; write to another one") from error
        lock.close()


def _recover(path: Path, scratch: Path) -> None:
    """Finish or take back what _put began: put an old folder back whose place is empty, remove one that was replaced.

    Raises ExportError where the place was taken by something else before the old folder could be put back.
    """
    old = beside(path, "old")
    if not old.is_dir():
        return
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if not os.path.lexists(path):
        os.rename(old, path)
        _fsync(path.parent)
    elif not (scratch / "new").is_dir():  # it is what lies at path now
        os.rename(old, scratch / "old")
    else:
        raise ExportError(f"{old} is what {path} was before a process was killed; move one of them somewhere else")


def _clear(scratch: Path) -> None:
    """Remove all but the lock."""
    for left in scratch.iterdir() if scratch.is_dir() else ():
        if left.name == "lock":
            continue
        if left.is_symlink() or not left.is_dir():
            left.unlink()
            continue
        for where, _, _ in os.walk(left):
            os.chmod(where, 0o700)  # what the user had made read-only
        shutil.rmtree(left)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step. False where the file system or the kernel cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # not Linux, or another C library
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _be_like(old: Path, new: Path) -> None:
    """Permissions and owner of the folder that is replaced, also for what is new in it. Only root can give away."""
    if not old.is_dir():
        return
    was = old.stat()
    os.chmod(new, stat.S_IMODE(was.st_mode))
    if (was.st_uid, was.st_gid) == (new.stat().st_uid, new.stat().st_gid):
        return
    with suppress(PermissionError):
        for where, _, files in os.walk(new):
            for path in [where, *(os.path.join(where, name) for name in files)]:
                if os.path.isdir(path) or os.lstat(path).st_nlink == 1:  # else it is a file of the old folder
                    os.chown(path, was.st_uid, was.st_gid, follow_symlinks=False)


def _sync(folder: Path) -> None:
    """All that is new in a folder is on the disk before it is renamed: a power cut would else leave its files empty."""
    new = []
    for where, _, files in os.walk(folder):
        for path in [*(os.path.join(where, name) for name in files), where]:
            about = os.lstat(path)
            if stat.S_ISDIR(about.st_mode) or (stat.S_ISREG(about.st_mode) and about.st_nlink == 1):
                new.append(path)
    with ThreadPoolExecutor(
        8
    ) as pool:  # asked for at once, they are written with one entry of the file system's journal
        list(pool.map(_fsync, new))


def _fsync(path: str | Path) -> None:
    try:
        number = os.open(path, os.O_RDONLY)
    except PermissionError:  # a file of the user's that nobody may read; it is a link to one that was there before
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # of file systems that have nothing to do for folders
            raise
    finally:
        os.close(number)
