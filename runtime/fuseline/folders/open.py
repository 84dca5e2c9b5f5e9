"""Which kind of folder a path or a name is, opened as that kind."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from ..errors import FolderError, InputError, shown, written
from ..files.reading import DESCRIPTION, reading
from ..packaged import on_disk
from .hub import downloaded, has_form, is_hub_id
from .own import Folder, open_own_folder

AUTO = "auto"  # in the place of a variant: what fuseline.trials.auto chooses
DEFAULT_MODEL = "flickr8k-lite1"
_RIGHT = "name a folder that `fuseline export` or optimum wrote, or a model on the hub as org/name"


def open_folder(path: str | Path | None = None, variant: str | None = None, *, whole: bool = False) -> Folder:
    """Check the folder at path: what every variant reads, and the files of the one that is asked for.

    path None: the captioner that ships; variant None: the folder's default. whole: check every listed file.
    Files of other variants may be missing. A name such as "org/name" that is no folder here is looked for on the
    hub. A folder without fuseline.json is opened by the conventions of other tools, see fuseline.folders.foreign.
    Raises FolderError naming the file and the reason: missing, truncated, edited, outside the folder, malformed.
    """
    root = find(path, variant)
    if not os.path.lexists(root / DESCRIPTION):
        from .foreign import open_foreign_folder  # with all that knows tokenizers, which own folders need not

        return open_foreign_folder(root, variant)
    return open_own_folder(root, variant, whole=whole)


def find(path: str | Path | None, variant: str | None = None) -> Path:
    """The resolved folder at path; a bare name that is no folder here may be that of a model that ships, or of one that
    `fuseline get` has fetched.

    A text "org/name" that is no path here is downloaded from the hub, as much of it as the variant needs.
    Raises FolderError if there is no folder.
    """
    if path is not None and not isinstance(path, str | os.PathLike):
        raise InputError(f"a model is a folder's path or a name on the hub, not {written(path)}")
    if path is not None and not os.fspath(path):
        raise FolderError(f"a model's path is empty; {_RIGHT}, or . for the current folder")
    root = on_disk("models", DEFAULT_MODEL) if path is None else Path(path)
    if root is None:
        raise FolderError(f"the captioner {DEFAULT_MODEL} is not there; install fuseline again")
    with reading(root):
        if not os.path.lexists(root):
            bare = str(root) if str(root) == PurePosixPath(root).name else None
            shipped = on_disk("models", bare) if bare else None
            if shipped is not None and (shipped / DESCRIPTION).exists():
                root = shipped
            elif bare and (fetched := _fetched(bare)):
                root = fetched
            elif isinstance(path, str) and is_hub_id(path):
                root = downloaded(path, variant)
        if not root.exists():
            raise FolderError(f"there is no model folder {shown(root, 400)}{_not_asked(path)}; {_RIGHT}")
        if not root.is_dir():
            raise FolderError(
                f"{root} is a file; a model is a folder with a {DESCRIPTION}, or of ONNX graphs by optimum"
            )
        return root.resolve()


def _fetched(name: str) -> Path | None:
    """The folder of a model that can be fetched by this name. Raises FolderError where it is not here yet."""
    from ..getting.offers import OFFERS
    from ..getting.places import installed

    folder = installed().get(name)
    if folder is None and name in OFFERS:
        raise FolderError(f"{name} is not fetched yet; `fuseline get {name}` fetches it")
    return folder


def _not_asked(path: str | Path | None) -> str:
    """Why a name of the hub's form was taken for a path."""
    first = PurePosixPath(str(path)).parts[:1]
    if isinstance(path, str) and has_form(path) and os.path.lexists(first[0]):
        return f"; {first[0]} is there, so the name is a path here and the hub was not asked"
    return ""
