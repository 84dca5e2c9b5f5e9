"""The tokenizer files that an export of a model of texts writes: they do what transformers' tokenizer does, alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentencepiece")

from transformers import AutoTokenizer

from fuseline.errors import ExportError
from fuseline.export.checkpoints.checkpoint import Checkpoint
from fuseline.export.checkpoints.tokenizer import text_tokenizer_files
from fuseline.inputs.texts import SourceTokenizer
from fuseline.tokens.hf import read_folder
from fuseline.tokens.tokenizer import TextTokens, open_tokenizer, read_tokenizer
from tests.difficult_texts import TEXTS, random_texts
from tests.source_folders import config_of, made
from tests.tokenizer_folders import rows, write_json


def written(folder: Path, out: Path) -> tuple[SourceTokenizer, TextTokens]:
    """What is read from the files that are written: of source texts, and of those that the model writes."""
    model = folder / "config.json"
    files = text_tokenizer_files(Checkpoint(folder, json.loads(model.read_text()) if model.exists() else {}))
    out.mkdir()
    for name, content in files.items():
        (out / name).write_bytes(content.read_bytes() if isinstance(content, Path) else content.encode())
    source = read_tokenizer(out / "tokenizer.json")
    target = out / "target_tokenizer.json"
    tokens = open_tokenizer(source, 0)
    said = open_tokenizer(read_tokenizer(target), 0) if target.exists() else tokens
    return SourceTokenizer(tokens, source, config_of(out)), said


KINDS = (
    "T5", "T5, no legacy", "Pegasus", "mBART of German", "mBART-50", "NLLB, legacy", "Marian with two", "M2M100",
    "Marian with two vocabularies", "Marian of pieces that are merged", "M2M100 of WMT21", "ByT5", "BERT", "BART",
)  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_files_alone_do_what_transformers_does(name: str, tmp_path: Path) -> None:
    folder = made(name, tmp_path / "checkpoint")
    source, said = written(folder, tmp_path / "out")
    theirs: Any = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
    texts = [*TEXTS.values(), *random_texts(40, 3)]
    ours, right = source.encode(texts), theirs(texts, padding=True, return_tensors="np")
    for key, array in ours.items():
        np.testing.assert_array_equal(array, right[key])
    assert source.longest == (None if theirs.model_max_length > 1e20 else theirs.model_max_length)
    for row in rows(set(theirs.get_vocab().values()) if "vocabularies" not in name else set(theirs.decoder)):
        assert said.decode(row) == theirs.decode(row, skip_special_tokens=True)
    assert (tmp_path / "out" / "target_tokenizer.json").exists() == (
        "two" in name or name == "Marian of pieces that are merged"
    )


@pytest.mark.parametrize("name", ["NLLB", "mBART-50", "M2M100"])
def test_the_language_of_a_checkpoint_is_kept(name: str, tmp_path: Path) -> None:
    folder = made(name, tmp_path / "checkpoint")
    language = {"NLLB": "fra_Latn", "mBART-50": "fr_XX", "M2M100": "fr"}[name]
    write_json(folder, tokenizer_config=config_of(folder) | {"src_lang": language, "tgt_lang": language})
    source, _ = written(folder, tmp_path / "out")
    theirs: Any = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
    assert source.encode(["a"])["input_ids"].tolist() == [theirs("a").input_ids]
    assert source.language_token(language) in source.encode(["a"])["input_ids"]
    config = config_of(tmp_path / "out")
    assert (config["src_lang"], config["tgt_lang"]) == (language, language)


def test_a_tokenizer_json_that_says_everything_is_copied(tmp_path: Path) -> None:
    theirs: Any = AutoTokenizer.from_pretrained(made("BART", tmp_path / "made"))  # type: ignore[no-untyped-call]
    saved = tmp_path / "saved"
    theirs.save_pretrained(saved)
    assert text_tokenizer_files(Checkpoint(saved, {}))["tokenizer.json"] == saved / "tokenizer.json"


@pytest.mark.parametrize("name", ["T5", "Marian"])
def test_a_text_that_would_get_other_tokens_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where transformers does more than is known here."""
    folder = made(name, tmp_path / "checkpoint")
    monkeypatch.setattr("fuseline.inputs.texts.SourceTokenizer._end", lambda self, row, after: [])
    with pytest.raises(ExportError, match=r"of 'a dog runs on the beach\.' transformers makes tokens"):
        written(folder, tmp_path / "out")


def test_special_tokens_that_are_split_are_refused(tmp_path: Path) -> None:
    folder = made("T5", tmp_path / "checkpoint")
    write_json(folder, tokenizer_config=config_of(folder) | {"split_special_tokens": True})
    with pytest.raises(ExportError, match="the tokenizer cannot be written as one file"):
        written(folder, tmp_path / "out")


def test_what_is_written_can_be_exported_again(tmp_path: Path) -> None:
    """Where transformers has a fast form, for which a tokenizer.json is enough."""
    written(made("NLLB", tmp_path / "checkpoint"), tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "again")
    source, _ = written(tmp_path / "again", tmp_path / "second")
    first = (tmp_path / "first" / "tokenizer.json").read_text()
    assert (tmp_path / "second" / "tokenizer.json").read_text() == first
    assert len(source.languages) == 202


# Without the sentencepiece package -----------------------------------------------------------------

WITHOUT = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "sentencepiece" else find(name, *more)
sys.modules["sentencepiece"] = None
from pathlib import Path
from fuseline.errors import ExportError
from fuseline.export.checkpoints.checkpoint import Checkpoint
from fuseline.export.checkpoints.tokenizer import text_tokenizer_files
for folder in map(Path, sys.argv[1:]):
    try:
        files = text_tokenizer_files(Checkpoint(folder, {}))
    except ExportError as error:
        (folder / "refusal").write_text(str(error))
    else:
        content = files["tokenizer.json"]
        (folder / "made.json").write_bytes(content.read_bytes() if isinstance(content, Path) else content.encode())
"""


def test_what_needs_the_sentencepiece_package_says_so(tmp_path: Path) -> None:
    """Only what has no fast form, and pieces that are merged, which transformers' converter cannot read without it."""
    fine = ("T5", "T5, no legacy", "MT5", "Pegasus", "mBART-50", "XLM-R", "ByT5")
    folders = {name: made(name, tmp_path / str(at)) for at, name in enumerate((*fine, "Marian", "M2M100", "NLLB"))}
    subprocess.run([sys.executable, "-c", WITHOUT, *map(str, folders.values())], check=True, capture_output=True)
    for name, folder in folders.items():
        if name in fine:
            assert json.loads((folder / "made.json").read_text()) == read_folder(folder.resolve()).value
        else:
            assert "that needs a package: pip install sentencepiece" in (folder / "refusal").read_text()
