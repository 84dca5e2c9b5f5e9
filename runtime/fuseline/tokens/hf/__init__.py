"""The tokenizer that transformers makes of a folder's files, as the contents of one tokenizers file.

transformers reads more than tokenizer.json: tokenizer_config.json, special_tokens_map.json and added_tokens.json, and
what their class adds; without a tokenizer.json it makes one of the vocabulary's own files. All of it is done here with
nothing but these files: for folders of other tools when they are opened, and for checkpoints when they are exported,
where the result is compared with transformers. The reference is transformers 4.57.

classes.py knows the classes, special.py their special tokens, decoding.py what they do to a text; vocabularies.py,
sentencepiece.py and pieces.py read the vocabularies' own files. Where a model writes its texts with another vocabulary
than it reads with, or with other pieces, as Marian's do, `read_target` gives the tokenizer of what it writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import FolderError, shown
from ...files.reading import inside, parsed, read_small
from ..sentencepiece_texts import number
from ..tokenizer import (
    LARGEST_FILE,
    MOST_TOKENS,
    TokenizerFile,
    check_vocabulary,
    made_tokenizer,
    parse_bounded,
    read_tokenizer,
)
from .classes import SLOW_ALONE, TokenizerClass, class_of, class_of_decoder, with_languages
from .decoding import add_steps, clean_up_steps, clip_steps
from .pieces import of_pieces
from .sentencepiece import T5, of_sentencepiece, read_model
from .special import Sources, add_special_tokens
from .vocabularies import PREFIX, byte_level, template, utf_8, utf_8_steps, wordpiece, words_alone, words_of

TOKENIZER = "tokenizer.json"
TARGET = "target_tokenizer.json"  # beside it, where written texts have a tokenizer of their own
# Read beside the tokenizers file, where they are there.
ABOUT = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# Read in the place of a tokenizers file that is not there.
VOCABULARIES = (
    "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "source.spm", "target.spm",
    "target_vocab.json",
)  # fmt: skip
# Of sp_model_kwargs; the others only say how many threads and ways there are.
_SAMPLING = ("enable_sampling", "add_bos", "add_eos", "reverse", "emit_unk_piece")
# Classes that say nothing of how a vocabulary's own files are to be read.
_NAMELESS = ("", "PreTrainedTokenizer")


def read_folder(root: Path) -> TokenizerFile:
    """The tokenizer of the resolved folder root.

    Raises FolderError where there is none, where its class makes texts in a way that is not known here, and for files
    that cannot be read.
    """
    config, special, added = (_json(root, name) for name in ABOUT)
    model = _json(root, "config.json")
    kind = class_of(config, model)
    if kind.name in SLOW_ALONE:
        raise FolderError(
            f"{root}: texts of the tokenizer class {kind.name} are made by Python code of transformers that is not "
            "known here; export a checkpoint whose tokenizer has a fast form"
        )
    made = not os.path.lexists(root / TOKENIZER) or _reads_own(root, kind, config)
    if made:
        kind = class_of_decoder(model) if kind.name in _NAMELESS else kind
        if kind.vocabulary == "pieces":
            return _numbered(root, kind, Sources(config, special, added, root, made), model, target=False)
        file = _made(root, kind, config)
        before, where = None, root / (kind.files[0] if kind.files else ABOUT[0])
    else:
        before, where = read_tokenizer(inside(root, TOKENIZER)), root / TOKENIZER
        file = dict(before.value)
        check_vocabulary(file, where)
    changed = _completed(file, Sources(config, special, added, root, made), kind)
    if before is not None and not changed:
        return before
    return made_tokenizer(where, file)


def read_target(root: Path) -> TokenizerFile | None:
    """The tokenizer of the texts that a model writes, None where it is that of `read_folder`. Raises FolderError."""
    config, special, added = (_json(root, name) for name in ABOUT)
    model = _json(root, "config.json")
    kind = class_of(config, model)
    if kind.name != "MarianTokenizer":
        return None
    sources = Sources(config, special, added, root, True)
    source, target = (_numbered(root, kind, sources, model, target=each) for each in (False, True))
    return None if target.value == source.value else target


def without_states(file: TokenizerFile) -> TokenizerFile:
    """The same without what training left behind: how texts were cut, filled up, or taken apart by chance."""
    value = dict(file.value)
    model = value.get("model")
    value["truncation"] = value["padding"] = None
    if isinstance(model, Mapping) and model.get("dropout") is not None:
        value["model"] = {**model, "dropout": None}
    if value == file.value:
        return file
    return made_tokenizer(file.where, value)


def _completed(file: dict[str, Any], sources: Sources, kind: TokenizerClass) -> bool:
    """Let the contents of a file say all that the other files say; whether this changed anything."""
    config = sources.config
    changed = add_special_tokens(file, sources, kind)
    changed |= _with_language(file, kind, config, sources.where)
    if config or kind.name not in _NAMELESS:  # else tokenizer.json is all there is, as where it was exported
        changed |= _with_prefix_space(file, bool(config.get("add_prefix_space", False)))
    if kind.bert_normalizer:
        changed |= _with_bert_normalizer(file, config)
    if kind.vocabulary == "words":
        _check_alone(file, kind, sources.where)
    if kind.vocabulary == "utf-8":
        file["decoder"] = {"type": "Sequence", "decoders": utf_8_steps(file["added_tokens"])}
    steps = clip_steps(file) if kind.vocabulary == "clip" else []
    if config.get("clean_up_tokenization_spaces", sources.made and kind.made_clean_up):
        steps += clean_up_steps()
    return add_steps(file, steps) or changed


def _reads_own(root: Path, kind: TokenizerClass, config: Mapping[str, Any]) -> bool:
    """Whether the class reads its own vocabulary, whatever tokenizer.json says."""
    if kind.python:
        return True
    own = bool(kind.files) and os.path.lexists(root / kind.files[0])
    rebuilt = config.get("from_slow") or (kind.name in T5 and config.get("add_prefix_space") is not None)
    return own and (kind.vocabulary == "words" or (kind.vocabulary == "sentencepiece" and bool(rebuilt)))


def _with_language(file: dict[str, Any], kind: TokenizerClass, config: Mapping[str, Any], where: object) -> bool:
    """The tokens around a text, of which one is its language; they are the class's, whatever the file says."""
    if kind.language is None or kind.template is None:
        return False
    language = config.get("src_lang") or kind.language
    token = kind.language_form.format(language)
    vocab = file["model"]["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {entry[0]: at for at, entry in enumerate(vocab)}
    ids |= {entry["content"]: entry["id"] for entry in file["added_tokens"]}
    found = number(ids.get, token)
    if not isinstance(language, str) or found is None:
        raise FolderError(f"{where}: src_lang is {shown(language)!r}, which is no token of its tokenizer")
    ids[token] = found
    own = kind.language_form.format(kind.language)
    form = "$A </s> {}" if kind.name == "NllbTokenizer" and config.get("legacy_behaviour") else kind.template
    rule = template(form.replace(own, "{}").format(token), ids)
    if rule == file.get("post_processor"):
        return False
    file["post_processor"] = rule
    return True


def _numbered(
    root: Path, kind: TokenizerClass, sources: Sources, config: Mapping[str, Any], target: bool
) -> TokenizerFile:
    """The file where SentencePiece models split texts, and vocab.json numbers the pieces. target: of written texts."""
    about = sources.config
    _check_sampling(about, root)
    side = 1 if target and kind.name == "MarianTokenizer" else 0
    own = about.get("separate_vocabs") and kind.name == "MarianTokenizer"
    name = "target_vocab.json" if own and target else "vocab.json"
    _check_there(root, kind, (kind.files[side], name))
    vocab = parse_bounded(read_small(root, name, LARGEST_FILE)[0], root / name)
    check_vocabulary({"model": {"vocab": vocab}}, root / name)
    size = config.get("decoder_vocab_size") if own and target else config.get("vocab_size")
    if kind.codes:
        kind = with_languages(kind, about)
        following = len(vocab)
        vocab |= {kind.language_form.format(code): following + at for at, code in enumerate(kind.codes)}
    # Added tokens have the numbers that the source's vocabulary gives them, in transformers in both.
    numbered: dict[str, Any] = {"model": {"vocab": vocab}, "added_tokens": []}
    if name != "vocab.json":
        numbered["model"] = {
            "vocab": parse_bounded(read_small(root, "vocab.json", LARGEST_FILE)[0], root / "vocab.json")
        }
        check_vocabulary(numbered, root / "vocab.json")
    add_special_tokens(numbered, sources, kind)
    where = root / kind.files[side]
    file = of_pieces(
        read_model(read_small(root, kind.files[side], LARGEST_FILE)[0], where),
        vocab, numbered["added_tokens"], size if type(size) is int and size > 0 else 0, kind, where,
    )  # fmt: skip
    _with_language(file, kind, about, root)
    if about.get("clean_up_tokenization_spaces"):
        add_steps(file, clean_up_steps())
    return made_tokenizer(where, file)


def _check_sampling(config: Mapping[str, Any], where: object) -> None:
    """Raises FolderError where SentencePiece is asked for other pieces than the most probable ones."""
    more = config.get("sp_model_kwargs")
    asked = [key for key, value in more.items() if value and key in _SAMPLING] if isinstance(more, Mapping) else []
    if asked:
        raise FolderError(
            f"{where}: sp_model_kwargs asks for {shown(', '.join(asked))}, which changes the tokens of a text; take it "
            f"out of {ABOUT[0]}"
        )


def _check_there(root: Path, kind: TokenizerClass, names: Iterable[str]) -> None:
    missing = [name for name in names if not os.path.lexists(root / name)]
    if missing:
        raise FolderError(
            f"{root} has no {' and no '.join(missing)}, of which the tokenizer of the class {kind.name} is made; copy "
            "it from the model it is of"
        )


def _check_alone(file: Mapping[str, Any], kind: TokenizerClass, where: object) -> None:
    """Raises FolderError for tokens that the class in Python keeps apart from those beside them."""
    for token in file["added_tokens"]:
        if not token["special"] or token["id"] >= len(file["model"]["vocab"]):
            raise FolderError(
                f"{where} adds {shown(token['content'])!r} to the vocabulary of a {kind.name}, whose texts with added "
                "tokens only transformers can make; take a checkpoint without it"
            )


def _with_prefix_space(file: dict[str, Any], spaced: bool) -> bool:
    """tokenizer_config.json, and not tokenizer.json, decides whether a text begins as if after a space."""
    rule = file.get("pre_tokenizer")
    if not isinstance(rule, Mapping) or rule.get("add_prefix_space", spaced) == spaced:
        return False
    if rule.get("type") != "ByteLevel":  # of others tokenizers itself says no more whether they add one
        return False
    file["pre_tokenizer"] = {**rule, "add_prefix_space": spaced}
    return True


def _with_bert_normalizer(file: dict[str, Any], config: Mapping[str, Any]) -> bool:
    """The same for the letters' case, their accents, and Chinese characters."""
    rule = file.get("normalizer")
    if not isinstance(rule, Mapping) or rule.get("type") != "BertNormalizer":
        return False
    said = {
        "lowercase": config.get("do_lower_case", True),
        "strip_accents": config.get("strip_accents"),
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
    }
    if all(rule.get(key, value) == value for key, value in said.items()):
        return False
    file["normalizer"] = {**rule, **said}
    return True


def _made(root: Path, kind: TokenizerClass, config: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of a tokenizers file, of the files that the class has instead of one."""
    missing = [name for name in kind.files if not os.path.lexists(root / name)]
    if kind.vocabulary is None or missing:
        raise _none(root, kind, missing)
    if kind.vocabulary == "utf-8":
        return utf_8(kind)
    specials = {key: _text(config.get(key), text) for key, text in kind.specials.items()}
    if kind.vocabulary == "sentencepiece":
        content, _ = read_small(root, kind.files[0], LARGEST_FILE)
        return of_sentencepiece(read_model(content, root / kind.files[0]), kind, config, root / kind.files[0])
    if kind.vocabulary in ("bytes", "clip"):
        vocab = parse_bounded(read_small(root, "vocab.json", LARGEST_FILE)[0], root / "vocab.json")
        check_vocabulary({"model": {"vocab": vocab}}, root / "vocab.json")
        return byte_level(vocab, _lines(root, "merges.txt"), kind, specials, config)
    words = words_of(_lines(root, "vocab.txt"))
    if kind.vocabulary == "wordpiece":
        return wordpiece(words, specials, config)
    if config.get("subword_tokenizer_type") == "sentencepiece":
        raise FolderError(
            f"{root}: a BertJapaneseTokenizer whose subword_tokenizer_type is sentencepiece is not known here; it may "
            "be wordpiece or character"
        )
    return words_alone(words)


def _none(root: Path, kind: TokenizerClass, missing: list[str]) -> FolderError:
    """Why there is no tokenizer, and what to do."""
    if missing:
        files = " and ".join(kind.files)
        reason = f"and no {' and no '.join(missing)} to make one of for {kind.name}"
        return FolderError(
            f"{root} has no {TOKENIZER}, {reason}; copy {TOKENIZER}, or {files}, from the model it is of"
        )
    if kind.name in _NAMELESS:
        return FolderError(
            f"{root} has no {TOKENIZER}, and nothing says of which class its vocabulary is; copy {TOKENIZER} or "
            f"{ABOUT[0]} from the model it is of"
        )
    return FolderError(
        f"{root} has no {TOKENIZER}, and how to make one for {shown(kind.name)} is not known here; if that class has a "
        f"fast form, transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER) writes it, for a model "
        "of SentencePiece after pip install sentencepiece protobuf"
    )


def _text(value: Any, default: str) -> str:
    """The text of a special token in tokenizer_config.json."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else default


def _json(root: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder, empty where there is no such file."""
    if not os.path.lexists(root / name):
        return {}
    return parsed(read_small(root, name)[0], root / name)


def _lines(root: Path, name: str) -> str:
    """The text of a file. Raises FolderError where it is none."""
    content, _ = read_small(root, name, LARGEST_FILE)
    lines = max(content.count(b"\n"), content.count(b"\r"))
    if lines > MOST_TOKENS:
        raise FolderError(f"{root / name} has {lines} lines and may have {MOST_TOKENS}; it is not a vocabulary")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise FolderError(f"{root / name} is not a vocabulary: byte {error.start} is not UTF-8") from error


__all__ = ["ABOUT", "PREFIX", "TARGET", "TOKENIZER", "VOCABULARIES", "read_folder", "read_target", "without_states"]
