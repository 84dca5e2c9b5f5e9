"""Models of transformers that are a decoder alone: they say how probable a text is, and read nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from .registry import Parts, Task
from .text_decoder import TextDecoder
from .vision_encoder_decoder import check_decoder, is_tied
from .whole_model import completed

if TYPE_CHECKING:
    import torch


class LanguageModel:
    """See registry.ModelAdapter. What is particular is a decoder that reads nothing, and a registered subclass of one
    line."""

    task: Task = "text-generation"
    loader: str
    decoder: ClassVar[type[TextDecoder]]

    def check_sections(self, config: Mapping[str, Any]) -> None:
        """There are none."""

    def check(self, config: Mapping[str, Any]) -> None:
        check_decoder(config)
        self.decoder(completed(config, self.loader))

    def encoder_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def generation_config(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        return None

    def parts(self, model: Any) -> Parts:
        config = {**model.config.to_dict(), "tie_word_embeddings": is_tied(model)}
        return Parts(None, self.decoder, config)

    def encoder(self, model: Any) -> torch.nn.Module | None:
        return None

    def logits(self, model: Any, inputs: Mapping[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(tokens).logits
        return logits
