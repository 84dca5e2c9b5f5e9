"""Folders as other tools write them, of small real models: optimum-onnx made them, in all its layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    MBartConfig,
    PretrainedConfig,
    RobertaConfig,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

from fuseline.export.via_optimum import quiet
from tests import tiny

# Those whose decoder optimum exports with a cache; GPT-2's reads the hidden states at every step, the others' do not.
WITH_PAST = ("gpt2", "trocr", "mbart")
WITHOUT_PAST = ("bert", "roberta")
LAYOUTS = {
    "merged": ("decoder_model_merged.onnx",),
    "with past": ("decoder_model.onnx", "decoder_with_past_model.onnx"),
    "no cache": ("decoder_model.onnx",),
}
_BART_LIKE = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 72}


def captioner(decoder: str) -> Any:
    """A VisionEncoderDecoderModel with a small ViT and the named decoder, which says varied things."""
    if decoder == "gpt2":
        return tiny.tiny_vit_gpt2(0, encoder_width=48)  # with a projection between the two
    sizes = {"vocab_size": 97, "max_position_embeddings": 40, "is_decoder": True, "add_cross_attention": True}
    text: PretrainedConfig
    if decoder == "trocr":
        text = TrOCRConfig(**sizes, **_BART_LIKE, cross_attention_hidden_size=32)  # type: ignore[no-untyped-call]
    elif decoder == "mbart":
        text = MBartConfig(**sizes, **_BART_LIKE, encoder_attention_heads=4)  # type: ignore[no-untyped-call]
        text.is_encoder_decoder = False
    else:
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 72}
        kind = RobertaConfig if decoder == "roberta" else BertConfig
        text = kind(**sizes, **shape, pad_token_id=tiny.PAD)
    vision = ViTConfig(  # type: ignore[no-untyped-call]
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=56,
        image_size=tiny.PHOTO,
        patch_size=8,
    )
    torch.manual_seed(0)
    model: Any = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text))
    model.eval()
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id, settings.eos_token_id, settings.pad_token_id = tiny.START, tiny.END, tiny.PAD
    model.generation_config.max_length, model.generation_config.num_beams = tiny.MAX_LENGTH, tiny.NUM_BEAMS
    _enliven(model)
    return model


def _enliven(model: torch.nn.Module) -> None:
    """Weights large enough that captions vary with the photo, as tests.tiny does for GPT-2."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.startswith("encoder.embeddings"):
                tensor.mul_(tiny.MATRIX_SCALE if tensor.dim() > 1 else 1.0)
            elif "position" in name:
                tensor.mul_(tiny.POSITION_SCALE)
            elif "embed" in name or "predictions" in name:
                tensor.mul_(tiny.TABLE_SCALE)
            elif tensor.dim() > 1:
                tensor.mul_(tiny.MATRIX_SCALE)


def exported(model: Any, out: Path, with_past: bool = True) -> Path:
    """What optimum-onnx makes of the model: merged, first and with-past decoder; or the one without a cache."""
    from optimum.exporters.onnx import onnx_export_from_model

    task = "image-to-text-with-past" if with_past else "image-to-text"
    with quiet():
        onnx_export_from_model(model, out, task=task, do_validation=False)
    (out / "preprocessor_config.json").write_text(json.dumps(tiny.preprocessor_config()))
    (out / "tokenizer.json").write_text(tiny.word_tokenizer(97))
    return out


def speech_exported(model: Any, source: Path, out: Path, weights: bool = False) -> Path:
    """What optimum-onnx makes of a model of speech whose checkpoint is the folder source.

    weights: with the cross-attention weights, as the models of transformers.js whose names end in "_timestamped".
    """
    from optimum.exporters.onnx import onnx_export_from_model

    options: dict[str, Any] = {}
    if weights:
        options = {"custom_onnx_configs": _with_weights(model), "model_kwargs": {"output_attentions": True}}
    if model.config.model_type == "whisper":
        options["nb_max_frames"] = 2 * model.config.max_source_positions
    task = "automatic-speech-recognition-with-past"
    with quiet():
        onnx_export_from_model(model, out, task=task, do_validation=False, **options)
    for file in source.glob("*.json"):
        shutil.copy(file, out / file.name)
    return out


def _with_weights(model: Any) -> dict[str, Any]:
    """optimum's configurations of the three graphs, changed as scripts/extra/whisper.py of transformers.js has it."""
    from optimum.exporters.onnx.model_configs import WhisperOnnxConfig

    class WithWeights(WhisperOnnxConfig):  # type: ignore[misc]
        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            found: dict[str, dict[int, str]] = super().outputs
            axes = {0: "batch_size", 2: "decoder_sequence_length", 3: "encoder_sequence_length"}
            layers = range(self._config.decoder_layers) if self._behavior.value == "decoder" else ()
            return found | {f"cross_attentions.{layer}": axes for layer in layers}

    config = WithWeights(config=model.config, task="automatic-speech-recognition")
    return {
        "encoder_model": config.with_behavior("encoder"),
        "decoder_model": config.with_behavior("decoder", use_past=True, use_past_in_inputs=False),
        "decoder_with_past_model": config.with_behavior("decoder", use_past=True, use_past_in_inputs=True),
    }


def laid_out(export: Path, layout: str, out: Path, place: str = "", suffix: str = "") -> Path:
    """A copy of an export with the decoders of one layout; place: "onnx/" as transformers.js has it, and a suffix."""
    (out / place).mkdir(parents=True, exist_ok=True)
    for file in export.glob("*.json"):
        shutil.copy(file, out / file.name)
    for name in ("encoder_model.onnx", *LAYOUTS[layout]):
        shutil.copy(export / name, out / place / name.replace(".onnx", f"{suffix}.onnx"))
    return out
