"""config.json as an object that is read as those of transformers are: model.config.decoder.vocab_size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InputError, shown
from .copied_calls import NoAttribute


class ConfigView(Mapping[str, Any]):
    """What the file says, by attribute or by key, and nothing that it does not say. It cannot be changed."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_content", content)

    def __getitem__(self, name: str) -> Any:
        found = self._content[name]
        return ConfigView(found) if isinstance(found, Mapping) else found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_content":
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise NoAttribute(f"config.json says nothing of {shown(name)}") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise InputError(
            f"config.json cannot be changed here; give {shown(name)} to generate, if it is an option of it"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return dict(self._content)

    def __repr__(self) -> str:
        return f"ConfigView({shown(dict(self._content))})"
