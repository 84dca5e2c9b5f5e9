"""Where models are kept that were fetched by name: one folder each, in the user's data folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..folders.description import DESCRIPTION
from .offers import OFFERS

MODELS = "models"


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


def speech_model() -> Path | None:
    """The model that speech is read with where the user names none: of those fetched the one offered first."""
    return next((folder for name, folder in installed().items() if OFFERS[name].reads == "speech"), None)
