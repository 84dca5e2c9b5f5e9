"""Encoders of photos that are written from their weights, beside the model of transformers that these are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from transformers import SwinConfig, SwinModel

from fuseline.export.encoders.traced import export_encoder, traced_encoder
from fuseline.export.encoders.vision import write_vision
from fuseline.export.graphs.linears import fuse_linears
from fuseline.export.graphs.recode import recode
from fuseline.export.graphs.weights import Scheme
from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN
from fuseline.kernels.layers import ENCODER_LAYER, join_layers, split_layers
from tests.kernels.nodes import session

SCHEMES: tuple[Scheme, ...] = ("fp32", "fp16", "int8", "int4")
FUSED = (True, False) if library_info().path else (False,)
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
# Of transformers, what stands before Config and Model; with fields, where they make another encoder.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", {}),
    "deit": ("DeiT", {}),
    "vit msn": ("ViTMSN", {}),
    "i-jepa": ("IJepa", {}),
    "clip": ("CLIPVision", {}),
    "chinese clip": ("ChineseCLIPVision", {"hidden_act": "gelu"}),
    "siglip": ("SiglipVision", {}),
    "blip": ("BlipVision", {}),
    "dinov2": ("Dinov2", {"mlp_ratio": 2}),
    "dinov2, gated": ("Dinov2", {"use_swiglu_ffn": True, "mlp_ratio": 2}),
    "dinov2, registers": ("Dinov2WithRegisters", {"num_register_tokens": 3, "mlp_ratio": 2}),
    "dinov2, both": ("Dinov2WithRegisters", {"num_register_tokens": 3, "mlp_ratio": 2, "use_swiglu_ffn": True}),
}
VITS = ("vit", "deit")  # whose sizes may be odd


def model_of(kind: str, seed: int = 0, **fields: Any) -> Any:
    torch.manual_seed(seed)
    name, more = KINDS[kind]
    config, model = getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}Model")
    made: Any = model(config(**SIZES | more | fields, attn_implementation="eager")).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def photo_of(model: Any) -> tuple[int, int]:
    size = model.config.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def written(model: Any, scheme: Scheme = "fp32") -> onnx.ModelProto:
    graph = write_vision(model, photo_of(model), "hidden", scheme)
    assert graph is not None
    return graph


def joined(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    assert join_layers(copy) == []
    return copy


def pixels_of(model: Any, photos: int) -> np.ndarray:
    shape = (photos, getattr(model.config, "num_channels", 3), *photo_of(model))
    return np.random.default_rng(photos).normal(size=shape).astype(np.float32)


def run(graph: onnx.ModelProto, pixel_values: np.ndarray, fused: bool = False, threads: int = 1) -> np.ndarray:
    [found] = session(graph, fused, threads).run(None, {"pixel_values": pixel_values})
    return np.asarray(found)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        *((kind, {}) for kind in KINDS),
        *((kind, ODD) for kind in VITS),
        ("vit", {"num_hidden_layers": 1, "num_channels": 1, "hidden_act": "relu"}),
        ("dinov2", {"qkv_bias": False}),
    ],
)
def test_what_is_written_is_the_model(kind: str, fields: dict[str, Any]) -> None:
    model = model_of(kind, **fields)
    graph = written(model)
    onnx.checker.check_model(graph, full_check=True)
    for photos in (1, 3):
        pixel_values = pixels_of(model, photos)
        with torch.inference_mode():
            expected = model(torch.from_numpy(pixel_values)).last_hidden_state.numpy()
        assert np.abs(expected).max() > 1
        for fused in FUSED:
            found = run(joined(graph), pixel_values, fused)
            np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_one_node_and_gives_the_same_numbers(kind: str, scheme: Scheme) -> None:
    model = model_of(kind, **ODD if kind in VITS else {})
    graph = written(model, scheme)
    one = joined(graph)
    onnx.checker.check_model(one, full_check=True)
    kinds = [node.op_type for node in one.graph.node if node.domain == DOMAIN]
    assert kinds.count(ENCODER_LAYER) == 2
    assert set(kinds) <= {ENCODER_LAYER, "LayerNorm"}
    for fused in FUSED:
        apart = session(graph, fused, 1)
        together = [session(one, fused, threads) for threads in ((1, 2, 5) if fused else (1,))]
        for photos in (1, 3):
            feed = {"pixel_values": pixels_of(model, photos)}
            [expected] = apart.run(None, feed)
            for opened in together:
                np.testing.assert_array_equal(opened.run(None, feed)[0], expected)
    assert [node.op_type for node in split_layers(one).graph.node] == [node.op_type for node in graph.graph.node]


@pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_photo_means_the_same_beside_others(scheme: Scheme) -> None:
    model = model_of("vit", **ODD)
    graph, pixel_values = joined(written(model, scheme)), pixels_of(model, 5)
    together = run(graph, pixel_values, fused=True)
    for number in range(5):
        alone = run(graph, pixel_values[number : number + 1], fused=True)
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5)  # onnxruntime's convolution is of all at once


@pytest.mark.parametrize("scheme", ["fp16", "int8", "int4"])
def test_a_smaller_variant_is_what_is_made_of_floats(scheme: Scheme) -> None:
    model = model_of("deit")
    made, right = recode(written(model), scheme), written(model, scheme)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in right.graph.node]
    pixel_values = pixels_of(model, 2)
    np.testing.assert_array_equal(run(made, pixel_values), run(right, pixel_values))


def test_an_export_writes_what_it_can() -> None:
    model = model_of("vit")
    right = write_vision(model, (32, 32), "encoder_hidden_states", "int8")
    assert export_encoder(model, (32, 32), "int8") == right


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_tracing_gives_the_same_numbers(kind: str) -> None:
    model = model_of(kind)
    traced, pixel_values = traced_encoder(model, (32, 32)), pixels_of(model, 2)
    np.testing.assert_allclose(run(written(model), pixel_values), run(traced, pixel_values), atol=5e-6)
    eights = run(written(model, "int8"), pixel_values)
    np.testing.assert_allclose(eights, run(fuse_linears(traced, "int8"), pixel_values), atol=2e-2)


def without(model: Any, name: str) -> Any:
    setattr(model.encoder.layer[0].output.dense, name, None)
    return model


def with_one_more(model: Any) -> Any:
    model.encoder.layer[1].gate = torch.nn.Linear(2, 2)
    return model


@pytest.mark.parametrize(
    ("model", "photo"),
    [
        (model_of("vit", hidden_act="tanh"), (32, 32)),
        (model_of("vit"), (40, 32)),  # there are no places for more patches
        (without(model_of("deit"), "bias"), (32, 32)),
        (with_one_more(model_of("vit")), (32, 32)),
        (model_of("vit", image_size=(16, 64)), (32, 32)),  # as many patches of another arrangement
        (model_of("dinov2", image_size=(16, 64)), (16, 64)),  # whose positions are interpolated all the same
        (SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=12, depths=[1], num_heads=[2])), (32, 32)),  # type: ignore[no-untyped-call]
        (torch.nn.Linear(3, 3), (8, 8)),
    ],
    ids=["activation", "photo", "missing", "more", "arrangement", "interpolated", "swin", "linear"],
)
def test_what_is_not_as_expected_is_left_to_tracing(model: Any, photo: tuple[int, int]) -> None:
    assert write_vision(model, photo, "hidden") is None
