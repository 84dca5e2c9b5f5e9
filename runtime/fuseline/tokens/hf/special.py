"""Special and added tokens: those of every file together, as transformers 4.57 adds them to a tokenizers file.

tokenizer_config.json names them by what they are for (bos_token ...) and, where transformers saved it lately, lists all
in added_tokens_decoder; only where it has no such list are special_tokens_map.json and added_tokens.json read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...errors import FolderError, shown
from .classes import ATTRIBUTES, TokenizerClass

_ADDITIONAL = ATTRIBUTES[-1]
_MOST_ADDED = 1 << 16
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class Added:
    """A token beside the vocabulary, as tokenizers.AddedToken has it."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


# A special token that a file gives by its text alone stays a text: transformers treats the two kinds differently.
Special = str | Added


@dataclass(frozen=True)
class Sources:
    """What the files say, parsed; empty where one is missing. made: whether there is no tokenizer.json."""

    config: Mapping[str, Any]
    special_map: Mapping[str, Any]
    added: Mapping[str, Any]
    where: object
    made: bool


def add_special_tokens(file: dict[str, Any], sources: Sources, kind: TokenizerClass) -> bool:
    """Put all added tokens into the contents of a tokenizers file; whether this changed anything.

    Raises FolderError for tokens that are none.
    """
    tokens = [(_added(entry, "added_tokens", sources), entry) for entry in file.get("added_tokens") or []]
    own = {_id(entry.get("id"), sources): token for token, entry in tokens}
    listed, specials = _named(sources, kind, own)
    texts = {str(_text(special)) for special in specials}
    wanted = [token for _, token in sorted(listed.items())]  # those of tokenizer.json too: a special one is marked then
    encoder = {token.content for token in own.values()} | {token.content for token in wanted}
    new: list[Special] = list(wanted)
    new += [each for each in specials if not (isinstance(each, str) and each in encoder) and each not in wanted]
    return _add(
        file,
        [
            Added(each, normalized=False, special=True)
            if isinstance(each, str)
            else replace(each, special=each.special or each.content in texts)
            for each in new
        ],
    )


def _add(file: dict[str, Any], tokens: Sequence[Added]) -> bool:
    """As Tokenizer.add_tokens: a text that has an id keeps it, and what is special once stays so."""
    if not tokens:
        return False
    vocab = file["model"]["vocab"]
    ids = vocab if isinstance(vocab, dict) else {entry[0]: at for at, entry in enumerate(vocab)}
    entries = {entry["content"]: entry for entry in file.get("added_tokens") or []}
    before = {content: dict(entry) for content, entry in entries.items()}
    following = max([len(vocab), *(entry["id"] + 1 for entry in entries.values())])
    for token in tokens:
        if not token.content:
            continue
        old = entries.get(token.content)
        if old is not None:
            number = old["id"]
            token = replace(token, special=token.special or bool(old.get("special")))
        elif token.content in ids:
            number = ids[token.content]
        else:
            number, following = following, following + 1
        entries[token.content] = {"id": number, **asdict(token)}
    if entries == before:
        return False
    file["added_tokens"] = sorted(entries.values(), key=lambda entry: int(entry["id"]))
    return True


def _named(sources: Sources, kind: TokenizerClass, own: Mapping[int, Added]) -> tuple[dict[int, Added], list[Special]]:
    """The tokens listed with their ids, and the special ones in transformers' order, each once."""
    config = sources.config
    given = {key: config[key] for key in ATTRIBUTES if key in config}
    listed: dict[int, Added] = {}
    if "added_tokens_decoder" in config:
        for number, entry in _object(config["added_tokens_decoder"], "added_tokens_decoder", sources).items():
            listed[_id(number, sources)] = _added(entry, "added_tokens_decoder", sources)
    else:
        given |= _of_map(sources, given)
        names = {_text(each) for key in given for each in _each(given[key]) if each is not None}
        for content, number in sources.added.items():
            named = content in names
            listed[_id(number, sources)] = Added(content, normalized=not named, special=named)
        listed |= own
    # Of those in added_tokens.json no flags are known, so what names a special token says more than they.
    flagged = listed if "added_tokens_decoder" in config else own
    by_text = {token.content: token for token in flagged.values()}
    specials: list[Special] = []
    for key in ATTRIBUTES[:-1]:
        value = given[key] if key in given else kind.specials.get(key)
        if value is None:
            continue
        special = _special(value, key, sources)
        if key in given and isinstance(special, str):
            special = by_text.get(special, special)
        elif key in given:
            special = by_text.get(_text(special), special)
        specials.append(_wrapped(special, key, kind, sources.made))
    specials += _additional(given, kind, sources)
    once = {_text(special): special for special in reversed(specials)}
    return listed, list(reversed(once.values()))


