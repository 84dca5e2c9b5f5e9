"""Encoders of photos by the classes of transformers: those that are written here; the others are traced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import onnx

from fuseline.errors import ExportError

from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile
from .beit import Beit
from .swin import DonutSwin, Swin
from .vision_encoder import PHOTO
from .vit import Deit, Vit
from .written import WrittenEncoder

if TYPE_CHECKING:
    import torch

BY_CLASS: Mapping[str, type[WrittenEncoder]] = {
    "BeitModel": Beit,
    "Data2VecVisionModel": Beit,
    "DeiTModel": Deit,
    "DonutSwinModel": DonutSwin,
    "SwinModel": Swin,
    "ViTModel": Vit,
}
# What hidden states are not made of.
_UNUSED = re.compile(r"pooler\.|embeddings\.mask_token$|\.relative_position_index$")


def write_vision(
    encoder: torch.nn.Module,
    photo: Sequence[int],
    result: str,
    scheme: Scheme = "fp32",
    outside: WeightsFile | None = None,
) -> onnx.ModelProto | None:
    """pixel_values float32[B, C, height, width] -> `result` float32[B, S, E]; None for what must be traced.

    encoder: a model of transformers; photo: height and width, which the graph is fixed to; scheme, outside: as for
    WrittenEncoder.build_encoder. What is not quite as expected, in its config or its tensors, is left to tracing.
    """
    written = BY_CLASS.get(type(encoder).__name__)
    if written is None:
        return None
    config = {**encoder.config.to_dict(), PHOTO: tuple(photo)}
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items() if not _UNUSED.search(name)}
    try:
        if set(weights) != written(config).tensors().names():
            return None
        return written.build_encoder(weights, config, result, scheme, outside)
    except ExportError:  # of another activation, say, or other sizes
        return None
