"""Models of transformers of one class with one configuration, whose encoder is written here: what all of them share.

What is particular is an encoder, a decoder, and a registered subclass of TextToText or SpeechToText of one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

from ..encoders.written import WrittenEncoder
from ..refusals import one_sentence
from .registry import Parts, Task
from .text_decoder import TextDecoder

if TYPE_CHECKING:
    import torch


class WholeModel:
    """See registry.ModelAdapter."""

    task: Task
    loader: str
    encoder_class: ClassVar[type[WrittenEncoder]]
    decoder: ClassVar[type[TextDecoder]]

    def check_sections(self, config: Mapping[str, Any]) -> None:
        """There are none."""

    def check(self, config: Mapping[str, Any]) -> None:
        complete = completed(config, self.loader)
        self.encoder_class(complete)
        self.decoder(complete)

    def encoder_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return config

    def generation_config(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        return None

    def parts(self, model: Any) -> Parts:
        config = model.config.to_dict()
        head, embedding = model.get_output_embeddings().weight, model.get_decoder().get_input_embeddings().weight
        config["tie_word_embeddings"] = bool(head.data_ptr() == embedding.data_ptr())
        own = {**config, "vocab_size": len(head)}  # Marian's may have a vocabulary of its own
        return Parts(None, self.decoder, own, (self.encoder_class, config))

    def encoder(self, model: Any) -> torch.nn.Module:
        encoder: torch.nn.Module = model.get_encoder()
        return encoder

    def logits(self, model: Any, inputs: Mapping[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(**inputs, decoder_input_ids=tokens).logits
        return logits


def completed(config: Mapping[str, Any], loader: str) -> dict[str, Any]:
    """A config.json with all that transformers adds to it. loader: the class that it is of."""
    import transformers

    with one_sentence("transformers cannot read config.json"):
        found: dict[str, Any] = getattr(transformers, loader).config_class.from_dict(deepcopy(dict(config))).to_dict()
    return found
