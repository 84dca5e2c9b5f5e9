"""The contents of a tokenizers file made of vocab.txt, or of vocab.json with merges.txt, as transformers makes it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

from ..clean_up import replaced
from ..tokenizer import NO_TEXTS
from .classes import TokenizerClass
from .decoding import NOTHING, apart_steps, joined_by_spaces, strip_steps

# CLIPTokenizer reads no more merges, however many there are.
_CLIP_MERGES = 49_152 - 256 - 2
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
PREFIX = "##"


def file_of(model: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """The contents of a tokenizers file, in the order in which tokenizers writes them."""
    rules = {key: parts.get(key) for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder")}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], **rules, "model": model}


def words_of(text: str) -> dict[str, int]:
    """vocab.txt: a token a line; of a token that is there twice the later place counts."""
    lines = io.StringIO(text, newline=None).readlines()
    return {line.rstrip("\n"): number for number, line in enumerate(lines)}


def wordpiece(words: Mapping[str, int], specials: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """BERT's. specials: the texts of special tokens by attribute."""
    model = {
        "type": "WordPiece",
        "unk_token": specials["unk_token"],
        "continuing_subword_prefix": PREFIX,
        "max_input_chars_per_word": 100,
        "vocab": dict(words),
    }
    first, last = specials["cls_token"], specials["sep_token"]
    return file_of(
        model,
        normalizer=bert_normalizer(config),
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=template(f"{first} $A {last}", words),
        decoder={"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
    )


def bert_normalizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """The normalizer of BERT's classes, by what tokenizer_config.json says."""
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
        "strip_accents": config.get("strip_accents"),
        "lowercase": config.get("do_lower_case", True),
    }


def words_alone(words: Mapping[str, int]) -> dict[str, Any]:
    """BertJapaneseTokenizer's, whose texts are split by MeCab and the like: tokens become texts, texts are refused.

    What stands for no character is put before a text, so no text is a word, and there is no token for unknown ones.
    """
    model = {"type": "WordLevel", "vocab": dict(words), "unk_token": NOTHING}
    steps = [joined_by_spaces(PREFIX), {"type": "Fuse"}, *strip_steps()]
    return file_of(model, normalizer=dict(NO_TEXTS), decoder={"type": "Sequence", "decoders": steps})


def byte_level(
    vocab: Mapping[str, int], merges: str, kind: TokenizerClass, specials: Mapping[str, str], config: Mapping[str, Any]
) -> dict[str, Any]:
    """GPT-2's, RoBERTa's and BART's, and CLIP's."""
    spaced = bool(config.get("add_prefix_space", False))
    clip = kind.vocabulary == "clip"
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": specials["unk_token"] if clip else None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "</w>" if clip else "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(vocab),
        "merges": _merges(merges, clip),
    }
    bytes_alone = {
        "type": "ByteLevel",
        "add_prefix_space": spaced and not clip,
        "trim_offsets": True,
        "use_regex": True,
    }
    return file_of(
        model,
        normalizer=_clip_normalizer() if clip else None,
        pre_tokenizer=_clip_words(bytes_alone) if clip else bytes_alone,
        post_processor=_byte_template(vocab, kind, specials, spaced),
        decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    )


def _merges(text: str, clip: bool) -> list[list[str]]:
    """The pairs of merges.txt, whose first line tells its version; each once."""
    text = io.StringIO(text, newline=None).read()
    lines = text.strip().split("\n")[1 : _CLIP_MERGES + 1] if clip else text.split("\n")[1:-1]
    return [list(pair) for pair in dict.fromkeys(tuple(line.split()) for line in lines)]


def _clip_normalizer() -> dict[str, Any]:
    spaces = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
    return {"type": "Sequence", "normalizers": [{"type": "NFC"}, spaces, {"type": "Lowercase"}]}


def _clip_words(bytes_alone: dict[str, Any]) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": _CLIP_WORDS}, "behavior": "Removed", "invert": True}
    return {"type": "Sequence", "pretokenizers": [split, bytes_alone]}


def _byte_template(
    vocab: Mapping[str, int], kind: TokenizerClass, specials: Mapping[str, str], spaced: bool
) -> dict[str, Any] | None:
    """What marks the beginning and end of a text; nothing where the vocabulary lacks these tokens."""
    if kind.name == "GPT2Tokenizer":
        return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    clip = kind.vocabulary == "clip"
    ends = [specials["eos_token" if clip else "sep_token"], specials["bos_token" if clip else "cls_token"]]
    if not all(each in vocab for each in ends):
        return None
    last, first = ([each, vocab[each]] for each in ends)
    more = {"trim_offsets": not clip, "add_prefix_space": spaced and not clip}
    return {"type": "RobertaProcessing", "sep": last, "cls": first, **more}


def utf_8(kind: TokenizerClass) -> dict[str, Any]:
    """ByT5's: three tokens with a purpose, and then the 256 bytes of UTF-8; see `utf_8_steps`."""
    letters = _letters_of_bytes()
    ends = [kind.specials[key] for key in ("pad_token", "eos_token", "unk_token")]
    vocab = {text: at for at, text in enumerate([*ends, *letters])}
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": [],
    }
    file = file_of(
        model,
        pre_tokenizer=_utf_8_rule(),
        post_processor=template(kind.template or "$A", vocab),
    )
    flags = {"single_word": False, "lstrip": True, "rstrip": True, "normalized": False, "special": True}
    file["added_tokens"] = [{"id": at, "content": text, **flags} for at, text in enumerate(ends)]
    return file


def utf_8_steps(added: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How tokens that are bytes become a text. added: the added tokens; those beyond the bytes have spaces around them.

    Bytes that are no UTF-8 are left out of a text. tokenizers puts U+FFFD in their place, so a true U+FFFD goes by
    another name meanwhile.
    """
    letters = _letters_of_bytes()
    kept = ["".join(letters[byte] for byte in text.encode()) for text in ("\ufffd", NOTHING)]
    apart = [str(each["content"]) for each in added if each["id"] > len(letters)]
    before, after = apart_steps(apart, letters[ord(" ")])
    steps = [*before, {"type": "Fuse"}, *after, replaced(*kept), _utf_8_rule()]
    return [*steps, replaced("\ufffd", ""), replaced(NOTHING, "\ufffd")]


def _utf_8_rule() -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def _letters_of_bytes() -> list[str]:
    """The letter that stands for each byte in byte-level vocabularies, as GPT-2's bytes_to_unicode."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(others)) for byte in range(256)]


def template(form: str, ids: Mapping[str, int]) -> dict[str, Any] | None:
    """The template of one text, such as "<s> $A </s>"; nothing where the vocabulary lacks its tokens."""
    tokens = [each for each in form.split() if each != "$A"]
    if not all(each in ids for each in tokens):
        return None
    single = [
        {"Sequence": {"id": "A", "type_id": 0}} if each == "$A" else {"SpecialToken": {"id": each, "type_id": 0}}
        for each in form.split()
    ]
    both = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]
    special = {each: {"id": each, "ids": [ids[each]], "tokens": [each]} for each in sorted(set(tokens))}
    return {"type": "TemplateProcessing", "single": single, "pair": both, "special_tokens": special}
