"""Texts get the tokens that transformers' tokenizers give them, and the tokens around them, for every kind of files.

The reference is AutoTokenizer: the fast tokenizer of a class that has one, else the slow one with sentencepiece.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

import sentencepiece
from transformers import AutoTokenizer

from fuseline.inputs.texts import SourceTokenizer
from fuseline.tokens.hf import read_folder, read_target, without_states
from fuseline.tokens.sentencepiece_texts import Lattice, SentencePieceTexts
from fuseline.tokens.tokenizer import TextTokens, TokenizerFile, open_tokenizer
from tests.difficult_texts import TEXTS, random_texts, trained
from tests.source_folders import FOLDERS, config_of, made, numbered
from tests.tokenizer_folders import rows, write_json

LANGUAGES = {"mBART": "ro_RO", "mBART-50": "xh_ZA", "NLLB": "deu_Latn", "M2M100": "zu", "M2M100 of WMT21": "ja"}


def source_of(folder: Path) -> tuple[SourceTokenizer, TextTokens, TokenizerFile]:
    file = without_states(read_folder(folder.resolve()))
    tokens = open_tokenizer(file, 0)
    return SourceTokenizer(tokens, file, config_of(folder)), tokens, file


def reference(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]


def all_texts(count: int = 150) -> Iterator[str]:
    yield from TEXTS.values()
    yield from random_texts(count)


@pytest.mark.parametrize("name", FOLDERS)
def test_texts_get_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    folder = made(name, tmp_path)
    (source, _, _), theirs = source_of(folder), reference(folder)
    for language in (None, *([LANGUAGES[name]] if name in LANGUAGES else [])):
        if language:
            theirs.src_lang = language
        for text in all_texts():
            assert source.encode([text], src_lang=language)["input_ids"].tolist() == [theirs(text).input_ids], text


@pytest.mark.parametrize("name", FOLDERS)
def test_tokens_become_the_texts_of_transformers(name: str, tmp_path: Path) -> None:
    folder = made(name, tmp_path)
    theirs, target = reference(folder), read_target(folder.resolve())
    tokens = open_tokenizer(without_states(target or read_folder(folder.resolve())), 0)
    separate = name == "Marian with two vocabularies"
    for row in rows(set(theirs.decoder if separate else theirs.get_vocab().values())):
        assert tokens.decode(row) == theirs.decode(row, skip_special_tokens=True)
        shown, right = tokens.decode(row, False), theirs.decode(row, skip_special_tokens=False)
        if theirs.is_fast:
            assert shown == right
        elif not separate:  # there <pad> has two numbers
            assert shown.split() == right.split() or name == "ByT5"


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.startswith("Marian")])
def test_written_texts_get_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    """As score needs them: by the pieces and the numbers of the target."""
    folder = made(name, tmp_path)
    theirs, target = reference(folder), read_target(folder.resolve())
    tokens = open_tokenizer(target or read_folder(folder.resolve()), 0)
    assert (target is None) == ("two" not in name and "merged" not in name)
    for text in all_texts():
        assert tokens.encode(text) == theirs(text_target=text, add_special_tokens=False).input_ids, text


@pytest.mark.parametrize("name", ["T5", "mBART", "NLLB", "Pegasus", "BART", "BERT"])
@pytest.mark.parametrize("own_files", [True, False])
def test_a_folder_that_transformers_saved_says_the_same(name: str, own_files: bool, tmp_path: Path) -> None:
    theirs = reference(made(name, tmp_path / "made"))
    theirs.add_special_tokens({"additional_special_tokens": ["<s_cord>"]}, replace_additional_special_tokens=False)
    theirs.add_tokens(["newword"])
    theirs.save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "saved").iterdir():
        if path.suffix == ".model" or path.name in ("vocab.txt", "vocab.json", "merges.txt"):
            own_files or path.unlink()
    source, _, _ = source_of(tmp_path / "saved")
    theirs = reference(tmp_path / "saved")
    for text in (*all_texts(100), "a<s_cord> newword, newwords"):
        assert source.encode([text])["input_ids"].tolist() == [theirs(text).input_ids], text


def test_added_tokens_of_a_tokenizer_in_python(tmp_path: Path) -> None:
    """With the flags that say what spaces around them belong to them."""
    folder = made("Marian", tmp_path)
    config = config_of(folder)
    flags = {"lstrip": True, "rstrip": True, "normalized": False, "single_word": False, "special": True}
    config["additional_special_tokens"] = [{"content": "<x>", "__type": "AddedToken", **flags}, ">>fr<<"]
    write_json(folder, tokenizer_config=config)
    (source, tokens, _), theirs = source_of(folder), reference(folder)
    for text in (*all_texts(100), "the <x> dogs", "<x>", " <x><x> the", "a >>fr<< b", ">>fr<<>>fr<< b"):
        assert source.encode([text])["input_ids"].tolist() == [theirs(text).input_ids], text
    row = tokens.encode("the <x> dogs <x>")
    assert tokens.decode(row) == theirs.decode(row, skip_special_tokens=True)


# SentencePiece itself ------------------------------------------------------------------------------


def opened(model: bytes, folder: Path) -> tuple[SentencePieceTexts, Any]:
    """What splits texts by a model, and the package."""
    write_json(folder, vocab=numbered(model), tokenizer_config={"tokenizer_class": "MarianTokenizer"})
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model)
    file = read_folder(folder.resolve())
    return SentencePieceTexts(open_tokenizer(file, 0).tokenizer, file.value), sentencepiece.SentencePieceProcessor(
        model_proto=model
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rule": "identity"},
        {"rule": "nmt_nfkc_cf"},
        {"rule": "nfkc"},
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
        {"remove_extra_whitespaces": False, "rule": "identity", "add_dummy_prefix": False},
        {"split_by_whitespace": False, "allow_whitespace_only_pieces": True},
    ],
    ids=str,
)
def test_texts_are_normalized_as_by_sentencepiece(options: dict[str, Any], tmp_path: Path) -> None:
    ours, theirs = opened(trained(**options), tmp_path)
    for text in all_texts(2000):
        assert ours.normalized(text) == theirs.normalize(text), repr(text)


def test_the_most_probable_pieces_are_those_of_sentencepiece() -> None:
    """Down to the rounding of sums, which decides in runs of a letter."""
    theirs: Any = sentencepiece.SentencePieceProcessor(model_proto=trained())
    normal = [n for n in range(theirs.get_piece_size()) if not (theirs.is_control(n) or theirs.is_unknown(n))]
    lattice = Lattice([(theirs.id_to_piece(n), theirs.get_score(n)) for n in normal])
    for text in all_texts(2000):
        normalized = theirs.normalize(text)
        assert lattice.best(normalized) == theirs.encode(text, out_type=str), text
