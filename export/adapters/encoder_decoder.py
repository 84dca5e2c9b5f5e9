"""Hugging Face EncoderDecoderModel: a text encoder with any decoder, as its config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuseline.errors import ExportError

from ..encoders.bert_like import BY_MODEL_TYPE
from .registry import Parts, Task, decoder_adapter, register_model
from .vision_encoder_decoder import VisionEncoderDecoder, check_decoder, is_tied
from .whole_model import completed


@register_model("EncoderDecoderModel", "encoder-decoder")
class EncoderDecoder(VisionEncoderDecoder):
    """See registry.ModelAdapter."""

    task: Task = "text2text-generation"
    loader = "EncoderDecoderModel"

    def check(self, config: Mapping[str, Any]) -> None:
        self.check_sections(config)
        kind = config["encoder"].get("model_type")
        if kind not in BY_MODEL_TYPE:
            found = f"the text encoder {kind or 'without a model_type'} cannot be exported"
            raise ExportError(f"{found}; known are {', '.join(BY_MODEL_TYPE)}")
        check_decoder(config["decoder"])
        BY_MODEL_TYPE[kind](completed(config, self.loader)["encoder"])

    def parts(self, model: Any) -> Parts:
        config, encoder = model.config.decoder.to_dict(), model.config.encoder.to_dict()
        decoder = model.decoder
        config["tie_word_embeddings"] = is_tied(decoder)
        adapter = decoder_adapter({**config, "architectures": [type(decoder).__name__]})
        return Parts(None, adapter, config, (BY_MODEL_TYPE[encoder["model_type"]], encoder))