def _of_map(sources: Sources, given: Mapping[str, Any]) -> dict[str, Any]:
    """What special_tokens_map.json changes: its objects are special tokens without a mark."""
    changed: dict[str, Any] = {}
    for key, value in sources.special_map.items():
        if isinstance(value, Mapping):
            changed[key] = {**value, "special": True}
        elif key == _ADDITIONAL and isinstance(value, list):
            more = [{**each, "special": True} if isinstance(each, Mapping) else each for each in value]
            before = list(given.get(key) or [])
            changed[key] = before + [each for each in more if each not in before]
        else:
            changed[key] = value
    return {key: value for key, value in changed.items() if key in ATTRIBUTES}


def _additional(given: Mapping[str, Any], kind: TokenizerClass, sources: Sources) -> list[Special]:
    """The special tokens of no purpose: those of the files, of the class, and transformers 5's extra_special_tokens."""
    values = _each(given.get(_ADDITIONAL))
    found = [_special(value, _ADDITIONAL, sources) for value in values]
    texts = {_text(each) for each in found}
    if kind.additional and not (
        given.get(_ADDITIONAL) is not None
        and (kind.name == "CamembertTokenizer" or any("<extra_id_" in text for text in texts))
    ):
        ours = [each for each in kind.additional if each not in texts]
        found = [*ours, *found] if kind.name == "MBartTokenizer" else [*found, *ours]
    extra = sources.config.get("extra_special_tokens") or []
    named = extra.values() if isinstance(extra, Mapping) else _each(extra)
    return found + [_special(value, "extra_special_tokens", sources) for value in named]


def _wrapped(special: Special, key: str, kind: TokenizerClass, made: bool) -> Special:
    """What a class makes of a special token that is a text alone."""
    if not isinstance(special, str):
        return special
    flags = (kind.made_mask if made else kind.mask) if key == "mask_token" else None
    if flags is not None:
        return Added(special, lstrip=flags.lstrip, normalized=flags.normalized, special=True)
    return Added(special) if made and key in kind.wrapped else special


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _text(special: Any) -> str:
    if isinstance(special, Added):
        return special.content
    return str(special.get("content")) if isinstance(special, Mapping) else str(special)


def _special(value: Any, key: str, sources: Sources) -> Special:
    if isinstance(value, Mapping):
        value = {"normalized": False, **value}
    return value if isinstance(value, str) else _added(value, key, sources)


def _added(entry: Any, key: str, sources: Sources) -> Added:
    """An entry of a file. Raises FolderError for what is none."""
    content = entry.get("content") if isinstance(entry, Mapping) else None
    flags = {name: entry[name] for name in _FLAGS if name in entry} if isinstance(entry, Mapping) else {}
    if not isinstance(content, str) or not all(isinstance(flag, bool) for flag in flags.values()):
        raise FolderError(
            f"{sources.where}: a token of {shown(key)!r} is {shown(entry)!r}; it must be a text, or an object with a "
            f"'content' and flags as tokenizers' AddedToken has them"
        )
    flags.setdefault("normalized", not flags.get("special", False))
    return Added(content, **flags)


def _object(value: Any, key: str, sources: Sources) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or len(value) > _MOST_ADDED:
        raise FolderError(f"{sources.where}: {key!r} must be an object of at most {_MOST_ADDED} tokens by their ids")
    return value


def _id(number: Any, sources: Sources) -> int:
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 11:
        number = int(number)
    if type(number) is not int or not 0 <= number < 1 << 32:
        raise FolderError(f"{sources.where}: an added token has the id {shown(number)!r}; it must be a whole number")
    return number
