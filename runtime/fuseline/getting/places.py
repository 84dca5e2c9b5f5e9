"""Where models are kept that were fetched by name: one folder each, in the user's data folder."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..files.reading import DESCRIPTION
from .offers import OFFERS

MODELS, CARD = "models", "MODEL_CARD.md"


def data_folder() -> Path:
    """FUSELINE_DATA where that is set, else XDG_DATA_HOME/fuseline, else where the platform has data.

    It need not exist.
    """
    own = os.environ.get("FUSELINE_DATA")
    if own:
        return Path(own).expanduser().absolute()
    chosen = os.environ.get("XDG_DATA_HOME")
    if chosen and os.path.isabs(chosen):  # the specification wants a relative one ignored
        return Path(chosen) / "fuseline"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "fuseline"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fuseline" / "Data"
    return Path.home() / ".local" / "share" / "fuseline"


def models_folder() -> Path:
    """The folder of the models' folders. It need not exist. Raises RuntimeError where there is no home."""
    return data_folder() / MODELS


def get_again(folder: Path, variants: Sequence[str]) -> str | None:
    """The command that makes a folder anew, with these variants; None for one that `fuseline get` has not made."""
    if folder.name not in OFFERS or not _made_by_get(folder):
        return None
    home = folder.parent
    where = [] if home == models_folder().resolve() else ["--dir", str(home)]
    return shlex.join(["fuseline", "get", folder.name, *where, "--variants", ",".join(variants), "--force"])


def _made_by_get(folder: Path) -> bool:
    """As its model card says."""
    try:
        return (folder / CARD).read_text("utf-8").startswith(OFFERS[folder.name].card.rstrip())
    except (OSError, ValueError):
        return False


def is_model(folder: Path) -> bool:
    """Whether a model lies there, whole or not: that is told when it is opened."""
    try:
        return (folder / DESCRIPTION).is_file()
    except OSError:
        return False


def installed() -> Mapping[str, Path]:
    """The models that were fetched, by their names, in the order of the offers."""
    try:
        folder = models_folder()
    except RuntimeError:  # there is no home
        return {}
    return {name: folder / name for name in OFFERS if is_model(folder / name)}


def fetched_for_speech(argument: str) -> Path:
    """speech_model; argument: where a user names another. Raises InputError where none is here."""
    folder = speech_model()
    if folder is None:
        right = f"fetch one by `fuseline get whisper-tiny.en`, or give {argument} a folder"
        raise InputError(f"there is no model of speech here yet; {right}")
    return folder


def speech_model() -> Path | None:
    """The model that speech is read with where the user names none: of those fetched the one offered first."""
    return next((folder for name, folder in installed().items() if OFFERS[name].reads == "speech"), None)
