"""Hugging Face VisionEncoderDecoderModel: any vision encoder with any decoder, as its config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fuseline.errors import ExportError
from fuseline.warning import warn

from ..encoders.traced import ENCODERS
from .registry import Parts, Task, decoder_adapter, register_model

if TYPE_CHECKING:
    import torch


_WHOLE = {"clip": "clip_vision_model", "chinese_clip": "chinese_clip_vision_model", "siglip": "siglip_vision_model"}
# Those that give a map of features [B, C, height, width], have no hidden_size, or ask for more than pixels.
_NOWHERE = {
    "bit",
    "convnext",
    "convnextv2",
    "cvt",
    "efficientnet",
    "focalnet",
    "levit",
    "mobilenet_v2",
    "mobilevit",
    "poolformer",
    "pvt",
    "pvt_v2",
    "regnet",
    "resnet",
    "sam_vision_model",
    "segformer",
    "siglip2_vision_model",
    "vitdet",
}


@register_model("VisionEncoderDecoderModel", "vision-encoder-decoder")
class VisionEncoderDecoder:
    """See registry.ModelAdapter."""

    task: Task = "image-to-text"
    loader = "VisionEncoderDecoderModel"

    def check_sections(self, config: Mapping[str, Any]) -> None:
        if not all(isinstance(config.get(name), Mapping) for name in ("encoder", "decoder")):
            raise ExportError("config.json must have an object called encoder and one called decoder")

    def check(self, config: Mapping[str, Any]) -> None:
        self.check_sections(config)
        encoder = config["encoder"].get("model_type")
        if encoder not in ENCODERS:
            found = f"the encoder {encoder or 'without a model_type'} cannot be exported"
            raise ExportError(f"{found}; known are {', '.join(ENCODERS)}{_why(encoder)}")
        check_decoder(config["decoder"])

    def encoder_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
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

    def logits(self, model: Any, inputs: Mapping[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(**inputs, decoder_input_ids=tokens).logits
        return logits


def _why(encoder: object) -> str:
    """What else is to be said of an encoder that is not known."""
    if encoder == "vit_mae":
        return "; vit_mae hides patches at random, so that a photo has no one text"
    if encoder in _WHOLE:
        return f"; {encoder} reads texts too, and its part for photos is called {_WHOLE[str(encoder)]}"
    if encoder in _NOWHERE:
        return f"; transformers cannot run {encoder} in a VisionEncoderDecoderModel either"
    return ""


def check_decoder(section: Mapping[str, Any]) -> None:
    """Raises ExportError for a decoder that no adapter knows."""
    decoder_adapter(section)
    if section.get("model_type") == "gpt2" and section.get("scale_attn_weights") is False:
        warn(
            "config.json says scale_attn_weights false, which is followed; transformers follows it with "
            'attn_implementation="eager" alone, and says something else without that'
        )


def is_tied(decoder: Any) -> bool:
    """Whether a loaded decoder's head is its embedding: files say so by their names, configurations not always."""
    inputs, outputs = decoder.get_input_embeddings(), decoder.get_output_embeddings()
    return bool(inputs.weight.data_ptr() == outputs.weight.data_ptr())
