"""Clips of speech with what is said in them: tables, JSON lines, and transcripts as corpora of speech have them."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseline.errors import InputError, shown

from .lines import is_text, lines_of, object_of, read_bytes

# What a folder is looked through for, in this order; else for LibriSpeech's *.trans.txt, in folders below it too.
_FILES = ("metadata.csv", "metadata.jsonl", "captions.jsonl", "transcripts.txt", "transcription")
_LIBRISPEECH = "*.trans.txt"
# How fields are called: by fuseline, by Hugging Face's folders of sounds, by Common Voice.
_NAMES, _TEXTS = ("file", "file_name", "path"), ("text", "captions", "transcription", "sentence")
_SPLIT = "split"
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".webm", ".mp4", ".aiff")
_OF_SPHINX = re.compile(r"<s>(?P<text>.*)</s>\s*\((?P<name>[^()]+)\)\s*")
_RIGHT = "a table (.csv, .tsv), JSON lines (.jsonl), or lines of a name and a text (.txt)"


@dataclass(frozen=True)
class Clip:
    """One clip. name: as the data set calls it; references: what is said, at least one text."""

    name: str
    path: Path
    references: tuple[str, ...]
    split: str | None = None

    @property
    def given(self) -> Path:
        """What a model is given."""
        return self.path


def read_clips(path: Path) -> tuple[list[Clip], str]:
    """The clips of a data set, not yet looked for, and what tells the content from another (a sha256).

    path: a table with a line of names (.csv; .tsv with tabs): file, text, split; an object a line (.jsonl): {"file":
    "a.wav", "text": text or texts, "split": word}; a file of any other name with a clip's name, a blank and its text a
    line, as LibriSpeech has it, or "<s> text </s> (name)", as Sphinx has it; or a folder with such files, see _FILES.
    Names start from the folder that a file lies in, and may go without the suffix. Raises InputError naming the line
    that is wrong.
    """
    files, sha256 = _files(path), hashlib.sha256()
    found: dict[str, Clip] = {}
    for file in files:
        content = read_bytes(file, _RIGHT)
        sha256.update(content if len(files) == 1 else hashlib.sha256(content).digest())
        for clip, where in _of_file(lines_of(content, file), file):
            if clip.name in found:
                raise InputError(f"{where}: {shown(clip.name)} is there twice; give each clip one line")
            found[clip.name] = clip
    if not found:
        raise InputError(f"{path} has no clips; it must be {_RIGHT}")
    return list(found.values()), sha256.hexdigest()


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    one = next((path / name for name in _FILES if (path / name).is_file()), None)
    files = [one] if one is not None else sorted(path.rglob(_LIBRISPEECH))
    if not files:
        raise InputError(f"{path} has no texts for its clips; there must be {', '.join(_FILES)} or {_LIBRISPEECH}")
    return files


def _of_file(lines: Sequence[str], file: Path) -> Iterator[tuple[Clip, str]]:
    """Each clip, and where it stands."""
    if file.suffix == ".jsonl":
        entries = ((number, object_of(line, f"{file}, line {number}")) for number, line in _filled(lines))
        return _of_entries(entries, file)
    if file.suffix in (".csv", ".tsv"):
        return _of_entries(_of_table(lines, file), file)
    return _of_lines(lines, file)


def _filled(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _of_table(lines: Sequence[str], file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    tabs = file.suffix == ".tsv"
    rows = csv.reader(
        (f"{line}\n" for line in lines),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    try:
        names = next(rows, [])
        for row in rows:
            if any(cell.strip() for cell in row):
                yield rows.line_num, dict(zip(names, row, strict=False))
    except csv.Error as error:
        raise InputError(f"{file}, line {rows.line_num} is no line of a table: {error}") from error


def _of_entries(entries: Iterator[tuple[int, Mapping[str, Any]]], file: Path) -> Iterator[tuple[Clip, str]]:
    for number, entry in entries:
        where = f"{file}, line {number}"
        name, text = (next((entry[key] for key in keys if key in entry), None) for keys in (_NAMES, _TEXTS))
        split = entry.get(_SPLIT)
        if not isinstance(name, str) or not name:
            raise InputError(f'{where}: "file" must be the path of a clip, not {shown(name)}')
        texts: list[Any] = text if isinstance(text, list) else [text]
        if not texts or not all(is_text(each) for each in texts):
            raise InputError(f'{where}: "text" must be what is said in {shown(name)}, or a list of such texts')
        if split is not None and not isinstance(split, str):
            raise InputError(f'{where}: "split" must be a text, not {shown(split)}')
        yield Clip(name, _path(file.parent, name), tuple(texts), split or None), where


def _of_lines(lines: Sequence[str], file: Path) -> Iterator[tuple[Clip, str]]:
    for number, line in _filled(lines):
        where = f"{file}, line {number}"
        sphinx = _OF_SPHINX.fullmatch(line.strip())
        name, _, text = line.strip().partition("\t" if "\t" in line else " ")
        if sphinx:
            name, text = sphinx["name"], sphinx["text"]
        if not is_text(text):
            raise InputError(f"{where} has no text after {shown(name)}; it must be the name of a clip, a blank, a text")
        yield Clip(name, _path(file.parent, name), (text.strip(),)), where


def _path(folder: Path, name: str) -> Path:
    """The clip's file; of a name without suffix the one that is there."""
    if Path(name).suffix.lower() in SUFFIXES:
        return folder / name
    there = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in there if path.is_file()), folder / name)
