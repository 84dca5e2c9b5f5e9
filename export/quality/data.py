"""Photos with what people wrote about them: reads captions.jsonl and COCO's captions JSON, and checks every entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuseline.errors import InputError

DEFAULT_SPLIT = "val"


@dataclass(frozen=True)
class Photo:
    """One photo. name: as the data set calls it; references: what people wrote, at least one text."""

    name: str
    path: Path
    references: tuple[str, ...]
    split: str | None = None


@dataclass(frozen=True)
class DataSet:
    """Photos in the file's order. sha256: that of the file they came from."""

    name: str
    sha256: str
    split: str | None
    photos: tuple[Photo, ...]


def read_data(
    path: str | Path, split: str | None = None, photos: str | Path | None = None, limit: int | None = None
) -> DataSet:
    """The photos of a data set, all of them there.

    path: captions.jsonl (an object a line: {"file": "images/NAME.jpg", "captions": [texts], "split": "val"}), or COCO's
    captions JSON ("images" with id and file_name, "annotations" with image_id and caption). split: one of the file's
    (default: "val" if the file knows splits, else everything); photos: the folder that the names start from (default:
    the file's own); limit: only the first so many. Raises InputError naming the line or the entry that is wrong.
    """
    path = Path(path)
    folder = path.parent if photos is None else Path(photos)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    found = _of_coco(content, path, folder) if path.suffix == ".json" else _of_lines(content, path, folder)
    found, split = _of_split(found, split, path)
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit must be at least 1 photo, not {limit}")
        found = found[:limit]
    missing = [photo.name for photo in found if not photo.path.is_file()]
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(f"{len(missing)} of the {len(found)} photos of {path} are not below {folder}: {some}")
    return DataSet(path.name, hashlib.sha256(content).hexdigest(), split, tuple(found))


def _of_lines(content: bytes, path: Path, folder: Path) -> list[Photo]:
    found: dict[str, Photo] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        entry = _object(line, where)
        name, captions, split = entry.get("file"), entry.get("captions"), entry.get("split")
        if not isinstance(name, str) or not name:
            raise InputError(f'{where}: "file" must be the path of a photo, not {name!r}')
        if not isinstance(captions, list) or not captions or not all(_is_text(text) for text in captions):
            raise InputError(f'{where}: "captions" must be a list of one or more texts')
        if split is not None and not isinstance(split, str):
            raise InputError(f'{where}: "split" must be a text, not {split!r}')
        if name in found:
            raise InputError(f"{where}: {name} is there twice; give each photo one line with all its captions")
        found[name] = Photo(name, folder / name, tuple(captions), split)
    if not found:
        raise InputError(f'{path} has no photos; each line must be {{"file": "NAME.jpg", "captions": [texts]}}')
    return list(found.values())


def _of_coco(content: bytes, path: Path, folder: Path) -> list[Photo]:
    whole = _object(content, str(path))
    images, annotations = whole.get("images"), whole.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise InputError(f'{path} must hold the lists "images" and "annotations", as COCO\'s captions JSON does')
    names: dict[Any, str] = {}
    for image in _objects(images, f"{path}, images"):
        if not isinstance(image.get("file_name"), str) or "id" not in image:
            raise InputError(f'{path}: an image has no "id" or no "file_name": {str(image)[:80]}')
        names[image["id"]] = image["file_name"]
    captions: dict[Any, list[str]] = {key: [] for key in names}
    for note in _objects(annotations, f"{path}, annotations"):
        if not _is_text(note.get("caption")):
            raise InputError(f'{path}: an annotation has no "caption": {str(note)[:80]}')
        if note.get("image_id") not in captions:
            raise InputError(f"{path}: the photo {note.get('image_id')!r} has a caption and is not among the images")
        captions[note["image_id"]].append(note["caption"])
    bare = [names[key] for key, texts in captions.items() if not texts]
    if bare or not names:
        raise InputError(f"{path} has {len(bare)} photos without captions: {', '.join(bare[:3]) or 'no photos at all'}")
    return [Photo(names[key], folder / names[key], tuple(texts)) for key, texts in captions.items()]


def _of_split(found: list[Photo], split: str | None, path: Path) -> tuple[list[Photo], str | None]:
    splits = sorted({photo.split for photo in found if photo.split is not None})
    if not splits and split is None:
        return found, None
    chosen = DEFAULT_SPLIT if split is None else split
    if chosen not in splits:
        raise InputError(f"{path} has no split {chosen!r}; it has {', '.join(splits) or 'none'}")
    return [replace(photo, split=chosen) for photo in found if photo.split == chosen], chosen


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _object(content: bytes, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} must hold a JSON object")
    return value


def _objects(entries: list[Any], where: str) -> Iterator[Mapping[str, Any]]:
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{where}[{number}] must be an object")
        yield entry
