"""The tokenizer of a checkpoint as tokenizers files, which do to tokens and texts what transformers' tokenizer does.

fuseline.tokens.hf makes the files of the checkpoint's own. Here they are compared: all tokens in random rows, and
texts. Where a class is not known there, transformers' own conversion is taken, with what it does to a text as decoder
steps. A model that only writes needs one file; one that reads texts too may have another for those it writes, and
tokenizer_config.json beside them says what fuseline.inputs.texts asks for.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fuseline.errors import ExportError, FolderError, shown
from fuseline.inputs.texts import SourceTokenizer
from fuseline.tokens.hf import ABOUT, TARGET, TOKENIZER, read_folder, read_target, without_states
from fuseline.tokens.hf.classes import TokenizerClass, class_of, class_of_decoder
from fuseline.tokens.hf.decoding import add_steps, clean_up_steps
from fuseline.tokens.hf.sentencepiece import T5
from fuseline.tokens.tokenizer import TextTokens, TokenizerFile, made_tokenizer, open_tokenizer

from ..refusals import reason
from .checkpoint import Checkpoint

_NO_BOUND = 1 << 40  # transformers writes 1e30 where a tokenizer has no longest text
_ROW = 64  # tokens
_ROWS = 200  # beside those that hold each token once
_TEXTS = (
    "a dog runs on the beach.",
    "Two dogs' owners aren't here, are they ? No ! They 've gone .",
    "the man ' s hat isn ' t red",
    "  spaces   in a  row\n and\tlines ",
    "Crème brûlée, NAÏVE ﬁ ½ №5 1,234.50",
    "日本語のテキスト。 한국어 텍스트, русский текст \U0001f600",
    "<s_menu> <x> [y] {z} \\frac{a}{b} </s_menu>",
    "",
    ">>fra<< السَّلَامُ عَلَيْكُمْ café e\u0323\u0301 ... ....... ---------- \x00\x07 \U0001f468\u200d\U0001f469",
)


def tokenizer_json(checkpoint: Checkpoint) -> Path | str:
    """The checkpoint's tokenizer.json where it says everything, else the text of one that does.

    Raises ExportError where there is none, none can be made, and where it differs from transformers' tokenizer.
    """
    ours, theirs = both(checkpoint)
    compared(ours, theirs, checkpoint.path)
    return content(ours, checkpoint)


def text_tokenizer_files(checkpoint: Checkpoint) -> dict[str, Path | str]:
    """The files by name of the tokenizer of a model that reads texts, and writes them; each as in `tokenizer_json`.

    Raises ExportError as that does, also for texts of which it makes other tokens than transformers.
    """
    source, theirs = both(checkpoint)
    target = read_target(checkpoint.path.resolve())
    about = _about(theirs)
    _compare_sources(source, theirs, about, checkpoint.path)
    compared(source if target is None else target, theirs, checkpoint.path, target is not None)
    files = {TOKENIZER: content(source, checkpoint), ABOUT[0]: json.dumps(about, indent=2, ensure_ascii=False) + "\n"}
    return files if target is None else {**files, TARGET: target.raw.decode()}


def both(checkpoint: Checkpoint) -> tuple[TokenizerFile, Any]:
    """The file that is made of a checkpoint's, and transformers' tokenizer."""
    for path in checkpoint.path.iterdir():  # a link out is refused, whatever a tokenizer calls its files
        checkpoint.file(path.name)
    root = checkpoint.path.resolve()
    try:
        ours: TokenizerFile | None = read_folder(root)
        refusal = ""
    except FolderError as error:
        ours, refusal = None, str(error)
    theirs = transformers_tokenizer(checkpoint, refusal)
    if ours is None:
        if not theirs.is_fast:
            raise ExportError(refusal)
        ours = _baked(theirs, root / TOKENIZER)
    return without_states(ours), theirs


def content(ours: TokenizerFile, checkpoint: Checkpoint) -> Path | str:
    """The checkpoint's own file where it is the same."""
    own = checkpoint.file(TOKENIZER)
    return own if own is not None and own.read_bytes() == ours.raw else ours.raw.decode()


def _about(theirs: Any) -> dict[str, Any]:
    """What fuseline.inputs.texts asks of tokenizer_config.json."""
    longest = theirs.model_max_length
    said = {
        "tokenizer_class": type(theirs).__name__.removesuffix("Fast"),
        "pad_token": theirs.pad_token,
        "model_max_length": int(longest) if longest < _NO_BOUND else None,
        "truncation_side": theirs.truncation_side,
        "src_lang": getattr(theirs, "src_lang", None),
        "tgt_lang": getattr(theirs, "tgt_lang", None),
        "language_codes": getattr(theirs, "language_codes", None),
    }
    return {key: value for key, value in said.items() if value is not None}


