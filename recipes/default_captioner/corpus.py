"""What training reads, put together from the folders of photos, pictures made here, words and sentences."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tokenizers import Tokenizer

from fuseline.errors import InputError

from .batches import Corpus, PhotoSet
from .data import CAPTIONS, Photo, Views, read_captions, read_kinds
from .efficientnet import LITE1, Variant
from .made import made_photos
from .prepare import prepare
from .words import Classes, Sentences, build_tokenizer, token_ids

# Views of each photo: plain, mirrored, and random ones. Each costs 20 ms a photo to make. Pages are not mirrored.
VIEWS = {"train": 4, "kinds": 2, "made": 1}
TOKENIZER = "tokenizer.json"
TRAINED_WITH = "trained_with.sha256"
# Templates that must have a word before it is a token of its own.
TEMPLATES = 2


def load_corpus(
    work: Path, data: Path, kinds: Path | None, others: list[Path], scored_too: list[Path], encoder: Variant = LITE1
) -> Corpus:
    """data: photos with captions, `train` and `val`; kinds: photos of things with labels, or None; others: more photos
    with captions to train with; scored_too: folders whose photos are only scored. The encoder's front
    and the tokenizer are made where `work` has none."""
    train, val = read_captions(data, "train"), read_captions(data, "val")
    work.mkdir(parents=True, exist_ok=True)
    sets = {"train": (train, 1.0)}
    for number, folder in enumerate(others):
        sets[f"train_{number}"] = read_captions(folder, "train"), 1.0
    scored = {"val": val}
    if kinds is not None:
        sets["kinds"] = read_kinds(kinds, "train"), 0.7
        scored["kinds_dev"] = read_kinds(kinds, "dev")
    sets["made"] = made_photos(work, sets["kinds"][0] if kinds is not None else []), 0.4
    scored |= {folder.name: read_captions(folder, None) for folder in scored_too}
    _check_same(work, [photos for photos, _ in sets.values()], encoder)
    classes, sentences = Classes.read(), Sentences.read()
    tokenizer = _tokenizer(work, [photos for photos, _ in sets.values()], classes, sentences)
    chosen = []
    for name, (photos, share) in sets.items():
        chosen.append(_photo_set(work, name, photos, tokenizer, encoder, VIEWS[name.split("_")[0]], share))
    held = {name: _photo_set(work, name, photos, tokenizer, encoder, 1) for name, photos in scored.items()}
    return Corpus(chosen, held, tokenizer, classes, sentences)


def _check_same(work: Path, sets: list[list[Photo]], encoder: Variant) -> None:
    """Raises InputError where `work` has been used to train with something else: all that it keeps is of that."""
    digest = hashlib.sha256(encoder.name.encode())
    for photos in sets:
        digest.update(repr([(photo.file.name, photo.captions) for photo in photos]).encode())
    path, found = work / TRAINED_WITH, digest.hexdigest()
    if path.exists() and path.read_text(encoding="utf-8") != found:
        raise InputError(f"{work} is of other photos, captions or another encoder; give another folder, or empty it")
    path.write_text(found, encoding="utf-8")


def _tokenizer(work: Path, sets: list[list[Photo]], classes: Classes, sentences: Sentences) -> Tokenizer:
    """The one of the work folder, or a new one."""
    path = work / TOKENIZER
    if not path.exists():
        captions = [caption for photos in sets for photo in photos for caption in photo.captions]
        names = [word for photos in sets for photo in photos for name in photo.names for word in name.split()]
        spoken = [word for word, count in sentences.words().items() if count >= TEMPLATES]
        always = [*spoken, *names, *(word for name in classes.names for word in name.split())]
        path.write_text(build_tokenizer(captions, sorted(set(always))).to_str(pretty=True), encoding="utf-8")
    return Tokenizer.from_file(str(path))


def _photo_set(
    work: Path, name: str, photos: list[Photo], tokenizer: Tokenizer, encoder: Variant, views: int, share: float = 1.0
) -> PhotoSet:
    prepare(work, name, photos, views, encoder, encoder.image_size)
    ids = token_ids(tokenizer, [caption for photo in photos for caption in photo.captions])
    return PhotoSet(name, photos, Views.load(work, name), ids.reshape(len(photos), CAPTIONS, -1), share)
