"""What a model is calibrated and compared with: photos, texts or clips of the user's, or made-up ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuseline.errors import InputError, counted
from fuseline.folders.tensors import ATTENTION_MASK, INPUT_IDS, INPUT_VALUES, PHOTOGRAPH, SPEECH, TEXT
from fuseline.model import Model

from ..checkpoints.generated import generated_clips, generated_photos, generated_texts
from ..quality.clips import SUFFIXES, read_clips
from ..quality.lines import read_lines
from ..quality.reading import Inputs, Reading

LEAST = 8
MOST = 128  # to calibrate with; more changed nothing: 2,000 rows were enough for the layers of the default captioner
JUDGES = 32  # to compare on, at most
CLIPS = 16  # of made-up speech: an encoder of speech takes as long as a dozen of photos
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_AT_ONCE = 8

Example = Path | str  # a photo or a clip, or a text


@dataclass(frozen=True)
class Examples:
    """What the user gave. seen: what is calibrated with, spread evenly over all; others: the rest."""

    seen: Sequence[Example] = ()
    others: Sequence[Example] = ()


def read_examples(model: Model, place: Path) -> Examples:
    """A folder of photos, a file with a text a line, or a folder or a data set of clips, as the model reads.

    Raises InputError for too few.
    """
    found = _READ[model.folder.source.reads](place)
    if len(found) <= MOST:
        return Examples(found)
    chosen = {index * len(found) // MOST for index in range(MOST)}
    return Examples(*([found[i] for i in range(len(found)) if (i in chosen) == seen] for seen in (True, False)))


def _photos(folder: Path) -> Sequence[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of photos to calibrate with")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    if len(found) < LEAST:
        raise InputError(f"{folder} has {counted(len(found), 'photo')}, and calibrating takes at least {LEAST}")
    return found


def _texts(file: Path) -> Sequence[str]:
    if file.is_dir():
        raise InputError(f"{file} is a folder, and this model reads texts; calibrate with a file that has one a line")
    found = [line for line in read_lines(file) if line.strip()]
    if len(found) < LEAST:
        raise InputError(f"{file} has {counted(len(found), 'line')} with text, and calibrating takes at least {LEAST}")
    return found


def _clips(place: Path) -> Sequence[Path]:
    if place.is_dir():
        found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    else:
        found = [clip.path for clip in read_clips(place)[0]]
    if len(found) < LEAST:
        raise InputError(f"{place} has {counted(len(found), 'clip')}, and calibrating takes at least {LEAST}")
    return found


_READ: Mapping[str, Callable[[Path], Sequence[Example]]] = {PHOTOGRAPH: _photos, TEXT: _texts, SPEECH: _clips}


def batches(model: Model, examples: Sequence[Any], reading: Reading) -> list[Inputs]:
    """What the encoder reads of them, a few together; clips of samples alone, as their encoder computes them."""
    at_once = 1 if INPUT_VALUES in model.folder.source.inputs else _AT_ONCE
    return [reading.inputs(model, examples[at : at + at_once]) for at in range(0, len(examples), at_once)]


def judging(model: Model, examples: Examples, reading: Reading) -> list[Inputs]:
    """What variants are compared on: of the user's what was not calibrated with, where that is enough, or made-up."""
    others = examples.others
    if len(others) >= LEAST:
        return batches(model, others[:: -(-len(others) // JUDGES)], reading)
    made = {name: _made_up(model, name) for name in model.folder.sources}
    if len(made) == 1:
        return made[model.folder.source.name]
    return [dict(zip(made, each, strict=True)) for each in zip(*made.values(), strict=False)]


def _made_up(model: Model, source: str) -> list[Any]:
    """Inputs of one source, a few together: as many of each but of speech, of which there are fewer."""
    reads, make = model.folder.sources[source].reads, model.inputs_of(source)
    if reads == TEXT:
        return _made_up_texts(model, source)
    made: Sequence[Any] = generated_clips(CLIPS) if reads == SPEECH else generated_photos(JUDGES)
    alone = INPUT_VALUES in model.folder.sources[source].inputs and model.folder.fusion is None
    at_once = 1 if alone else _AT_ONCE
    return [make(made[at : at + at_once]) for at in range(0, len(made), at_once)]


def _made_up_texts(model: Model, name: str) -> list[Inputs]:
    """Tokens of the vocabulary, as no text has them, but all that a model may be asked about."""
    source, ends = model.folder.sources[name], model.generation_config.ends
    size = source.vocab_size or model.folder.decoder.vocab_size
    end = ends[0] if ends and model.folder.fusion is None else None  # which another tokenizer may not have
    rows = generated_texts(size, source.longest, end, JUDGES)
    return [_padded(rows[at : at + _AT_ONCE]) for at in range(0, JUDGES, _AT_ONCE)]


def _padded(rows: Sequence[Sequence[int]]) -> Inputs:
    """int64[B, S] each, padded on the right."""
    lengths = np.array([[len(row)] for row in rows])
    mask = (np.arange(lengths.max()) < lengths).astype(np.int64)
    ids = np.zeros_like(mask)
    ids[mask == 1] = np.concatenate(rows)
    return {INPUT_IDS: ids, ATTENTION_MASK: mask}