def transformers_tokenizer(checkpoint: Checkpoint, refusal: str) -> Any:
    """transformers' tokenizer. refusal: why the files are not understood without it; empty where they are.

    Raises ExportError where transformers has none, since a class, a package or a part of a file is missing.
    """
    why = ""
    for load in _ways(checkpoint, readable=not refusal):
        try:
            theirs = load()
        except Exception as error:  # anything may come out of a file that is not what its name says
            why = why or reason(error)
            continue
        if theirs:  # where a SentencePiece model cannot be read, False is returned
            return theirs
    kind = class_of(checkpoint.json(ABOUT[0]) or {}, checkpoint.config)
    if kind.vocabulary in ("pieces", "sentencepiece") and find_spec("sentencepiece") is None:
        raise ExportError(
            f"{checkpoint.path} has the tokenizer of a {kind.name}, which is compared with transformers' own; that "
            "needs a package: pip install sentencepiece"
        )
    raise ExportError(refusal or f"{checkpoint.path} has no tokenizer that transformers can read: {why}")


def _ways(checkpoint: Checkpoint, readable: bool) -> Iterator[Callable[[], Any]]:
    """How transformers may be asked, the ordinary way first."""
    import transformers

    def loaded(name: str, folder: Path, **more: Any) -> Any:
        kind: Any = getattr(transformers, name)
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **more)

    path, config = checkpoint.path, checkpoint.json(ABOUT[0]) or {}
    yield lambda: loaded("AutoTokenizer", path)
    if not readable:
        return
    extra = config.get("extra_special_tokens")
    if isinstance(extra, list):  # as transformers 5 writes additional_special_tokens, which 4 cannot read
        more = {"extra_special_tokens": {}, "additional_special_tokens": extra}
        yield lambda: loaded("AutoTokenizer", path, **more)
        yield lambda: loaded("PreTrainedTokenizerFast", path, **more)
    kind = class_of(config, checkpoint.config)
    if kind.python:
        return
    if kind.vocabulary == "words":  # what splits texts into words takes no part in making texts of tokens
        yield lambda: loaded("AutoTokenizer", path, word_tokenizer_type="basic", subword_tokenizer_type="character")
    elif checkpoint.file(TOKENIZER) is not None:
        more = {} if config else _spaced(checkpoint)
        yield lambda: loaded("PreTrainedTokenizerFast", path, **more)
    elif kind.vocabulary == "sentencepiece":
        yield lambda: _converted(checkpoint, kind, lambda folder: loaded("AutoTokenizer", folder))
    else:
        yield lambda: loaded(f"{class_of_decoder(checkpoint.config).name}Fast", path)


def _spaced(checkpoint: Checkpoint) -> dict[str, Any]:
    """add_prefix_space as tokenizer.json has it, where no other file says anything of it."""
    rule = (checkpoint.json(TOKENIZER) or {}).get("pre_tokenizer")
    return (
        {"add_prefix_space": rule["add_prefix_space"]} if isinstance(rule, dict) and "add_prefix_space" in rule else {}
    )


