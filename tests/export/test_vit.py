"""Encoders that are written from their weights, beside the model of transformers that these are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from transformers import DeiTConfig, DeiTModel, SwinConfig, SwinModel, ViTConfig, ViTModel

from fuseline.export.encoders.traced import export_encoder, traced_encoder
from fuseline.export.encoders.vit import write_vit

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "image_size": 32,
    "patch_size": 8,
}
ODD: dict[str, Any] = {
    "hidden_size": 21,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "image_size": (29, 40),  # the last rows of pixels are in no patch
    "patch_size": (8, 4),
    "qkv_bias": False,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-3,
}


def model_of(kind: str, seed: int = 0, **fields: Any) -> Any:
    torch.manual_seed(seed)
    config, model = {"vit": (ViTConfig, ViTModel), "deit": (DeiTConfig, DeiTModel)}[kind]
    made: Any = model(config(**SIZES | fields, attn_implementation="eager")).eval()  # type: ignore[no-untyped-call]
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def photo_of(model: Any) -> tuple[int, int]:
    size = model.config.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def run(graph: onnx.ModelProto, pixel_values: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"pixel_values": pixel_values})
    return np.asarray(found)


@pytest.mark.parametrize("kind", ["vit", "deit"])
@pytest.mark.parametrize("fields", [{}, ODD, {"num_hidden_layers": 1, "num_channels": 1}])
def test_what_is_written_is_the_model(kind: str, fields: dict[str, Any]) -> None:
    model = model_of(kind, **fields)
    graph = write_vit(model, photo_of(model), "hidden")
    assert graph is not None
    onnx.checker.check_model(graph, full_check=True)
    for photos in (1, 3):
        shape = (photos, model.config.num_channels, *photo_of(model))
        pixel_values = np.random.default_rng(photos).normal(size=shape).astype(np.float32)
        with torch.inference_mode():
            expected = model(torch.from_numpy(pixel_values)).last_hidden_state.numpy()
        found = run(graph, pixel_values)
        assert np.abs(expected).max() > 1
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-5)
        shapes = [dim.dim_param or dim.dim_value for dim in graph.graph.output[0].type.tensor_type.shape.dim]
        assert shapes == ["B", *expected.shape[1:]]


def test_an_export_writes_what_it_can() -> None:
    model = model_of("vit")
    written = write_vit(model, (32, 32), "encoder_hidden_states")
    assert export_encoder(model, (32, 32)) == written


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_tracing_gives_the_same_graph(kind: str) -> None:
    model = model_of(kind)
    written, traced = write_vit(model, (32, 32), "encoder_hidden_states"), traced_encoder(model, (32, 32))
    assert written is not None
    reshaping = {"Concat", "Reshape", "Shape"}  # which tracing has more of where the number of photos is in a shape
    kinds = [
        [node.op_type for node in graph.graph.node if node.op_type not in reshaping] for graph in (written, traced)
    ]
    assert sorted(kinds[0]) == sorted(kinds[1])
    pixel_values = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(run(written, pixel_values), run(traced, pixel_values), atol=2e-6)


def without(model: Any, name: str) -> Any:
    setattr(model.encoder.layer[0].output.dense, name, None)
    return model


def with_one_more(model: Any) -> Any:
    model.encoder.layer[1].gate = torch.nn.Linear(2, 2)
    return model


@pytest.mark.parametrize(
    ("model", "photo"),
    [
        (model_of("vit", hidden_act="relu"), (32, 32)),
        (model_of("vit"), (40, 32)),  # there are no places for more patches
        (without(model_of("deit"), "bias"), (32, 32)),
        (with_one_more(model_of("vit")), (32, 32)),
        (SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=12, depths=[1], num_heads=[2])), (32, 32)),  # type: ignore[no-untyped-call]
        (torch.nn.Linear(3, 3), (8, 8)),
    ],
    ids=["activation", "photo", "missing", "more", "swin", "linear"],
)
def test_what_is_not_as_expected_is_left_to_tracing(model: Any, photo: tuple[int, int]) -> None:
    assert write_vit(model, photo, "hidden") is None
