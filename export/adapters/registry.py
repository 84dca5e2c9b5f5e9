"""Which models and decoders are known: adapters register themselves here by the names that config.json uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import onnx

from fuseline.errors import ExportError

from ..graphs.weights import Array, Scheme
from ..graphs.weights_file import WeightsFile

if TYPE_CHECKING:
    import torch

    from ..encoders.written import WrittenEncoder
    from .text_decoder import TextDecoder


class DecoderAdapter(Protocol):
    """What the architecture of a decoder has to offer; the arguments are explained at adapters/text_decoder.py."""

    def build_decoder(
        self,
        state_dict: Mapping[str, Array],
        config: Mapping[str, Any],
        scheme: Scheme = "fp32",
        max_positions: int | None = None,
        outside: WeightsFile | None = None,
        *,
        padded: bool = False,
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
        in_place: bool = False,
    ) -> onnx.ModelProto:
        """The encoder graph with every decoder layer's cross-attention K/V as its only outputs."""
        ...

    def decoder_info(self, config: Mapping[str, Any], max_positions: int | None = None) -> dict[str, int]:
        """layers, heads, head_size, vocab_size and max_positions."""
        ...


@dataclass(frozen=True)
class Parts:
    """A loaded model taken apart. decoder_config: a section of config.json as it is meant."""

    encoder: torch.nn.Module | None
    """of photos"""
    decoder: DecoderAdapter
    decoder_config: Mapping[str, Any]
    written: tuple[type[WrittenEncoder], Mapping[str, Any]] | None = None
    """of texts or speech instead, with its section of config.json; neither of a decoder alone"""


# What a model is for, in the words of transformers' pipelines.
Task = Literal["image-to-text", "text2text-generation", "automatic-speech-recognition", "text-generation"]


class ModelAdapter(Protocol):
    """What the architecture of a whole model has to offer."""

    task: Task
    loader: str
    """the class of transformers that loads it"""

    def check_sections(self, config: Mapping[str, Any]) -> None:
        """Raises ExportError for a config.json that lacks a part of the model, whatever it is made of."""
        ...

    def check(self, config: Mapping[str, Any]) -> None:
        """Raises ExportError for a config.json of which no folder can be made."""
        ...

    def encoder_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The section of config.json that its encoder is made of."""
        ...

    def generation_config(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """What generate goes by where that is not the checkpoint's generation_config.json."""
        ...

    def parts(self, model: Any) -> Parts:
        """The encoder and the decoder of a model that `loader` has loaded."""
        ...

    def encoder(self, model: Any) -> torch.nn.Module | None:
        """What of a model computes the hidden states of what it reads, None where it reads nothing."""
        ...

    def logits(self, model: Any, inputs: Mapping[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        """float32[B, T, V] after every one of the tokens int64[B, T]. inputs: what the encoder reads, by its names."""
        ...


# What optimum-onnx exports and no adapter does, by the model types of decoders in config.json.
BY_OPTIMUM = {"megatron-bert", "rembert"}

_DECODERS: dict[str, DecoderAdapter] = {}
_MODELS: dict[str, ModelAdapter] = {}

_Decoder = TypeVar("_Decoder", bound="TextDecoder")
_Model = TypeVar("_Model", bound=ModelAdapter)


def register(*names: str) -> Callable[[type[_Decoder]], type[_Decoder]]:
    """Register a class for the class names and model types that config.json has for its decoder.

    What DecoderAdapter asks for are classmethods of it.
    """

    def remember(adapter: type[_Decoder]) -> type[_Decoder]:
        _DECODERS.update(dict.fromkeys(names, adapter))
        return adapter

    return remember


def register_model(*names: str) -> Callable[[type[_Model]], type[_Model]]:
    """Register a class without arguments for the class names and model types that config.json has for a whole model."""

    def remember(adapter: type[_Model]) -> type[_Model]:
        _MODELS.update(dict.fromkeys(names, adapter()))
        return adapter

    return remember


def known_decoders() -> list[str]:
    """The names that are registered for decoders, sorted."""
    return sorted(_DECODERS)


def known_models() -> list[str]:
    """The names that are registered for whole models, sorted."""
    return sorted(_MODELS)


def decoder_adapter(section: Mapping[str, Any]) -> DecoderAdapter:
    """The adapter for the decoder's section of config.json, by its class name or else its model type.

    Raises ExportError with the list of what is known.
    """
    return _found(section, _DECODERS, "decoder")


def model_adapter(config: Mapping[str, Any]) -> ModelAdapter:
    """The adapter for a config.json, by its class name; by its model type only where it names no class.

    Classifiers and other models have the model types of those that write texts. Raises as decoder_adapter does.
    """
    named = bool(config.get("architectures"))
    known = {name: adapter for name, adapter in _MODELS.items() if not (named and name == config.get("model_type"))}
    return _found(config, known, "architecture")


_Adapter = TypeVar("_Adapter")


def _found(config: Mapping[str, Any], adapters: Mapping[str, _Adapter], what: str) -> _Adapter:
    names = [name for name in (*(config.get("architectures") or ()), config.get("model_type")) if name]
    for name in names:
        if name in adapters:
            return adapters[name]
    found = " or ".join(map(str, names)) or "without a name"
    else_ = "; --via optimum can export it" if BY_OPTIMUM.intersection(names) else ""
    raise ExportError(f"the {what} {found} cannot be exported; known are {', '.join(sorted(adapters))}{else_}")
