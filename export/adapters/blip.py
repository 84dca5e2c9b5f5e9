"""Hugging Face BlipForConditionalGeneration: a vision encoder of its own, and a decoder that is a BERT without types.

Source: transformers' modeling_blip.py and modeling_blip_text.py for the arithmetic and the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from fuseline.errors import ExportError

from .bert import BertLike
from .registry import Parts, Task, register, register_model
from .vision_encoder_decoder import is_tied

if TYPE_CHECKING:
    import torch


@register("BlipTextLMHeadModel", "blip_text_model")
class BlipText(BertLike):
    """No token types; keys and values are made of encoder_hidden_size numbers."""

    title = "BLIP"
    defaults: ClassVar = {
        **BertLike.defaults,
        "vocab_size": 30524,
        "num_attention_heads": 8,
        "encoder_hidden_size": 768,
        "is_decoder": True,
        "add_cross_attention": True,  # is_decoder says so here
    }
    prefixes = ("text_decoder.", "")
    tokens = "bert.embeddings.word_embeddings"
    head = "cls.predictions.decoder"
    has_token_types = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__({**config, "add_cross_attention": True})

    def cross_width(self) -> int:
        return int(self.of["encoder_hidden_size"])


@register_model("BlipForConditionalGeneration")
class Blip:
    """See registry.ModelAdapter."""

    task: Task = "image-to-text"
    loader = "BlipForConditionalGeneration"

    def check_sections(self, config: Mapping[str, Any]) -> None:
        for name in ("text_config", "vision_config"):
            if not isinstance(config.get(name), Mapping):
                raise ExportError(f"config.json must have an object called {name}")

    def check(self, config: Mapping[str, Any]) -> None:
        self.check_sections(config)

    def encoder_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        section: Mapping[str, Any] = config["vision_config"]
        return section

    def generation_config(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """Its generate asks the text decoder's configuration, and ends at sep_token_id."""
        from transformers import BlipTextConfig, GenerationConfig

        text = BlipTextConfig(**config["text_config"])  # type: ignore[no-untyped-call]
        options: dict[str, Any] = GenerationConfig.from_model_config(text).to_diff_dict()
        ends = {"eos_token_id": text.sep_token_id, "pad_token_id": text.pad_token_id}
        return options | ends | {"bos_token_id": text.bos_token_id, "decoder_start_token_id": text.bos_token_id}

    def parts(self, model: Any) -> Parts:
        config = model.config.text_config.to_dict()
        config["tie_word_embeddings"] = is_tied(model.text_decoder)
        return Parts(self.encoder(model), BlipText, config)

    def encoder(self, model: Any) -> torch.nn.Module:
        encoder: torch.nn.Module = model.vision_model
        return encoder

    def logits(self, model: Any, inputs: Mapping[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(**inputs, input_ids=tokens).logits
        return logits
