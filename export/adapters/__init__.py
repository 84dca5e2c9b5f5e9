"""One file per architecture: each writes a state dict down as graphs, in the words of fuseline.export.graphs.graph."""

import importlib

from .registry import (
    DecoderAdapter,
    ModelAdapter,
    Parts,
    decoder_adapter,
    known_decoders,
    known_models,
    model_adapter,
    register,
    register_model,
)

# Those whose import registers an architecture.
_ARCHITECTURES = (
    "bart",
    "bart_relatives",
    "bert",
    "bert_relatives",
    "blip",
    "encoder_decoder",
    "gpt2",
    "m2m_100",
    "mbart",
    "moonshine",
    "roberta",
    "t5",
    "trocr",
    "vision_encoder_decoder",
    "whisper",
    "xglm",
)
for _name in _ARCHITECTURES:
    importlib.import_module(f".{_name}", __name__)

__all__ = [
    "DecoderAdapter",
    "ModelAdapter",
    "Parts",
    "decoder_adapter",
    "known_decoders",
    "known_models",
    "model_adapter",
    "register",
    "register_model",
]
