"""The tokenizer of a folder's files is that of transformers' AutoTokenizer: texts of tokens, and tokens of texts.

Folders are written as published checkpoints have them: with and without tokenizer.json, with special tokens that only
one of the other files names, saved by old versions and new ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import import_protobuf

from fuseline.errors import FolderError, InputError
from fuseline.export.checkpoints.checkpoint import Checkpoint
from fuseline.export.checkpoints.tokenizer import transformers_tokenizer
from fuseline.outputs.pieces import text_of_token
from fuseline.tokens.hf import read_folder
from fuseline.tokens.tokenizer import TextTokens, open_tokenizer
from tests import tokenizer_folders as folders
from tests.tokenizer_folders import TEXTS, clip_files, rows, sentencepiece, vocab_and_merges, vocab_txt, write_json

XLM_R, SPIECE = sentencepiece("sentencepiece.bpe.model"), sentencepiece("spiece.model")
CORD = ["<s_cord>", "</s_cord>"]
# Files of the vocabulary, tokenizer_config.json, special_tokens_map.json, added_tokens.json.
MADE: dict[str, tuple[Callable[[Path], Any], dict[str, Any], dict[str, Any] | None, dict[str, int] | None]] = {
    "BERT": (vocab_txt, {"tokenizer_class": "BertTokenizer"}, None, None),
    "BERT, cased": (vocab_txt, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, None, None),
    "BERT, no clean-up": (
        vocab_txt, {"tokenizer_class": "BertTokenizer", "clean_up_tokenization_spaces": False}, None, None,
    ),
    "DistilBERT": (vocab_txt, {"tokenizer_class": "DistilBertTokenizerFast", "strip_accents": False}, None, None),
    "ELECTRA": (vocab_txt, {"tokenizer_class": "ElectraTokenizer", "additional_special_tokens": CORD}, None, None),
    "GPT-2": (vocab_and_merges, {"tokenizer_class": "GPT2Tokenizer"}, None, None),
    "GPT-2 with a pad": (
        vocab_and_merges,
        {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "pad_token": "<pad>"},
        None,
        {"<new>": 331, "<other>": 330},
    ),
    "RoBERTa": (vocab_and_merges, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}, None, None),
    "RoBERTa, cleaned up": (
        vocab_and_merges,
        {"tokenizer_class": "RobertaTokenizer", "clean_up_tokenization_spaces": True},
        {"bos_token": {"content": "<s>", "lstrip": False, "rstrip": False, "normalized": True, "single_word": False},
         "additional_special_tokens": CORD},
        {"<s_cord>": 330, "</s_cord>": 331, "newword": 332},
    ),
    "BART": (vocab_and_merges, {"tokenizer_class": "BartTokenizer", "mask_token": "dog"}, None, None),
    "CLIP": (clip_files, {"tokenizer_class": "CLIPTokenizer"}, None, None),
    "CLIP, cleaned up": (
        clip_files, {"tokenizer_class": "CLIPTokenizer", "clean_up_tokenization_spaces": True, "pad_token": "!"},
        None, None,
    ),
    "XLM-R": (XLM_R, {"tokenizer_class": "XLMRobertaTokenizer"}, None, None),
    "XLM-R with tags": (
        XLM_R, {"tokenizer_class": "XLMRobertaTokenizer", "additional_special_tokens": CORD}, None, None,
    ),
    "CamemBERT": (XLM_R, {"tokenizer_class": "CamembertTokenizer"}, None, None),
    "mBART": (XLM_R, {"tokenizer_class": "MBartTokenizer", "clean_up_tokenization_spaces": True}, None, None),
    "mBART-50": (XLM_R, {"tokenizer_class": "MBart50Tokenizer"}, None, None),
    "T5": (SPIECE, {"tokenizer_class": "T5Tokenizer"}, None, None),
    "T5 of 20 extra ids": (SPIECE, {"tokenizer_class": "T5Tokenizer", "extra_ids": 20}, None, None),
}  # fmt: skip
JAPANESE = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab", "do_lower_case": False}
JAPANESE |= {"subword_tokenizer_type": "character", "mecab_kwargs": {"mecab_dic": "unidic_lite"}}


def made(name: str, folder: Path) -> Path:
    """The folder of a case."""
    vocabulary, config, special, added = MADE[name]
    folder.mkdir(exist_ok=True)
    vocabulary(folder)
    write_json(folder, tokenizer_config=config, special_tokens_map=special, added_tokens=added)
    return folder


def opened(folder: Path) -> TextTokens:
    return open_tokenizer(read_folder(folder.resolve()), 0)


def check(folder: Path) -> TextTokens:
    """Ours and transformers' have the same ids, and make the same texts of tokens and tokens of texts."""
    ours, theirs = opened(folder), transformers_tokenizer(Checkpoint(folder, {}), "")
    assert ours.tokenizer.get_vocab() == theirs.get_vocab()
    for row in rows(set(theirs.get_vocab().values())):
        for skipped in (True, False):
            assert ours.decode(row, skipped) == theirs.decode(row, skip_special_tokens=skipped), row
    if ours.reads_texts:
        for text in TEXTS:
            assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text
    return ours


