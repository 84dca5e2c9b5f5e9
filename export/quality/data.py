"""Data sets: photos with what people wrote about them, of captions.jsonl or COCO's captions JSON, texts of pairs.py,
clips of speech of clips.py, or inputs of several sources of sources.py.

Every entry is checked before the first is used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar

from fuseline.errors import InputError, counted, shown, written
from fuseline.folders.tensors import Source

from .clips import Clip, read_clips
from .lines import is_text, object_of, read_bytes
from .pairs import Pair, read_pairs
from .sources import File, Several, lacking, read_inputs

DEFAULT_SPLIT = "val"


@dataclass(frozen=True)
class Photo:
    """One photo. name: as the data set calls it; references: what people wrote, at least one text."""

    name: str
    path: Path
    references: tuple[str, ...]
    split: str | None = None

    @property
    def given(self) -> Path:
        """What a model is given."""
        return self.path


Item = TypeVar("Item", Photo, Pair, Clip, Several)


@dataclass(frozen=True)
class DataSet:
    """Photos, texts, clips, or inputs of several sources in the file's order. sha256: that of the file they came from;
    remarks: what its user should know; kind: what they are."""

    name: str
    sha256: str
    split: str | None
    items: tuple[Photo | Pair | Clip | Several, ...]
    remarks: tuple[str, ...] = ()
    kind: Literal["photos", "texts", "clips", "inputs"] = "photos"

    @property
    def facts(self) -> list[Any]:
        """What tells these from those of another data set."""
        return [self.sha256, self.split, [[item.name, str(item.given)] for item in self.items]]


def read_texts(
    path: str | Path, references: str | Path | None = None, split: str | None = None, limit: int | None = None
) -> DataSet:
    """The texts of a data set. path, references: see pairs.read_pairs; split, limit: as for read_data. Raises
    InputError naming the line that is wrong."""
    path = Path(path)
    found, sha256 = read_pairs(path, None if references is None else Path(references))
    chosen, split = _of_split(found, split, path)
    return DataSet(path.name, sha256, split, tuple(_limited(chosen, limit, "text")), kind="texts")


def read_speech(path: str | Path, split: str | None = None, limit: int | None = None) -> DataSet:
    """The clips of a data set, all of them there. path: see clips.read_clips; split, limit: as for read_data. Raises
    InputError naming the line or the clip that is wrong."""
    path = Path(path)
    found, sha256 = read_clips(path)
    chosen, split = _of_split(found, split, path)
    chosen = _limited(chosen, limit, "clip")
    folder = path if path.is_dir() else path.parent
    _check_files(chosen, path, folder, "clip")
    remarks = _remarks(chosen, path, folder, "clip")
    return DataSet(path.name, sha256, split, tuple(chosen), remarks, kind="clips")


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
    content = read_bytes(path, "captions.jsonl or a JSON of COCO")
    found = _of_coco(content, path, folder) if path.suffix == ".json" else _of_lines(content, path, folder)
    found, split = _of_split(found, split, path)
    found = _limited(found, limit, "photo")
    _check_files(found, path, folder, "photo")
    remarks = _remarks(found, path, folder, "photo")
    return DataSet(path.name, hashlib.sha256(content).hexdigest(), split, tuple(found), remarks)


def read_sources(
    path: str | Path, sources: Mapping[str, Source], split: str | None = None, limit: int | None = None
) -> DataSet:
    """The inputs of a data set with several sources, all files there. path, sources: see sources.read_inputs; split,
    limit: as for read_data. Raises InputError naming the line or the file that is wrong."""
    path = Path(path)
    found, sha256 = read_inputs(path, sources)
    chosen, split = _of_split(found, split, path)
    chosen = _limited(chosen, limit, "input")
    files = [file for item in chosen for file in item.files]
    _check_files(files, path, path.parent, "file")
    remarks = _remarks(files, path, path.parent, "file")
    return DataSet(path.name, sha256, split, tuple(chosen), remarks, kind="inputs")


def of_one_source(data: DataSet, main: str, sources: Mapping[str, Source]) -> DataSet:
    """Photos, texts or clips as inputs of a model with several sources, all but `main` absent. Raises InputError where
    the model needs another."""
    if (lacks := lacking(sources, {main: None})) is not None:
        raise InputError(f'{data.name} has {data.kind} alone, and this model needs {lacks}; give its lines "sources"')
    single = [item for item in data.items if not isinstance(item, Several)]
    items = tuple(Several(item.name, {main: item.given}, item.references, item.split) for item in single)
    return replace(data, items=items, kind="inputs")


def _limited(found: list[Item], limit: int | None, what: str) -> list[Item]:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InputError(f"limit must be at least 1 {what}, not {written(limit)}")
    return found[:limit]


def _remarks(found: Sequence[Photo | Clip | File], path: Path, folder: Path, what: str) -> tuple[str, ...]:
    outside = [item.name for item in found if _leads_out(PurePath(item.name))]
    lie = f"{counted(len(outside), what)} that {path} names {'lies' if len(outside) == 1 else 'lie'} outside of"
    return (f"{lie} {_called(folder)}: {_some(outside)}",) if outside else ()


def _leads_out(name: PurePath) -> bool:
    return name.is_absolute() or ".." in name.parts


def _check_files(found: Sequence[Photo | Clip | File], path: Path, folder: Path, what: str) -> None:
    """What costs little to check of all before any is used: that each is a file, has bytes, may be read."""
    missing = [item.name for item in found if not _is_file(item.path)]
    if missing:
        raise InputError(f"{_of(missing, found, path, what)} not below {_called(folder)}: {_some(missing)}")
    bad = [item.name for item in found if not os.access(item.path, os.R_OK) or not item.path.stat().st_size]
    if bad:
        raise InputError(f"{_of(bad, found, path, what)} empty or may not be read: {_some(bad)}")


def _of(some: Sequence[str], all_of_them: Sequence[object], path: Path, what: str) -> str:
    return f"{len(some)} of the {counted(len(all_of_them), what)} of {path} {'is' if len(some) == 1 else 'are'}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _called(folder: Path) -> str:
    return "the current folder" if folder == Path() else str(folder)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:3])) + (", ..." if len(names) > 3 else "")


def _of_lines(content: bytes, path: Path, folder: Path) -> list[Photo]:
    found: dict[str, Photo] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        entry = object_of(line, where)
        name, captions, split = entry.get("file"), entry.get("captions"), entry.get("split")
        if not isinstance(name, str) or not name:
            raise InputError(f'{where}: "file" must be the path of a photo, not {name!r}')
        if not isinstance(captions, list) or not captions or not all(is_text(text) for text in captions):
            raise InputError(f'{where}: "captions" must be a list of one or more texts, of whole characters')
        if split is not None and not isinstance(split, str):
            raise InputError(f'{where}: "split" must be a text, not {split!r}')
        if name in found:
            raise InputError(f"{where}: {name} is there twice; give each photo one line with all its captions")
        found[name] = Photo(name, folder / name, tuple(captions), split)
    if not found:
        raise InputError(f'{path} has no photos; each line must be {{"file": "NAME.jpg", "captions": [texts]}}')
    return list(found.values())


def _of_coco(content: bytes, path: Path, folder: Path) -> list[Photo]:
    whole = object_of(content, str(path))
    images, annotations = whole.get("images"), whole.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise InputError(f'{path} must hold the lists "images" and "annotations", as COCO\'s captions JSON does')
    names: dict[Any, str] = {}
    seen: set[str] = set()
    for image in _objects(images, f"{path}, images"):
        if not isinstance(image.get("file_name"), str) or not _is_key(image.get("id")):
            raise InputError(f'{path}: an image has no "id" or no "file_name": {str(image)[:80]}')
        if image["id"] in names or image["file_name"] in seen:
            raise InputError(f"{path}: {image['file_name']} or the id {image['id']!r} is there twice among the images")
        seen.add(image["file_name"])
        names[image["id"]] = image["file_name"]
    captions: dict[Any, list[str]] = {key: [] for key in names}
    for note in _objects(annotations, f"{path}, annotations"):
        if not is_text(note.get("caption")):
            raise InputError(f'{path}: an annotation has no "caption": {str(note)[:80]}')
        if not _is_key(note.get("image_id")) or note["image_id"] not in captions:
            raise InputError(f"{path}: the photo {note.get('image_id')!r} has a caption and is not among the images")
        captions[note["image_id"]].append(note["caption"])
    bare = [names[key] for key, texts in captions.items() if not texts]
    if bare or not names:
        without = f"{counted(len(bare), 'photo')} without captions: {_some(bare)}" if bare else "no photos at all"
        raise InputError(f"{path} has {without}; each needs at least one")
    return [Photo(names[key], folder / names[key], tuple(texts)) for key, texts in captions.items()]


def _of_split(found: list[Item], split: str | None, path: Path) -> tuple[list[Item], str | None]:
    splits = sorted({item.split for item in found if item.split is not None})
    if not splits and split is None:
        return found, None
    chosen = DEFAULT_SPLIT if split is None else split
    if chosen not in splits:
        raise InputError(f"{path} has no split {chosen!r}; it has {', '.join(splits) or 'none'}")
    return [replace(item, split=chosen) for item in found if item.split == chosen], chosen


def _is_key(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _objects(entries: list[Any], where: str) -> Iterator[Mapping[str, Any]]:
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{where}[{number}] must be an object")
        yield entry
