"""Grids of patches, asked of transformers' own encoders: the position of what changes in the photo changes most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fuseline.outputs.grids import grid_of  # noqa: E402

HEIGHT, WIDTH = 64, 96
_VISION = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
_PLAIN: dict[str, Any] = {**_VISION, "image_size": (HEIGHT, WIDTH), "patch_size": 16}
_SQUARE: dict[str, Any] = {**_PLAIN, "image_size": 96}
_STAGES: dict[str, Any] = {"embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 8}
_PVT: dict[str, Any] = {
    "hidden_sizes": [8, 16, 16, 24],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "sequence_reduction_ratios": [8, 4, 2, 1],
    "image_size": 96,
}

ENCODERS: dict[str, Callable[[], Any]] = {
    "ViT": lambda: transformers.ViTModel(transformers.ViTConfig(**_PLAIN)),
    "DeiT": lambda: transformers.DeiTModel(transformers.DeiTConfig(**_PLAIN)),
    "BEiT": lambda: transformers.BeitModel(transformers.BeitConfig(**_SQUARE)),
    "CLIP": lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**_SQUARE)),
    "BLIP": lambda: transformers.BlipVisionModel(transformers.BlipVisionConfig(**_SQUARE)),
    "SigLIP": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**_SQUARE)),
    "DINOv2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**_SQUARE)),
    "DINOv2 with registers": lambda: transformers.Dinov2WithRegistersModel(
        transformers.Dinov2WithRegistersConfig(**_SQUARE, num_register_tokens=4)
    ),
    "Swin": lambda: transformers.SwinModel(transformers.SwinConfig(image_size=(HEIGHT, WIDTH), **_STAGES)),
    "Donut": lambda: transformers.DonutSwinModel(transformers.DonutSwinConfig(image_size=[HEIGHT, WIDTH], **_STAGES)),
    "PVT": lambda: transformers.PvtModel(transformers.PvtConfig(**_PVT)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_part_of_the_photo_changes_its_position_most(name: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]().eval()
    size = encoder.config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    with torch.no_grad():
        for tensor in encoder.parameters():
            if tensor.dim() > 1:
                tensor.normal_(std=0.1)
        plain = torch.zeros(1, 3, height, width)
        before = encoder(plain).last_hidden_state
        grid = grid_of({"encoder": encoder.config.to_dict()}, (width, height), before.shape[1])
        assert grid.rows * grid.stride == height and grid.columns * grid.stride == width
        for row, column in ((0, 0), (1, grid.columns - 1), (grid.rows - 1, 1)):
            photo = plain.clone()
            y, x = row * grid.stride, column * grid.stride
            photo[:, :, y : y + grid.stride, x : x + grid.stride] = torch.randn(3, grid.stride, grid.stride)
            change = (encoder(photo).last_hidden_state - before)[0].norm(dim=-1)
            assert int(change[grid.first :].argmax()) == row * grid.columns + column
