"""Texts get the tokens that transformers' tokenizers give them, and the tokens around them, for every kind of files.

The reference is AutoTokenizer: the fast tokenizer of a class that has one, else the slow one with sentencepiece.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

import sentencepiece
from transformers import AutoTokenizer

from fuseline.errors import FolderError, InputError
from fuseline.inputs.texts import SourceTokenizer
from fuseline.tokens.hf import read_folder, read_target, without_states
from fuseline.tokens.sentencepiece_texts import Lattice, SentencePieceTexts
from fuseline.tokens.tokenizer import TextTokens, TokenizerFile, open_tokenizer, read_tokenizer
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
        elif not separate and name != "ByT5":  # <pad> has two numbers; a token may part the bytes of a letter
            assert shown.split() == right.split()


OTHER_TARGETS = (
    "Marian with two", "Marian with two vocabularies", "Marian of pieces that are merged",
    "Marian with pieces of the user",
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.startswith("Marian")])
def test_written_texts_get_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    """As score needs them: by the pieces and the numbers of the target."""
    folder = made(name, tmp_path)
    theirs, target = reference(folder), read_target(folder.resolve())
    tokens = open_tokenizer(target or read_folder(folder.resolve()), 0)
    assert (target is not None) == (name in OTHER_TARGETS)
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


@pytest.mark.parametrize("users", ["", "<user>,ab,the dog,½"])
def test_the_most_probable_pieces_are_those_of_sentencepiece(users: str) -> None:
    """Down to the rounding of sums, which decides in runs of a letter."""
    theirs: Any = sentencepiece.SentencePieceProcessor(model_proto=trained(user_defined_symbols=users))
    normal = [n for n in range(theirs.get_piece_size()) if not (theirs.is_control(n) or theirs.is_unknown(n))]
    lattice = Lattice([(theirs.id_to_piece(n), theirs.get_score(n)) for n in normal], users.split(",") if users else ())
    for text in all_texts(2000):
        normalized = theirs.normalize(text)
        assert lattice.best(normalized) == theirs.encode(text, out_type=str), text


# What is refused ----------------------------------------------------------------------------------


def changed(folder: Path, name: str, **values: Any) -> Any:
    """A JSON file of the folder with other values; those that are None are taken out."""
    value = json.loads((folder / name).read_text(encoding="utf-8")) | values
    value = {key: each for key, each in value.items() if each is not None}
    return (folder / name).write_text(json.dumps(value), encoding="utf-8")


def other_models(folder: Path, **options: Any) -> None:
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(trained(**options))


CONFIG = "tokenizer_config.json"
REFUSED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no model": ("Marian", lambda f: (f / "source.spm").unlink(), "has no source.spm, of which the tokenizer"),
    "no numbers": ("M2M100", lambda f: (f / "vocab.json").unlink(), "has no vocab.json, of which the tok"),
    "no numbers of the target": (
        "Marian with two vocabularies", lambda f: (f / "target_vocab.json").unlink(), "has no target_vocab.json",
    ),
    "no unknown token": ("Marian", lambda f: changed(f, "vocab.json", **{"<unk>": None}), "vocabulary lacks '<unk>'"),
    "a number twice": ("Marian", lambda f: changed(f, "vocab.json", a=0, b=0), "each needs its own"),
    "no numbers at all": ("Marian", lambda f: changed(f, "vocab.json", a="x"), "must give every token a whole number"),
    "a number far off": ("Marian", lambda f: changed(f, "vocab.json", a=1 << 31), "tokens with numbers up to"),
    "no piece": ("Marian", lambda f: (f / "source.spm").write_bytes(b""), "is not a SentencePiece model"),
    "pieces by chance": (
        "Marian", lambda f: changed(f, CONFIG, sp_model_kwargs={"enable_sampling": True, "alpha": 0.1}),
        "sp_model_kwargs asks for enable_sampling, which changes the tokens of a text; take it out of token",
    ),
    "pieces of bytes": (
        "Marian", lambda f: other_models(f, byte_fallback=True), "makes pieces of the bytes of unknown letters",
    ),
    "spaces after words": (
        "Marian", lambda f: other_models(f, treat_whitespace_as_suffix=True), "puts spaces otherwise than before words",
    ),
    "words": ("Marian", lambda f: other_models(f, kind="word"), "is a SentencePiece model of words or characters"),
    "a language that it has not": ("mBART", lambda f: changed(f, CONFIG, src_lang="xx"), "src_lang is 'xx', which is"),
    "an odd language": ("M2M100", lambda f: changed(f, CONFIG, src_lang=[3]), "no token of its tokenizer"),
    "a letter that is none": ("Marian", lambda f: changed(f, "vocab.json", **{"a\ufdd0": 7000}), "has U+FDD0 or U+FD"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_made_is_one_sentence(name: str, tmp_path: Path) -> None:
    kind, damage, words = REFUSED[name]
    folder = made(kind, tmp_path).resolve()
    damage(folder)
    with pytest.raises(FolderError) as error:
        read_folder(folder)
        read_target(folder)
    assert words in str(error.value)
    assert str(folder) in str(error.value)


def test_threads_and_ways_of_sentencepiece_change_nothing(tmp_path: Path) -> None:
    folder = made("Marian", tmp_path)
    before = read_folder(folder.resolve()).value
    changed(folder, CONFIG, sp_model_kwargs={"num_threads": 2, "alpha": 0.1, "nbest_size": 1, "enable_sampling": False})
    assert read_folder(folder.resolve()).value == before


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_open_or_are_refused_in_one_sentence(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    folder = made(chance.choice([name for name in FOLDERS if name.startswith(("Mar", "M2M", "Peg", "NLLB"))]), tmp_path)
    path = chance.choice(sorted(folder.iterdir()))
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(raw) + 1)
        raw[at : at + chance.choice((0, 1, 1, 30))] = chance.choice((b"", b"\0", b'"', b"9", b"null", b"\xff", b"<s>"))
    path.write_bytes(raw)
    try:
        source, tokens, _ = source_of(folder)
        for text in ("two dogs run", "...... ½ e\u0301\u0323", "", "</s> >>fr<<"):
            tokens.decode(source.encode([text])["input_ids"][0].tolist())
    except (FolderError, InputError) as error:
        assert "\n" not in str(error)
    except (json.JSONDecodeError, UnicodeDecodeError):  # of the test's own reading of tokenizer_config.json
        assert path.name == CONFIG
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_tokenizers_file_of_pieces_is_refused_in_one_sentence(seed: int, tmp_path: Path) -> None:
    """As somebody may change tokenizer.json of a folder."""
    chance = random.Random(seed)
    folder = made(chance.choice(["Marian", "M2M100 of pieces that are merged"]), tmp_path)
    value = json.loads(read_folder(folder.resolve()).raw)
    for _ in range(chance.randint(1, 3)):
        part = value
        while isinstance(part, dict | list) and part:
            key = chance.choice(list(part) if isinstance(part, dict) else range(len(part)))
            if chance.random() < 0.4 or not isinstance(part[key], dict | list) or not part[key]:
                part[key] = chance.choice([None, 3, -1, "x", "\ufdd0", [], {}, True, 1 << 40])
                break
            part = part[key]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(value))
    try:
        tokens = open_tokenizer(read_tokenizer(path), 0)
        for text in ("two dogs run", "...... ½ e\u0301\u0323", "", "</s> >>fr<<"):
            tokens.decode(tokens.encode(text))
    except (FolderError, InputError) as error:
        assert "\n" not in str(error)
