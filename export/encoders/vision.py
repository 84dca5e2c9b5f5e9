"""Encoders of photos by the classes of transformers: those that are written here; the others are traced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx

from fuseline.errors import ExportError

from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile
from .beit import Beit
from .clip_like import Blip, Clip, Siglip
from .dinov2 import Dinov2, Dinov2Gated, GatedRegisters, Registers
from .swin import DonutSwin, Swin
from .vision_encoder import PHOTO, VisionEncoder
from .vit import Deit, Ijepa, Vit

if TYPE_CHECKING:
    import torch

BY_CLASS: Mapping[str, type[VisionEncoder]] = {
    "BeitModel": Beit,
    "BlipVisionModel": Blip,
    "ChineseCLIPVisionModel": Clip,
    "CLIPVisionModel": Clip,
    "Data2VecVisionModel": Beit,
    "DeiTModel": Deit,
    "Dinov2Model": Dinov2,
    "Dinov2WithRegistersModel": Registers,
    "DonutSwinModel": DonutSwin,
    "IJepaModel": Ijepa,
    "SiglipVisionModel": Siglip,
    "SwinModel": Swin,
    "ViTModel": Vit,
    "ViTMSNModel": Vit,
}
_GATED: Mapping[type[VisionEncoder], type[VisionEncoder]] = {Dinov2: Dinov2Gated, Registers: GatedRegisters}


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
    written = _class_of(encoder)
    if written is None:
        return None
    config: Any = encoder.config
    found = {name: tensor for name, tensor in encoder.state_dict().items() if not re.match(written.unused, name)}
    try:
        made = written({**config.to_dict(), PHOTO: tuple(photo)})
        if not made.takes() or set(found) != made.tensors().names():
            return None
        weights = {name: tensor.numpy() for name, tensor in found.items()}
        return written.build_encoder(weights, made.of, result, scheme, outside)
    except ExportError:  # of another activation, say, or other sizes
        return None


def _class_of(encoder: torch.nn.Module) -> type[VisionEncoder] | None:
    written = BY_CLASS.get(type(encoder).__name__)
    return _GATED.get(written) if written is not None and getattr(encoder.config, "use_swiglu_ffn", False) else written
