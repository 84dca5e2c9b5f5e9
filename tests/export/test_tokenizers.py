"""The tokenizer that an export writes: one file that makes transformers' texts, or a refusal in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, DebertaTokenizer, FunnelTokenizer, PreTrainedTokenizerFast

from fuseline import Model
from fuseline.errors import ExportError, InputError
from fuseline.export import export
from fuseline.export.checkpoints import tokenizer
from fuseline.export.checkpoints.checkpoint import Checkpoint
from fuseline.export.checkpoints.tokenizer import tokenizer_json
from fuseline.tokens.hf.decoding import clean_up_steps
from fuseline.tokens.tokenizer import TextTokens, TokenizerFile, open_tokenizer
from tests import tiny
from tests.tokenizer_folders import rows, sentencepiece, vocab_and_merges, vocab_txt, write_json

SPACES = ["the man 's hat isn't red .", "i don't think so , he said .", "we 're here ! they 've gone ?"]
CORD = ["<s_cord>", "</s_cord>"]


def written(folder: Path) -> TextTokens:
    """The tokenizer that is written for a folder's."""
    text = tokenizer_json(Checkpoint(folder, json.loads((folder / "config.json").read_text())))
    raw = text.read_bytes() if isinstance(text, Path) else text.encode()
    return open_tokenizer(TokenizerFile(folder, raw, json.loads(raw)), 0)


def folder_of(folder: Path, vocabulary: Callable[[Path], Any], **config: Any) -> Path:
    vocabulary(folder)
    write_json(folder, tokenizer_config=config, config={"model_type": "vision-encoder-decoder"})
    return folder


def same_texts(ours: TextTokens, theirs: Any) -> None:
    for row in rows(set(theirs.get_vocab().values())):
        for skipped in (True, False):
            assert ours.decode(row, skipped) == theirs.decode(row, skip_special_tokens=skipped)


# Whole checkpoints --------------------------------------------------------------------------------


def exported(tmp_path: Path, vocabulary: Callable[[Path], Any], words: int, **config: Any) -> Model:
    source = tmp_path / "checkpoint"
    tiny.tiny_vit_gpt2(0, vocab_size=words).save_pretrained(source)
    (source / "preprocessor_config.json").write_text(json.dumps(tiny.preprocessor_config()))
    vocabulary(source)
    write_json(source, tokenizer_config=config)
    export(source, tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer_config.json").exists()
    return Model.from_pretrained(tmp_path / "out", threads=1)


def test_spaces_are_cleaned_up_as_transformers_does(tmp_path: Path) -> None:
    model = exported(tmp_path, vocab_txt, 165, tokenizer_class="BertTokenizer")
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path / "checkpoint")
    for text in SPACES:
        row = theirs(text).input_ids
        assert model.decode(np.array([row])) == [theirs.decode(row, skip_special_tokens=True)]
    pixels = tiny.photos(3)
    [text] = model.decode(model.generate(pixels[:1]).sequences)
    assert "".join(event.text or "" for event in model.stream(pixels[:1])) == text


def test_a_checkpoint_with_a_sentencepiece_model_alone_is_exported(tmp_path: Path) -> None:
    """As microsoft/trocr-small-handwritten is published; no sentencepiece is installed for it."""
    xlm_r = sentencepiece("sentencepiece.bpe.model")
    model = exported(tmp_path, xlm_r, 70, tokenizer_class="XLMRobertaTokenizer", model_max_length=512)
    tokens = model.tokenizer.encode("the dogs run", add_special_tokens=False).ids
    assert model.decode(np.array([[0, *tokens, 2, 1, 1]])) == ["the dogs run"]


def test_a_checkpoint_that_only_makes_texts_of_tokens_is_exported(tmp_path: Path) -> None:
    """As kha-white/manga-ocr-base is published; no fugashi is installed for it."""
    model = exported(
        tmp_path, vocab_txt, 165, tokenizer_class="BertJapaneseTokenizer", word_tokenizer_type="mecab",
        subword_tokenizer_type="character", mecab_kwargs={"mecab_dic": "unidic_lite"},
    )  # fmt: skip
    pixels = tiny.photos(1)
    assert isinstance(model.decode(model.generate(pixels).sequences)[0], str)
    with pytest.raises(InputError, match="MeCab"):
        model.score(pixels, "a dog")


# Tokenizers alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "vocabulary"), [("FunnelTokenizer", vocab_txt), ("DebertaTokenizer", vocab_and_merges)]
)
def test_a_class_that_is_not_known_is_converted_by_transformers(
    name: str, vocabulary: Callable[[Path], Any], tmp_path: Path
) -> None:
    assert {FunnelTokenizer.__name__, DebertaTokenizer.__name__} >= {name}
    folder = folder_of(tmp_path, vocabulary, tokenizer_class=name, clean_up_tokenization_spaces=True)
    same_texts(written(folder), AutoTokenizer.from_pretrained(folder))


