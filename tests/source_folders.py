"""Folders of tokenizers that read texts, as checkpoints have them; needs sentencepiece."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from fuseline.tokens.hf import languages
from tests.difficult_texts import trained
from tests.tokenizer_folders import vocab_and_merges, vocab_txt, write_json

BPE = "sentencepiece.bpe.model"


def numbered(
    *models: bytes, before: tuple[str, ...] = ("</s>", "<unk>"), without: tuple[str, ...] = ()
) -> dict[str, int]:
    """vocab.json of the pieces of models, as fairseq's and Marian's dictionaries: without some, with <pad> last."""
    texts = dict.fromkeys(before)
    for model in models:
        read = sentencepiece.SentencePieceProcessor(model_proto=model)
        texts |= dict.fromkeys(read.id_to_piece(number) for number in range(read.get_piece_size()))
    return {text: number for number, text in enumerate([*(t for t in texts if t not in without), "<pad>"])}


def one_model(name: str, tokenizer_class: str, /, *, rule: str = "nmt_nfkc", kind: str = "unigram", **more: Any) -> Any:
    """A folder with one SentencePiece model and tokenizer_config.json."""
    layout = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} if tokenizer_class == "PegasusTokenizer" else {}

    def write(folder: Path) -> None:
        (folder / name).write_bytes(trained(kind, rule, **layout))
        write_json(folder, tokenizer_config={"tokenizer_class": tokenizer_class, **more})

    return write


def marian(kind: str = "unigram", two: bool = False, separate: bool = False, **options: Any) -> Callable[[Path], None]:
    """source.spm, target.spm and vocab.json. two: the target has pieces of its own; separate: and numbers too."""

    def write(folder: Path) -> None:
        source = trained(kind, **options)
        target = trained(kind, "identity", 150, **options) if two or separate else source
        (folder / "source.spm").write_bytes(source)
        (folder / "target.spm").write_bytes(target)
        config: dict[str, Any] = {"tokenizer_class": "MarianTokenizer"}
        if separate:
            config["separate_vocabs"] = True
            write_json(folder, vocab=numbered(source), target_vocab=numbered(target))
        else:
            vocab = numbered(source, target, before=("</s>", "<unk>", ">>fr<<"), without=("▁the", "do", "."))
            write_json(folder, vocab=vocab, config={"model_type": "marian", "vocab_size": len(vocab) + 3})
        write_json(folder, tokenizer_config=config)

    return write


def m2m100(kind: str = "unigram", listed: bool = True, **more: Any) -> Callable[[Path], None]:
    """sentencepiece.bpe.model and vocab.json. listed: whether the languages are special tokens, as published."""

    def write(folder: Path) -> None:
        model = trained(kind)
        (folder / BPE).write_bytes(model)
        vocab = numbered(model, before=("<s>", "<pad>", "</s>", "<unk>"), without=("▁the", "do", "."))
        tokens = {"additional_special_tokens": [f"__{code}__" for code in languages.M2M100]} if listed else {}
        write_json(
            folder, vocab=_in_order(vocab), tokenizer_config={"tokenizer_class": "M2M100Tokenizer", **tokens, **more}
        )

    return write


def _in_order(vocab: Mapping[str, int]) -> dict[str, int]:
    return {text: number for number, text in enumerate(vocab)}


def words(tokenizer_class: str, **more: Any) -> Callable[[Path], None]:
    """WordPiece's or BPE's files."""

    def write(folder: Path) -> None:
        (vocab_txt if tokenizer_class == "BertTokenizer" else vocab_and_merges)(folder)
        write_json(folder, tokenizer_config={"tokenizer_class": tokenizer_class, **more})

    return write


def no_files(**more: Any) -> Callable[[Path], None]:
    """ByT5's: tokenizer_config.json alone."""
    return lambda folder: write_json(folder, tokenizer_config={"tokenizer_class": "ByT5Tokenizer", **more})


SPIECE = "spiece.model"
FOLDERS: dict[str, Callable[[Path], None]] = {
    "T5": one_model(SPIECE, "T5Tokenizer"),
    "T5 of pieces that are merged": one_model(SPIECE, "T5Tokenizer", kind="bpe"),
    "T5, no legacy": one_model(SPIECE, "T5Tokenizer", legacy=False),
    "T5 without a space before": one_model(SPIECE, "T5Tokenizer", add_prefix_space=False),
    "T5, identity": one_model(SPIECE, "T5Tokenizer", rule="identity", extra_ids=3),
    "MT5": one_model(SPIECE, "MT5Tokenizer", extra_ids=0),
    "Pegasus": one_model(SPIECE, "PegasusTokenizer"),
    "mBART": one_model(BPE, "MBartTokenizer"),
    "mBART of German": one_model(BPE, "MBartTokenizer", src_lang="de_DE", tgt_lang="ro_RO"),
    "mBART-50": one_model(BPE, "MBart50Tokenizer", src_lang="en_XX"),
    "NLLB": one_model(BPE, "NllbTokenizer", kind="bpe"),
    "NLLB, legacy": one_model(BPE, "NllbTokenizer", kind="bpe", legacy_behaviour=True, src_lang="fra_Latn"),
    "XLM-R": one_model(BPE, "XLMRobertaTokenizer"),
    "CamemBERT": one_model(BPE, "CamembertTokenizer"),
    "Marian": marian(),
    "Marian with two": marian(two=True),
    "Marian with two vocabularies": marian(separate=True),
    "Marian of pieces that are merged": marian("bpe", two=True),
    "Marian with pieces of the user": marian(user_defined_symbols="<user>,ab,the dog,½,\u0301x", two=True),
    "Marian with pieces of the user that are merged": marian("bpe", user_defined_symbols="<user>,ab,the dog,½"),
    "M2M100": m2m100(),
    "M2M100 of pieces that are merged": m2m100("bpe"),
    "M2M100 of languages not listed": m2m100(listed=False, src_lang="de"),
    "M2M100 of WMT21": m2m100(listed=False, language_codes="wmt21"),
    "ByT5": no_files(),
    "BERT": words("BertTokenizer"),
    "BERT, cased": words("BertTokenizer", do_lower_case=False, strip_accents=True),
    "BART": words("BartTokenizer"),
    "RoBERTa": words("RobertaTokenizer", add_prefix_space=True),
    "LED": words("LEDTokenizer"),
}


def made(name: str, folder: Path) -> Path:
    """The folder of a name."""
    folder.mkdir(exist_ok=True)
    FOLDERS[name](folder)
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return value
