"""BEiT and Data2Vec's, written from their weights, beside the models of transformers that these are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from fuseline.export.encoders.vision import write_vision
from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN
from fuseline.kernels.layers import ENCODER_LAYER, join_layers

from .test_swin import run

SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "image_size": 40,
    "patch_size": 8,
}
CASES: dict[str, dict[str, Any]] = {
    "no bias": {},
    "a bias a layer": {"use_relative_position_bias": True},
    "one for all": {"use_shared_relative_position_bias": True, "use_mean_pooling": False},
    "both, and positions": {
        "use_relative_position_bias": True,
        "use_shared_relative_position_bias": True,
        "use_absolute_position_embeddings": True,
        "use_mask_token": True,
        "hidden_act": "gelu_new",
    },
    "without scales": {"layer_scale_init_value": 0.0, "use_relative_position_bias": True, "num_channels": 1},
}


def model_of(kind: str, **fields: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES | fields, attn_implementation="eager")
    made = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("fused", [False, True] if library_info().path else [False])
@pytest.mark.parametrize("kind", ["Beit", "Data2VecVision"])
@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_what_is_written_is_the_model(kind: str, fields: dict[str, Any], fused: bool) -> None:
    model = model_of(kind, **fields)
    graph = write_vision(model, (40, 40), "hidden")
    assert graph is not None
    onnx.checker.check_model(graph)
    pixel_values = np.random.default_rng(0).normal(size=(2, model.config.num_channels, 40, 40)).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixel_values)).last_hidden_state.numpy()
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(run(graph, pixel_values, fused), expected, atol=5e-5, rtol=5e-5)


def test_every_layer_becomes_one_node() -> None:
    graph = write_vision(model_of("Beit", use_relative_position_bias=True), (40, 40), "hidden")
    assert graph is not None
    assert join_layers(graph) == []
    assert [node.op_type for node in graph.graph.node if node.domain == DOMAIN].count(ENCODER_LAYER) == 2


@pytest.mark.parametrize(
    ("fields", "photo"), [({}, (48, 48)), ({"image_size": [40, 48]}, (40, 48)), ({"hidden_act": "tanh"}, (40, 40))]
)
def test_what_is_not_as_expected_is_left_to_tracing(fields: dict[str, Any], photo: tuple[int, int]) -> None:
    assert write_vision(model_of("Beit", **fields), photo, "hidden") is None
