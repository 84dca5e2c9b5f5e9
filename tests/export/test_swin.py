"""Swin and Donut's Swin, written from their weights, beside the models of transformers that these are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import transformers

from fuseline.export.encoders.swin import distances_of, regions_of, windows_of
from fuseline.export.encoders.vision import write_vision
from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN
from fuseline.kernels.layers import ENCODER_LAYER, join_layers

SIZES: dict[str, Any] = {
    "image_size": [64, 32],
    "patch_size": 4,
    "embed_dim": 12,
    "depths": [2, 3],
    "num_heads": [2, 3],
    "window_size": 4,
}
# What is particular, by name; the second stage's grid is half of the first one's.
CASES: Mapping[str, dict[str, Any]] = {
    "windows as wide as the second stage": {},
    "three stages, odd windows": {
        "image_size": [24, 48],
        "patch_size": [2, 2],
        "window_size": 3,
        "depths": [2, 1, 2],
        "num_heads": [1, 2, 4],
    },
    "no biases, another activation, epsilon and width": {
        "qkv_bias": False,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-3,
        "mlp_ratio": 1.5,
        "num_channels": 1,
    },
    "one layer": {"depths": [1], "num_heads": [3]},
}


def model_of(kind: str, seed: int = 0, **fields: Any) -> Any:
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**SIZES | fields, attn_implementation="eager")
    made = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def run(graph: onnx.ModelProto, pixel_values: np.ndarray, fused: bool) -> np.ndarray:
    options = ort.SessionOptions()
    if fused:
        options.register_custom_ops_library(str(library_info().path))
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"pixel_values": pixel_values})
    return np.asarray(found)


@pytest.mark.parametrize("fused", [False, True] if library_info().path else [False])
@pytest.mark.parametrize("kind", ["Swin", "DonutSwin"])
@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_what_is_written_is_the_model(kind: str, fields: dict[str, Any], fused: bool) -> None:
    model = model_of(kind, **fields)
    size = model.config.image_size
    graph = write_vision(model, size, "hidden")
    assert graph is not None
    onnx.checker.check_model(graph)
    for photos in (1, 3):
        shape = (photos, model.config.num_channels, *size)
        pixel_values = np.random.default_rng(photos).normal(size=shape).astype(np.float32)
        with torch.inference_mode():
            expected = model(torch.from_numpy(pixel_values)).last_hidden_state.numpy()
        assert np.abs(expected).max() > 0.5
        np.testing.assert_allclose(run(graph, pixel_values, fused), expected, atol=5e-5, rtol=5e-5)


def test_every_layer_becomes_one_node() -> None:
    graph = write_vision(model_of("Swin"), (64, 32), "hidden")
    assert graph is not None
    assert join_layers(graph) == []
    kinds = [node.op_type for node in graph.graph.node if node.domain == DOMAIN]
    assert kinds.count(ENCODER_LAYER) == 5


@pytest.mark.parametrize(
    ("grid", "window", "shift"), [((8, 12), 4, 2), ((6, 9), 3, 1), ((4, 4), 4, 0), ((10, 20), 10, 5)]
)
def test_windows_are_those_of_transformers(grid: tuple[int, int], window: int, shift: int) -> None:
    from transformers.models.swin.modeling_swin import SwinLayer, SwinSelfAttention, window_partition

    config = transformers.SwinConfig(window_size=window)
    positions = torch.arange(grid[0] * grid[1]).reshape(1, *grid, 1)
    expected = window_partition(torch.roll(positions, (-shift, -shift), (1, 2)), window).reshape(-1, window * window)
    np.testing.assert_array_equal(windows_of(grid, window, shift), expected)
    layer = SwinLayer(config, 12, grid, 2, shift_size=shift)
    mask = layer.get_attn_mask(*grid, torch.float32, "cpu")
    regions = regions_of(grid, window, shift)
    apart = regions[:, None] != regions[:, :, None]
    np.testing.assert_array_equal(apart, np.zeros_like(apart) if mask is None else mask.numpy() < 0)
    index = SwinSelfAttention(config, 12, 2, window).relative_position_index
    np.testing.assert_array_equal(distances_of(window), index)


@pytest.mark.parametrize(
    "fields",
    [
        {"window_size": 5},
        {"window_size": 16},
        {"image_size": [64, 40]},  # of 16 x 10 patches, windows of 4
        {"image_size": [63, 32]},
        {"hidden_act": "tanh"},
        {"use_absolute_embeddings": True},
    ],
    ids=str,
)
def test_what_is_not_as_expected_is_left_to_tracing(fields: dict[str, Any]) -> None:
    model = model_of("Swin", **fields)
    assert write_vision(model, model.config.image_size, "hidden") is None
