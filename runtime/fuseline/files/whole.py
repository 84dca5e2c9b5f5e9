"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import InputError, shown


def write_whole(path: Path, content: bytes) -> None:
    """Put a file there in one step, instead of what is there. Raises InputError, and leaves nothing behind then."""
    made = None
    try:
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", delete=False) as file:
            made = file.name
            file.write(content)
        os.chmod(made, 0o666 & ~_umask())
        os.replace(made, path)
    except (OSError, ValueError) as error:  # of a name that no file system has
        if made is not None and os.path.exists(made):
            os.unlink(made)
        why = error.strerror if isinstance(error, OSError) else "no file can be called so"
        raise InputError(f"{shown(path)}: it cannot be written ({why}); give a place where it can") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
