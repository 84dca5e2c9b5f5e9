"""How pipelines of texts read texts and show what they made of them: transformers' keywords, checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import InputError, written

KEYWORDS = (
    *("src_lang", "tgt_lang", "truncation", "return_tensors", "return_text", "return_type"),
    *("clean_up_tokenization_spaces", "stop_sequence"),
)
# Of transformers' TruncationStrategy.
_TRUNCATION = {"do_not_truncate": False, "longest_first": True, "only_first": True}


class TextReading(NamedTuple):
    """What a call says of its texts; None where it does not.

    truncation: whether a text that is too long is cut; tensors: whether results are tokens.
    """

    src_lang: str | None = None
    tgt_lang: str | None = None
    truncation: bool | None = None
    tensors: bool | None = None
    clean_up: bool | None = None
    stop_sequence: str | None = None

    @property
    def cleans_up(self) -> bool:
        """Whether spaces before punctuation go from results: in pipelines only where a call says so."""
        return bool(self.clean_up)

    def taking(self, options: dict[str, Any]) -> TextReading:
        """The same with what a call's keywords say, which are taken out of options. Raises InputError."""
        given = {name: options.pop(name) for name in KEYWORDS if name in options}
        found: dict[str, Any] = {
            "src_lang": _text("src_lang", given),
            "tgt_lang": _text("tgt_lang", given),
            "truncation": _truncation(given.get("truncation")),
            "tensors": _tensors(given),
            "clean_up": _flag("clean_up_tokenization_spaces", given),
            "stop_sequence": _text("stop_sequence", given),
        }
        return self._replace(**{name: value for name, value in found.items() if value is not None})


def _text(name: str, given: dict[str, Any]) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name} must be a text, not {written(value)}")
    return value


def _flag(name: str, given: dict[str, Any]) -> bool | None:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, not {written(value)}")
    return value


def _truncation(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    name = getattr(value, "value", value)
    if not isinstance(name, str) or name not in _TRUNCATION:
        raise InputError(f"truncation must be True, False or one of {', '.join(_TRUNCATION)}, not {written(value)}")
    return _TRUNCATION[name]


def _tensors(given: dict[str, Any]) -> bool | None:
    """Whether results are tokens: return_type says it, else return_tensors, else return_text."""
    kind, tensors, text = given.get("return_type"), _flag("return_tensors", given), _flag("return_text", given)
    if kind is not None:
        name = getattr(kind, "name", None)
        if name not in ("TENSORS", "TEXT"):
            raise InputError(f"return_type must be transformers' ReturnType.TENSORS or .TEXT, not {written(kind)}")
        return bool(name == "TENSORS")
    if text is False and not tensors:
        raise InputError("return_text=False leaves nothing to return; give return_tensors=True for tokens")
    return tensors
