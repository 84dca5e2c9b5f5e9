"""Folders of small models of every kind as `fuseline export` makes them, fp32: each is made once a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuseline.export import export
from tests import speech_models, text_models, zoo
from tests.made_once import made_once


def photos(name: str, root: Path) -> Path:
    """Of a captioner in zoo.MODELS, or of "blip", seed 0: root / "folder", of the checkpoint root / "source"."""
    return _exported(
        root, name, zoo.write_checkpoint, lambda: zoo.blip(0) if name == "blip" else zoo.vision_encoder_decoder(name, 0)
    )


def texts(name: str, root: Path) -> Path:
    """The same of text_models.MODELS."""
    return _exported(root, name, text_models.write_checkpoint, lambda: text_models.text_model(name, 0))


def speech(name: str, root: Path) -> Path:
    """The same of speech_models.MODELS."""
    return _exported(root, name, speech_models.write_checkpoint, lambda: speech_models.speech_model(name, 0))


def _exported(root: Path, name: str, write: Callable[[Any, Path], Path], model: Callable[[], Any]) -> Path:
    made_once(
        root,
        f"exported {write.__module__} {name}",
        lambda folder: export(write(model(), folder / "source"), folder / "folder"),
    )
    return root / "folder"