@pytest.mark.parametrize("name", MADE)
def test_without_a_tokenizer_json_it_is_what_transformers_makes(name: str, tmp_path: Path) -> None:
    check(made(name, tmp_path))


def changed(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """A JSON file changed."""
    value = json.loads((folder / name).read_text(encoding="utf-8"))
    change(value)
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def forget_added(value: dict[str, Any]) -> None:
    """All added tokens but the first, which is none of the special ones any more."""
    value["added_tokens"] = value["added_tokens"][:1]
    value["added_tokens"][0]["special"] = False


CONFIG, TOKENIZER, MAP = "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"
# What became of a folder that transformers saved.
SAVED: dict[str, Callable[[Path], Any]] = {
    "as it is": lambda folder: None,
    "without added_tokens_decoder": lambda f: changed(f, CONFIG, lambda v: v.pop("added_tokens_decoder")),
    "without special_tokens_map.json": lambda f: (f / MAP).unlink(),
    "with the class alone": lambda f: (f / MAP).unlink() or changed(
        f, CONFIG, lambda v: [v.pop(key) for key in list(v) if key != "tokenizer_class"]
    ),
    "with tokens only in tokenizer_config.json": lambda f: changed(f, TOKENIZER, forget_added),
    "with tokens only in special_tokens_map.json": lambda f: changed(f, TOKENIZER, forget_added) or changed(
        f, CONFIG, lambda v: [v.pop(key) for key in list(v) if key != "tokenizer_class"]
    ),
    "cleaned up": lambda f: changed(f, CONFIG, lambda v: v.update(clean_up_tokenization_spaces=True)),
    "cleaned up, without a decoder": lambda f: changed(f, TOKENIZER, lambda v: v.update(decoder=None)) or changed(
        f, CONFIG, lambda v: v.update(clean_up_tokenization_spaces=True)
    ),
    "as a class without a name": lambda f: changed(
        f, CONFIG, lambda v: v.update(tokenizer_class="PreTrainedTokenizerFast")
    ),
    "of another case and with a space": lambda f: changed(
        f, CONFIG, lambda v: v.update(do_lower_case=False, strip_accents=True, add_prefix_space=True)
        if v["tokenizer_class"] != "T5Tokenizer" else None
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", SAVED)
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "RoBERTa", "BART", "CLIP"])
def test_with_a_tokenizer_json_the_other_files_count_too(name: str, change: str, tmp_path: Path) -> None:
    folder = folders.saved(made(name, tmp_path / "made"), tmp_path / "saved")
    SAVED[change](folder)
    check(folder)


@pytest.mark.parametrize("name", ["XLM-R", "CamemBERT", "mBART", "T5"])
@pytest.mark.parametrize("change", SAVED)
def test_a_tokenizer_json_of_sentencepiece_too(name: str, change: str, tmp_path: Path) -> None:
    folder = made(name, tmp_path / "made")
    theirs = transformers_tokenizer(Checkpoint(folder, {}), "")
    theirs.save_pretrained(tmp_path / "plain")
    folder = folders.saved(tmp_path / "plain", tmp_path / "saved")
    SAVED[change](folder)
    check(folder)


def test_what_only_a_class_calls_special_is_special(tmp_path: Path) -> None:
    """tokenizer.json has the token and says that it is not; transformers marks all that a class has for a purpose."""
    vocab_txt(tmp_path)
    write_json(tmp_path, tokenizer_config={"tokenizer_class": "ElectraTokenizer"})
    folder = folders.saved(tmp_path, tmp_path / "saved")
    file = json.loads((folder / "tokenizer.json").read_text())
    for entry in file["added_tokens"]:
        entry["special"] = False
    write_json(folder, tokenizer=file, tokenizer_config={"tokenizer_class": "ElectraTokenizer"})
    (folder / "special_tokens_map.json").unlink()
    theirs: Any = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
    ours = open_tokenizer(read_folder(folder), len(theirs))
    for row in rows(set(range(len(theirs)))):
        assert ours.decode(row) == theirs.decode(row, skip_special_tokens=True)


def test_nothing_is_written_anew_where_tokenizer_json_says_everything(tmp_path: Path) -> None:
    folder = folders.saved(made("RoBERTa", tmp_path / "made"), tmp_path / "saved")
    assert read_folder(folder).raw == (folder / TOKENIZER).read_bytes()


def test_spaces_are_cleaned_up_over_the_whole_text(tmp_path: Path) -> None:
    ours = check(made("BERT", tmp_path))
    tokens = [ours.tokenizer.token_to_id(token) for token in ("man", "'", "s", "red", ".")]
    for known in (token for token in tokens if token is not None):
        assert known < ours.tokenizer.get_vocab_size()
    assert ours.decode(ours.encode("the man 's hat isn't red .")) == "the man's hat isn't red."


def test_pieces_that_are_merged_are_those_of_sentencepiece(tmp_path: Path) -> None:
    """transformers' converter asks the sentencepiece package for nothing but the pieces themselves."""
    from transformers.convert_slow_tokenizer import generate_merges

    (tmp_path / "sentencepiece.bpe.model").write_bytes(folders.sentencepiece_model(bpe=True))
    write_json(tmp_path, tokenizer_config={"tokenizer_class": "XLMRobertaTokenizer"})
    model = read_folder(tmp_path).value["model"]
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(folders.sentencepiece_model(bpe=True))
    pieces = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    scores = [
        *(("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)),
        *((piece.piece, piece.score) for piece in proto.pieces[3:]),
        ("<mask>", 0.0),
    ]
    assert model["merges"] == [list(pair) for pair in generate_merges(pieces, scores)]
    assert model["vocab"] == {text: number for number, (text, _) in enumerate(scores)}
    assert opened(tmp_path).decode(opened(tmp_path).encode("the dogs run")) == "the dogs run"


@pytest.mark.parametrize("name", ["blip", "git"])
def test_a_model_of_one_class_needs_no_tokenizer_config(name: str, tmp_path: Path) -> None:
    vocab_txt(tmp_path)
    write_json(tmp_path, config={"model_type": name})
    check(tmp_path)


@pytest.mark.parametrize(
    ("decoder", "vocabulary"),
    [("gpt2", vocab_and_merges), ("roberta", vocab_and_merges), ("bert", vocab_txt), ("xlm-roberta", XLM_R)],
)
def test_where_nothing_names_a_class_the_decoder_does(
    decoder: str, vocabulary: Callable[[Path], Any], tmp_path: Path
) -> None:
    """transformers opens none of these."""
    vocabulary(tmp_path)
    write_json(tmp_path, config={"model_type": "vision-encoder-decoder", "decoder": {"model_type": decoder}})
    ours = opened(tmp_path)
    assert ours.decode(ours.encode("the dogs run")) == "the dogs run"


# BertJapaneseTokenizer: only tokens become texts ---------------------------------------------------


def japanese(folder: Path, **more: Any) -> Path:
    vocab_txt(folder)
    write_json(folder, tokenizer_config=JAPANESE | more)
    return folder


@pytest.mark.parametrize("cleaned", [True, False, None])
def test_texts_of_tokens_need_no_mecab(cleaned: bool | None, tmp_path: Path) -> None:
    ours = check(japanese(tmp_path, clean_up_tokenization_spaces=cleaned))
    assert ours.decode([ours.tokenizer.token_to_id("日"), ours.tokenizer.token_to_id("##本")]) == "日本"


def test_spaces_of_the_vocabulary_at_the_ends_are_stripped(tmp_path: Path) -> None:
    japanese(tmp_path)
    words = (tmp_path / "vocab.txt").read_text(encoding="utf-8")
    (tmp_path / "vocab.txt").write_text(words + "\u3000\n\n \n\x1f\n", encoding="utf-8")
    check(tmp_path)


def test_a_text_cannot_be_made_tokens_of_without_it(tmp_path: Path) -> None:
    ours = opened(japanese(tmp_path))
    with pytest.raises(InputError, match="text 1 cannot be made tokens of: .*MeCab"):
        ours.encode("日本", "text 1")
    assert text_of_token(ours)(ours.tokenizer.token_to_id("日")) == " 日"


def test_tokens_that_python_code_keeps_apart_are_refused(tmp_path: Path) -> None:
    japanese(tmp_path)
    write_json(tmp_path, added_tokens={"<new>": 400})
    with pytest.raises(FolderError, match="adds '<new>' to the vocabulary of a BertJapaneseTokenizer"):
        opened(tmp_path)


# What is refused ----------------------------------------------------------------------------------


def long_pieces(model_type: int = 2) -> bytes:
    """A SentencePiece model of one long piece."""
    model = import_protobuf().ModelProto()
    model.ParseFromString(folders.sentencepiece_model())
    model.trainer_spec.model_type = model_type
    model.pieces.add(piece="a" * 100_000, score=0.0)
    return bytes(model.SerializeToString())


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda f: None, "has no tokenizer.json, and nothing says of which class its vocabulary is"),
    "a class without its files": (
        lambda f: write_json(f, tokenizer_config={"tokenizer_class": "XLMRobertaTokenizer"}),
        "has no tokenizer.json, and no sentencepiece.bpe.model to make one of for XLMRobertaTokenizer; copy",
    ),
    "an unknown class": (
        lambda f: write_json(f, tokenizer_config={"tokenizer_class": "AlbertTokenizer"}),
        "how to make one for AlbertTokenizer is not known here; if that class has a fast form, transformers.Auto",
    ),
    "a class in Python": (
        lambda f: write_json(f, tokenizer_config={"tokenizer_class": "BertweetTokenizer"}),
        "texts of the tokenizer class BertweetTokenizer are made by Python code",
    ),
    "pieces in MeCab's words": (
        lambda f: japanese(f, subword_tokenizer_type="sentencepiece"), "it may be wordpiece or character",
    ),
    "no model": (
        lambda f: made("XLM-R", f) and (f / "sentencepiece.bpe.model").write_bytes(b"\xff" * 99),
        "sentencepiece.bpe.model is not a SentencePiece model that can be read",
    ),
    "an empty model": (
        lambda f: made("XLM-R", f) and (f / "sentencepiece.bpe.model").write_bytes(b""), "has 0 pieces and must",
    ),
    "no text": (lambda f: made("BERT", f) and (f / "vocab.txt").write_bytes(b"a\n\xff"), "byte 2 is not UTF-8"),
    "too many words": (lambda f: made("BERT", f) and (f / "vocab.txt").write_bytes(b"a\r" * 1_100_000), "lines and"),
    "too many merges": (
        lambda f: made("GPT-2", f) and (f / "merges.txt").write_bytes(b"a\n" * 3_000_000), "lines and may have",
    ),
    "too many values": (
        lambda f: made("GPT-2", f) and (f / "vocab.json").write_bytes(b"[" + b"[]," * 2_600_000 + b"[]]"),
        "values and may have",
    ),
    "long pieces that are to be merged": (
        lambda f: made("XLM-R", f) and (f / "sentencepiece.bpe.model").write_bytes(long_pieces()), "too long",
    ),
    "pieces of words": (
        lambda f: made("XLM-R", f) and (f / "sentencepiece.bpe.model").write_bytes(long_pieces(3)), "words or characte",
    ),
    "ids of two": (
        lambda f: made("GPT-2", f) and (f / "vocab.json").write_text('{"a": 0, "b": 0}'), "gives 2 tokens 1 ids",
    ),
    "a token that is none": (
        lambda f: changed(made("BERT", f), CONFIG, lambda v: v.update(pad_token=7)), "a token of 'pad_token' is '7'",
    ),
    "an id that is none": (
        lambda f: changed(made("BERT", f), CONFIG, lambda v: v.update(added_tokens_decoder={"x": {"content": "a"}})),
        "an added token has the id 'x'",
    ),
    "a link": (
        lambda f: (made("BERT", f) and (f / "vocab.txt").unlink()) or (f / "vocab.txt").symlink_to("/etc/hostname"),
        "is a link out of the folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_made_is_one_sentence(name: str, tmp_path: Path) -> None:
    damage, words = REFUSED[name]
    damage(tmp_path)
    with pytest.raises(FolderError) as error:
        opened(tmp_path)
    assert words in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("seed", range(300))
def test_damaged_files_open_or_are_refused_in_one_sentence(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    folder = made(chance.choice(list(MADE)), tmp_path)
    path = chance.choice(sorted(folder.iterdir()))
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(raw) + 1)
        raw[at : at + chance.choice((0, 1, 1, 30))] = chance.choice((b"", b"\0", b'"', b"9", b"null", b"\xff", b"<s>"))
    path.write_bytes(raw)
    try:
        tokens = opened(folder)
        for text in TEXTS:
            tokens.decode(tokens.encode(text))
    except (FolderError, InputError) as error:
        assert "\n" not in str(error)
    assert "panicked" not in capfd.readouterr().err
