"""Copies of the template folders: made, changed, listed with their new hashes, opened, and asked for a caption."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import fuseline
from fuseline.inputs.images import load_image
from tests.fuzz.kinds import Place, Wrong

DESCRIPTION = "fuseline.json"


def copied(place: Place, template: str) -> Path:
    """A whole copy of that template in the case's folder, free to change."""
    folder = place.case / template
    shutil.copytree(place.templates / template, folder)
    return folder


def rewrite(path: Path, content: bytes) -> None:
    """Put another file in its place, whatever is there."""
    if path.is_symlink() or path.exists():
        path.unlink()
    path.write_bytes(content)


def read_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file of a template."""
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


def correct_hashes(folder: Path) -> None:
    """List all files with the sizes and hashes that they have now, so that what they hold is reached."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return
    description = read_object(path)
    for name, listed in description["files"].items():
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            listed |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(path, json.dumps(description).encode())


@cache
def photo() -> Any:
    """A made-up photo, RGB."""
    coarse = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return load_image(coarse.repeat(8, axis=0).repeat(8, axis=1))


def open_model(folder: Path) -> fuseline.Model:
    """With all that can be asked of the folder itself, and nothing of this machine."""
    return fuseline.Model.from_pretrained(folder, None, threads=1)


def caption(folder: Path, **options: Any) -> str:
    """What a user would do: open the folder, caption a photo. Raises Wrong for what no caption can be."""
    model = open_model(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        captions = fuseline.pipeline(model=model)(photo(), generate_kwargs=options)
    texts = [each["generated_text"] for each in captions]
    if not all(isinstance(text, str) for text in texts):
        raise Wrong(f"captions of type {[type(text) for text in texts]}")
    return "\n".join(texts)


@cache
def right_caption(template: Path) -> str:
    """What the template itself says."""
    return caption(template)


def same_caption(folder: Path, right: str, what: str) -> str:
    """Damage that must change nothing: Wrong where the caption is another, or the folder is refused."""
    try:
        found = caption(folder)
    except fuseline.Error as error:
        raise Wrong(f"refused though it means the same ({what}): {error}") from error
    if found != right:
        raise Wrong(f"another caption though it means the same ({what}): {found!r} for {right!r}")
    return "loaded"