def test_states_that_training_left_behind_are_not_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "made", lambda f: f.mkdir() or vocab_and_merges(f), tokenizer_class="GPT2Tokenizer")
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    theirs.backend_tokenizer.enable_truncation(5)
    theirs.backend_tokenizer.enable_padding(length=9)
    theirs.backend_tokenizer.model.dropout = 0.5
    saved = tmp_path / "saved"
    theirs.save_pretrained(saved)
    shutil.copy(folder / "config.json", saved)
    file = json.loads(tokenizer_json(Checkpoint(saved, {})))  # type: ignore[arg-type]
    assert (file["truncation"], file["padding"], file["model"]["dropout"]) == (None, None, None)
    assert len(written(saved).encode("the dogs run on the beach of the man")) > 5


def test_special_tokens_that_transformers_5_saved_are_read(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path, vocab_txt, tokenizer_class="BertTokenizer", extra_special_tokens=CORD,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    ours = written(folder)
    tokens = [ours.tokenizer.token_to_id(token) for token in CORD]
    assert None not in tokens
    assert ours.decode(tokens) == "" and ours.decode(tokens, False) == " ".join(CORD)


def test_a_tokenizer_json_alone_is_copied(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tiny.word_tokenizer(97))
    assert tokenizer_json(Checkpoint(tmp_path, {})) == tmp_path / "tokenizer.json"


def test_a_tokenizer_json_alone_keeps_the_space_before_a_text(tmp_path: Path) -> None:
    """As an export wrote it: there is nothing else that could say so."""
    made = folder_of(tmp_path / "made", lambda f: f.mkdir() or vocab_and_merges(f), tokenizer_class="RobertaTokenizer",
                     add_prefix_space=True)  # fmt: skip
    tokens = written(made).encode("dogs run")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "tokenizer.json").write_text(str(tokenizer_json(Checkpoint(made, {}))))
    (alone / "config.json").write_text(json.dumps({"model_type": "vision-encoder-decoder"}))
    assert written(alone).encode("dogs run") == tokens


def test_a_file_that_would_say_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where transformers does more to a text than is known here."""
    folder = folder_of(tmp_path, vocab_txt, tokenizer_class="BertTokenizer")
    decode = PreTrainedTokenizerFast._decode

    def louder(self: Any, *arguments: Any, **options: Any) -> str:
        return decode(self, *arguments, **options).upper()

    monkeypatch.setattr(PreTrainedTokenizerFast, "_decode", louder)
    with pytest.raises(ExportError, match=r"cannot be written as one file: of tokens .* transformers makes"):
        written(folder)


def test_a_file_that_would_read_texts_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, vocab_txt, tokenizer_class="BertTokenizer")
    monkeypatch.setattr(tokenizer, "_encoded", lambda kind, text, target: [isinstance(kind, TextTokens)])
    with pytest.raises(ExportError, match=r"of 'a dog runs on the beach\.' transformers makes tokens"):
        written(folder)


REFUSED: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "a class in Python": (
        vocab_txt, {"tokenizer_class": "BertweetTokenizer"}, "texts of the tokenizer class BertweetTokenizer are made",
    ),
    "a class that nothing knows": (vocab_txt, {"tokenizer_class": "Own"}, "how to make one for Own is not known here"),
    "a class without its files": (
        vocab_txt, {"tokenizer_class": "XLMRobertaTokenizer"}, "no sentencepiece.bpe.model to make one of",
    ),
    "a model that is none": (
        lambda f: (f / "sentencepiece.bpe.model").write_bytes(b"\xff" * 50), {"tokenizer_class": "XLMRobertaTokenizer"},
        "sentencepiece.bpe.model is not a SentencePiece model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_tokenizers_that_are_refused(name: str, tmp_path: Path) -> None:
    vocabulary, config, words = REFUSED[name]
    folder = folder_of(tmp_path, vocabulary, **config)
    with pytest.raises(ExportError) as error:
        written(folder)
    assert words in str(error.value)


def test_the_advice_works(tmp_path: Path) -> None:
    """What the sentence about an unknown class says: transformers' fast form writes tokenizer.json."""
    folder = folder_of(tmp_path / "made", lambda f: f.mkdir() or vocab_txt(f), tokenizer_class="FunnelTokenizer")
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "saved")
    shutil.copy(folder / "config.json", tmp_path / "saved")
    same_texts(written(tmp_path / "saved"), theirs)


def test_the_steps_of_a_clean_up_are_those_of_transformers() -> None:
    """In their order: a change there would show here."""
    text = " . ? ! , ' n't 'm 's 've 're x"
    expected = PreTrainedTokenizerFast.clean_up_tokenization(text)
    for step in clean_up_steps():
        text = text.replace(step["pattern"]["String"], step["content"])
    assert text == expected
