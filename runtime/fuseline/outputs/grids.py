"""Which part of a photo each position of a vision encoder stands for: its patches as a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import InputError

_STRIDES = (32, 16, 64, 8, 4)  # pixels a position of encoders that make their grid smaller step by step
_LEAST = 4  # positions of a grid that shows anything


class Grid(NamedTuple):
    """The positions from `first` on are rows x columns patches, row by row, each `stride` pixels wide and high."""

    first: int
    rows: int
    columns: int
    stride: int


def grid_of(config: Mapping[str, Any], frame: tuple[int, int], positions: int) -> Grid:
    """The grid of an encoder that makes so many positions of a frame of (width, height) pixels.

    config: config.json. What stands before the patches is known by how much is left over: nothing (Swin, SigLIP,
    convolutions), a class token (ViT, CLIP, BLIP, BEiT, DINOv2), a distillation token too (DeiT), register tokens
    (DINOv2 with registers), words for the whole photo (the captioner that ships, `num_label_tokens`). Encoders of one
    patch size have rows and columns of whole patches; Swin's halve the grid after each stage but the last, an odd one
    rounded up (`SwinPatchMerging.maybe_pad`); of others (EfficientNet, PVT, LeViT, hybrids) the stride is the power of
    two that fits. Raises InputError where no grid does.
    """
    encoder = _encoder(config)
    allowed = {0, 1, 2, 1 + _number(encoder.get("num_register_tokens")), _number(encoder.get("num_label_tokens"))}
    if "qformer_config" not in config and "num_query_tokens" not in config:
        for stride, rounded_up in _strides(encoder):
            across, down = ((edge + rounded_up * (stride - 1)) // stride for edge in frame)
            first = positions - across * down
            if across * down >= _LEAST and first in allowed:
                return Grid(first, down, across, stride)
    raise InputError(
        f"a heat map needs encoder positions that are patches of the photo, and the {positions} positions that this "
        f"model makes of {frame[0]} x {frame[1]} pixels are no grid of them; Generation.cross_attentions has the "
        "numbers"
    )


def _encoder(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (config.get(name) for name in ("encoder", "vision_config"))
    return next((each for each in found if isinstance(each, Mapping)), config)


def _strides(encoder: Mapping[str, Any]) -> Iterator[tuple[int, bool]]:
    """Pixels a position, and whether a part of a patch at the edge is one."""
    patch = _number(encoder.get("patch_size"))
    stages = encoder.get("depths")
    if patch and isinstance(stages, list):
        yield patch * 2 ** (max(len(stages), 1) - 1), True
    elif patch > 1 and not isinstance(encoder.get("hidden_sizes"), list):
        yield patch, False
        return
    for stride in _STRIDES:
        yield stride, True


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 8192 else 0
