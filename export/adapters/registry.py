"""Which decoders are known: adapters register themselves here by the names that config.json uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import onnx

from fuseline.errors import ExportError

from ..weights import Array, Scheme


class DecoderAdapter(Protocol):
    """What an architecture has to offer; the arguments are explained at export/adapters/gpt2.py."""

    def build_decoder(
        self,
        state_dict: Mapping[str, Array],
        config: Mapping[str, Any],
        scheme: Scheme = "fp32",
        max_positions: int | None = None,
    ) -> onnx.ModelProto:
        """The decoder graph of docs/design.md."""
        ...

    def append_cross_kv(
        self,
        encoder: onnx.ModelProto,
        state_dict: Mapping[str, Array],
        config: Mapping[str, Any],
        hidden_name: str,
        scheme: Scheme = "fp32",
    ) -> onnx.ModelProto:
        """The encoder graph with every decoder layer's cross-attention K/V as its only outputs."""
        ...

    def decoder_info(self, config: Mapping[str, Any], max_positions: int | None = None) -> dict[str, int]:
        """layers, heads, head_size, vocab_size and max_positions."""
        ...


_ADAPTERS: dict[str, DecoderAdapter] = {}


def register(*names: str) -> Callable[[type[DecoderAdapter]], type[DecoderAdapter]]:
    """Register a class without arguments for the class names and model types that config.json has for its decoder."""

    def remember(adapter: type[DecoderAdapter]) -> type[DecoderAdapter]:
        _ADAPTERS.update(dict.fromkeys(names, adapter()))
        return adapter

    return remember


def known_decoders() -> list[str]:
    """The names that are registered, sorted."""
    return sorted(_ADAPTERS)


def decoder_adapter(section: Mapping[str, Any]) -> DecoderAdapter:
    """The adapter for the decoder's section of config.json, by its class name or else its model type.

    Raises ExportError with the list of what is known.
    """
    names = [name for name in (*(section.get("architectures") or ()), section.get("model_type")) if name]
    for name in names:
        if name in _ADAPTERS:
            return _ADAPTERS[name]
    found = " or ".join(map(str, names)) or "without a name"
    raise ExportError(f"the decoder {found} cannot be exported; known are {', '.join(known_decoders())}")
