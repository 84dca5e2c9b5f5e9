"""Hugging Face VisionEncoderDecoderModel: any vision encoder with any decoder, as its config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fuseline.errors import ExportError

from ..encoder import ENCODERS
from .registry import Parts, decoder_adapter, register_model

if TYPE_CHECKING:
    import torch


@register_model("VisionEncoderDecoderModel", "vision-encoder-decoder")
class VisionEncoderDecoder:
    """See registry.ModelAdapter."""

    loader = "VisionEncoderDecoderModel"

    def check(self, config: Mapping[str, Any]) -> None:
        encoder, decoder = config.get("encoder"), config.get("decoder")
        if not isinstance(encoder, Mapping) or not isinstance(decoder, Mapping):
            raise ExportError("config.json must have an object called encoder and one called decoder")
        if encoder.get("model_type") not in ENCODERS:
            found = encoder.get("model_type") or "without a model_type"
            raise ExportError(f"the encoder {found} cannot be exported; known are {', '.join(ENCODERS)}")
        decoder_adapter(decoder)

    def vision_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        section: Mapping[str, Any] = config["encoder"]
        return section

    def generation_config(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        return None

    def parts(self, model: Any) -> Parts:
        config = model.config.decoder.to_dict()
        decoder = model.decoder
        config["tie_word_embeddings"] = is_tied(decoder)
        adapter = decoder_adapter({**config, "architectures": [type(decoder).__name__]})
        return Parts(self.encoder(model), adapter, config)

    def encoder(self, model: Any) -> torch.nn.Module:
        encoder: torch.nn.Module = model.encoder
        return encoder

    def logits(self, model: Any, pixel_values: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(pixel_values=pixel_values, decoder_input_ids=tokens).logits
        return logits


def is_tied(decoder: Any) -> bool:
    """Whether a loaded decoder's head is its embedding: files say so by their names, configurations not always."""
    inputs, outputs = decoder.get_input_embeddings(), decoder.get_output_embeddings()
    return bool(inputs.weight.data_ptr() == outputs.weight.data_ptr())
