"""SourceTokenizer: a batch of texts as arrays, what is cut, what languages there are, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from transformers import AutoTokenizer

from fuseline.errors import Error, FolderError, InputError
from fuseline.inputs.texts import SourceTokenizer, around_text
from fuseline.tokens.hf import read_folder
from fuseline.tokens.tokenizer import TokenizerFile, open_tokenizer
from tests.difficult_texts import TEXTS, random_texts
from tests.source_folders import FOLDERS, config_of, made

LINES = ["two dogs run", "", "the man's hat isn't red, and the dogs don't run .", "a"]


def opened(name: str, folder: Path, **more: Any) -> SourceTokenizer:
    folder = made(name, folder).resolve()
    config = config_of(folder) | more
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    file = read_folder(folder)
    return SourceTokenizer(open_tokenizer(file, 0), file, config)


def reference(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]


# Batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["T5", "BART", "BERT", "Marian", "NLLB", "M2M100", "ByT5", "GPT-2 layout"])
def test_a_batch_is_what_transformers_pads(name: str, tmp_path: Path) -> None:
    name = "RoBERTa" if name == "GPT-2 layout" else name
    source, theirs = opened(name, tmp_path), reference(tmp_path)
    ours, right = source.encode(LINES), theirs(LINES, padding=True, return_tensors="np")
    assert sorted(ours) == ["attention_mask", "input_ids"]
    for key, array in ours.items():
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, right[key])
    assert source.pad_token_id == theirs.pad_token_id


def test_no_texts_are_no_rows(tmp_path: Path) -> None:
    assert {key: array.shape for key, array in opened("T5", tmp_path).encode([]).items()} == {
        "input_ids": (0, 0),
        "attention_mask": (0, 0),
    }


@pytest.mark.parametrize("name", ["T5", "Marian", "M2M100"])
def test_a_batch_says_what_its_texts_say_alone(name: str, tmp_path: Path) -> None:
    source = opened(name, tmp_path)
    texts = [*TEXTS.values(), *random_texts(50)]
    both = source.encode(texts)
    for text, row, mask in zip(texts, both["input_ids"], both["attention_mask"], strict=True):
        alone = source.encode([text])
        assert row[mask == 1].tolist() == alone["input_ids"][0].tolist()
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)


# Cutting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["T5", "BART", "BERT", "Marian", "mBART", "NLLB", "M2M100", "ByT5"])
def test_a_text_is_cut_as_by_transformers(name: str, side: str, tmp_path: Path) -> None:
    source = opened(name, tmp_path, truncation_side=side, model_max_length=9)
    theirs = reference(tmp_path)
    for text in [*LINES, TEXTS["plain"], "two dogs</s>"]:
        for most in (None, 3, 4, 7, 100):
            right = theirs(text, truncation=True, max_length=most).input_ids
            assert source.encode([text], truncation=True, max_length=most)["input_ids"].tolist() == [right]


def test_languages_that_may_be_meant_begin_alike(tmp_path: Path) -> None:
    """So do codes of other models: en, eng_Latn, en_XX."""
    for name, asked, meant in (("M2M100", "eng_Latn", "en"), ("mBART", "en", "en_XX"), ("NLLB", "de_DE", "deu_Latn")):
        source = opened(name, tmp_path / name)
        with pytest.raises(InputError, match=rf"is no language of this model; did you mean {meant}\? it knows"):
            source.language_token(asked)
        with pytest.raises(InputError, match="'xx' is no language of this model; it knows"):
            source.language_token("xx")


def test_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    source = opened("BART", tmp_path)
    with pytest.raises(
        InputError, match=r"^text 2 has \d+ tokens, 2 of them the model's own, and 5 fit; cut it into shorter ones, or"
    ):
        source.encode(["a", "the dogs run on the beach of the man"], max_length=5)
    assert source.encode(["the dogs run"] * 2, max_length=50)["input_ids"].shape[0] == 2
    assert source.longest is None
    assert source.encode(["a " * 5000], truncation=True)["input_ids"].shape[1] > 5000


@pytest.mark.parametrize("most", [1, 0, -3, 2.5, True, "9"])
def test_a_length_that_holds_no_text_is_refused(most: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_length must be at least the 2 tokens around a text, not"):
        opened("BART", tmp_path).encode(["a"], max_length=most, truncation=True)


# Languages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "language", "count"),
    [
        ("mBART", "ro_RO", 25),
        ("mBART-50", "sl_SI", 52),
        ("NLLB", "zul_Latn", 202),
        ("M2M100", "zu", 100),
        ("M2M100 of languages not listed", "af", 100),
        ("M2M100 of WMT21", "is", 8),
    ],
)
def test_a_language_has_a_token(name: str, language: str, count: int, tmp_path: Path) -> None:
    source, theirs = opened(name, tmp_path), reference(tmp_path)
    written = theirs.get_lang_id(language) if name.startswith("M2M100") else theirs.convert_tokens_to_ids(language)
    assert source.language_token(language) == written
    assert len(source.languages) == count
    for wrong in ("xx", "English", "", None, 3):
        with pytest.raises(InputError) as error:
            source.language_token(wrong)  # type: ignore[arg-type]
        assert "is no language of this model; " in str(error.value)
        assert f"it knows {min(source.languages)}" in str(error.value)
        assert wrong or "did you mean" not in str(error.value)
    with pytest.raises(InputError, match="is no language of this model; .*it knows"):
        source.encode(["a"], src_lang="xx")


@pytest.mark.parametrize("name", ["T5", "BART", "Marian", "ByT5"])
def test_a_model_without_languages_says_so(name: str, tmp_path: Path) -> None:
    source = opened(name, tmp_path)
    assert source.languages == {}
    with pytest.raises(InputError, match=r"^this model has no tokens for languages, so 'de' cannot be chosen"):
        source.encode(["a"], src_lang="de")
    with pytest.raises(InputError, match="no tokens for languages"):
        source.language_token("de")


# Odd texts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_odd_texts_are_one_sentence(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = opened(name, tmp_path)
    for texts, words in (
        (["a", "b\ud800c"], "text 2 has half of a surrogate pair at character 2, which is no text"),
        (["a", 3], "text 2 must be a text, not 3"),
        (["a", b"b"], "text 2 must be a text, not"),
        ([None], "text 1 must be a text, not"),
        ("a text alone", "texts must be a list of texts, not"),
        (None, "texts must be a list of texts, not"),
    ):
        with pytest.raises(InputError) as error:
            source.encode(texts)  # type: ignore[arg-type]
        assert words in str(error.value)
    assert source.encode(["\0", "a\0b", "\0" * 1000])["input_ids"].shape[0] == 3
    assert "panicked" not in capfd.readouterr().err


def test_a_text_of_ten_megabytes_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^text 1 has 10000000 characters, and this tokenizer reads \d+ at most"):
        opened("Marian", tmp_path).encode(["a" * 10_000_000])


# The tokens around a text ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (None, ([], [])),
        ({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, ([], [])),
        ({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}, ([2], [3])),
        ({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}, ([0], [2])),
        (
            {"type": "Sequence", "processors": [
                {"type": "ByteLevel"}, {"type": "BertProcessing", "sep": ["b", 3], "cls": ["a", 2]},
            ]},
            ([2], [3]),
        ),
    ],
)  # fmt: skip
def test_every_rule_of_tokenizers_is_read(rule: Any, expected: Any) -> None:
    assert around_text(TokenizerFile(Path("tokenizer.json"), b"", {"post_processor": rule})) == expected


@pytest.mark.parametrize(
    "rule",
    [3, {}, {"type": "Odd"}, {"type": "BertProcessing", "cls": 3}, {"type": "TemplateProcessing", "single": []},
     {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}], "special_tokens": {}}],
)  # fmt: skip
def test_a_damaged_rule_is_one_sentence(rule: Any) -> None:
    with pytest.raises(FolderError, match="'post_processor' must be as tokenizers writes it"):
        around_text(TokenizerFile(Path("tokenizer.json"), b"", {"post_processor": rule}))


@pytest.mark.parametrize(
    "config", [{"pad_token": 3}, {"pad_token": None}, {"model_max_length": "x"}, {"tokenizer_class": 3}]
)
def test_odd_configurations_never_crash(config: dict[str, Any], tmp_path: Path) -> None:
    folder = made("T5", tmp_path).resolve()
    file = read_folder(folder)
    try:
        source = SourceTokenizer(open_tokenizer(file, 0), file, config)
    except Error as error:
        assert "\n" not in str(error)
    else:
        assert source.encode(["a", "b c"])["input_ids"].shape[0] == 2


def test_the_runtime_needs_no_transformers(tmp_path: Path) -> None:
    """Nor sentencepiece, nor torch."""
    import subprocess

    folder = made("Marian", tmp_path).resolve()
    program = f"""
import sys
for name in ("transformers", "sentencepiece", "torch", "google.protobuf"):
    sys.modules[name] = None
import json
from pathlib import Path
from fuseline.tokens.hf import read_folder
from fuseline.inputs.texts import SourceTokenizer
from fuseline.tokens.tokenizer import open_tokenizer
folder = Path({str(folder)!r})
file = read_folder(folder)
source = SourceTokenizer(open_tokenizer(file, 0), file, json.loads((folder / "tokenizer_config.json").read_text()))
print(source.encode(["two dogs ...... run"])["input_ids"].tolist())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == str([reference(tmp_path)("two dogs ...... run").input_ids]), run.stderr