def _converted(checkpoint: Checkpoint, kind: TokenizerClass, load: Callable[[Path], Any]) -> Any:
    """The tokenizer of a SentencePiece model by transformers' converter alone, which needs no sentencepiece."""
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

    convert: Any = SLOW_TO_FAST_CONVERTERS["T5Tokenizer" if kind.name in T5 else kind.name]
    file, config = read_folder(checkpoint.path.resolve()).value, checkpoint.json(ABOUT[0]) or {}
    vocab = file["model"]["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {entry[0]: at for at, entry in enumerate(vocab)}
    ids |= {entry["content"]: entry["id"] for entry in file["added_tokens"]}
    slow = SimpleNamespace(
        vocab_file=str(checkpoint.path / kind.files[0]),
        convert_tokens_to_ids=ids.get,
        _extra_ids=len(kind.additional),
        **kind.specials,
        **{f"{name}_id": ids.get(token) for name, token in kind.specials.items()},
        legacy=config.get("legacy") is not False,
        add_prefix_space=config.get("add_prefix_space", True) or kind.name not in T5,
        mask_token_sent=kind.additional[0] if kind.additional else None,
        offset=len(kind.first) - kind.skipped,
    )
    with tempfile.TemporaryDirectory() as made:
        for name in ("config.json", *ABOUT):
            if checkpoint.file(name) is not None:
                shutil.copyfile(checkpoint.path / name, Path(made) / name)
        (Path(made) / TOKENIZER).write_text(convert(slow).converted().to_str(), encoding="utf-8")
        return load(Path(made))


def _baked(theirs: Any, where: Path) -> TokenizerFile:
    """What transformers made, with its clean-up of spaces as decoder steps."""
    value = json.loads(theirs.backend_tokenizer.to_str())
    if theirs.clean_up_tokenization_spaces:
        add_steps(value, clean_up_steps())
    return made_tokenizer(where, value)


def compared(ours: TokenizerFile, theirs: Any, path: Path, target: bool = False, *, below: int | None = None) -> None:
    """Raises ExportError where the tokenizer of a file says something else than transformers'.

    target: whether texts are those of a target that has rules of its own; below: only tokens with smaller numbers are
    compared.
    """
    tokens = open_tokenizer(ours, 0)
    if theirs.is_fast and getattr(theirs.backend_tokenizer.model, "dropout", None) is not None:
        theirs.backend_tokenizer.model.dropout = None
    python = class_of({"tokenizer_class": type(theirs).__name__}, {}).python
    hidden = (
        (True,) if getattr(theirs, "separate_vocabs", False) else (True, False)
    )  # there a special token has two ids
    for row in _rows({each for each in _ids(tokens, theirs, python) if below is None or each < below}):
        for skipped in hidden:
            said, right = tokens.decode(row, skipped), _decoded(theirs, row, skipped)
            if python and not skipped:  # where nothing is left between two tokens, Python joins them otherwise
                said, right = ("".join(text.split()) for text in (said, right))
            if said != right:
                raise _difference(path, f"tokens {row}", repr(said), repr(right))
    if not tokens.reads_texts or not (theirs.is_fast or python):
        return
    for text in (*_TEXTS, " dog ".join(theirs.all_special_tokens)):
        found, wanted = _encoded(tokens, text, False), _encoded(theirs, text, target)
        if found != wanted:
            raise _difference(path, repr(text), f"tokens {found}", f"tokens {wanted}")


def _decoded(theirs: Any, row: list[int], skipped: bool) -> str:
    """What transformers' tokenizer makes of tokens, whatever Whisper's own decode leaves out: prompts and times."""
    from transformers import PreTrainedTokenizerBase

    decode: Any = PreTrainedTokenizerBase.decode
    whisper = type(theirs).__name__.startswith("Whisper")
    return str(decode(theirs, row, skipped) if whisper else theirs.decode(row, skip_special_tokens=skipped))


def _ids(tokens: TextTokens, theirs: Any, python: bool) -> set[int]:
    """The numbers of all tokens, those aside that stand for the unknown one."""
    if not python:
        return set(tokens.tokenizer.get_vocab().values()) | set(theirs.get_vocab().values())
    return set(theirs.decoder if getattr(theirs, "separate_vocabs", False) else theirs.get_vocab().values())


def _compare_sources(file: TokenizerFile, theirs: Any, about: dict[str, Any], path: Path) -> None:
    """Raises ExportError where texts get other tokens, or other ones around them, than transformers gives them."""
    source = SourceTokenizer(open_tokenizer(file, 0), file, about)
    languages = [None, *list(source.languages)[:1], *list(source.languages)[-1:]]
    for language in languages:
        if language is not None:
            theirs.src_lang = language
        for text in (*_TEXTS, " dog ".join(theirs.all_special_tokens)):
            [found] = source.encode([text], src_lang=language)["input_ids"].tolist()
            wanted = theirs(text).input_ids
            if found != wanted:
                raise _difference(path, repr(text), f"tokens {found}", f"tokens {wanted}")
    if languages[-1] is not None:
        theirs.src_lang = about["src_lang"]


def _rows(ids: set[int]) -> Iterator[list[int]]:
    """Each token once, and then any, in a random order that is always the same."""
    chance, order = random.Random(0), sorted(ids)
    chance.shuffle(order)
    for start in range(0, len(order), _ROW):
        yield order[start : start + _ROW]
    for _ in range(_ROWS if order else 0):
        yield chance.choices(order, k=_ROW)


def _encoded(tokenizer: Any, text: str, target: bool) -> list[int] | None:
    """A text's tokens; None where the tokenizer has none for it."""
    try:
        if isinstance(tokenizer, TextTokens):
            return tokenizer.encode(text)
        if target:
            return list(tokenizer(text_target=text, add_special_tokens=False).input_ids)
        return list(tokenizer.encode(text, add_special_tokens=False))
    except Exception:  # the library's errors have no class of their own
        return None


def _difference(path: Path, given: str, said: str, right: str) -> ExportError:
    return ExportError(
        f"{path}: the tokenizer cannot be written as one file: of {shown(given, 200)} transformers makes "
        f"{shown(right, 200)}, and the file would make {shown(said, 200)}"
    )
