"""The encoders as ONNX: that of photos, with their labels, and that of hints.

Names of values end in their shapes: B photos, P positions of a photo, L labels, S = L + P, J tokens of a hint, G
everyday words of classes, E width, H heads, D head size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from torch import nn

from fuseline.export.graphs.graph import (
    Graph,
    embedding,
    layer_norm,
    linear,
    model_of,
    new_graph,
    self_attention,
    table,
)
from fuseline.export.graphs.weights import Scheme

from .captioner import FAINT, BridgeLayer, Captioner
from .convolutions_graph import FEATURES, POOLED, array, convolutions, convolutions_in_rows
from .efficientnet import HEAD_CHANNELS

HIDDEN = "encoder_hidden_states"


def photo_encoder(captioner: Captioner, scheme: Scheme) -> onnx.ModelProto:
    """pixel_values float32[B, 3, N, N] -> encoder_hidden_states float32[B, L + P, E]: first the labels."""
    read = convolutions if scheme == "fp32" else convolutions_in_rows
    g, _ = read(captioner.cnn, captioner.shape.image_size)
    x = g.op("Concat", _labels(g, captioner, scheme), _photo(g, captioner, scheme), axis=1)
    norm, shape = captioner.ln_bridge, captioner.shape
    positions = shape.labels + shape.photo_positions
    lengths_B1 = g.op("Expand", g.ints(positions), g.op("Concat", g.op("Shape", x, end=1), g.ints(1), axis=0))
    for index, layer in enumerate(captioner.bridge):
        assert isinstance(layer, BridgeLayer)
        with g.scope(f"layer.{index}"):  # of which a file has one node
            x = _bridge_layer(g, x, layer, lengths_B1, f"bridge.{index}", scheme)
    hidden = layer_norm(g, x, array(norm.weight), array(norm.bias), norm.eps, "ln_bridge")
    g.op("Identity", hidden, name=HIDDEN)
    g.output(HIDDEN, TensorProto.FLOAT, ["B", positions, shape.width])
    return model_of(g)


def _photo(g: Graph, captioner: Captioner, scheme: Scheme) -> str:
    """float32[B, P, E] of the convolutions' features."""
    with g.scope("project"):
        rows = FEATURES
        if scheme == "fp32":
            rows = g.op("Transpose", g.op("Reshape", FEATURES, g.ints(0, HEAD_CHANNELS, -1)), perm=[0, 2, 1])
        weight, bias = array(captioner.project.weight).T, array(captioner.project.bias)
        x_BPE = linear(g, rows, weight, bias, scheme, "project")
        return g.op("Add", x_BPE, g.weight("positions", array(captioner.positions)))


def _labels(g: Graph, captioner: Captioner, scheme: Scheme) -> str:
    """float32[B, L, E]: the likeliest everyday words, with their probabilities.

    The classifier is in 4 bits where the rest is in 8: a class is one of a thousand, and its probability a sum.
    """
    classifier, groups = captioner.cnn.classifier, len(captioner.class_tokens)
    with g.scope("labels"):
        small: Scheme = "int4" if scheme == "int8" else scheme
        logits = linear(g, POOLED, array(classifier.weight).T, array(classifier.bias), small, "classifier")
        clear = g.op("Sub", g.op("Softmax", logits, axis=-1), g.scalar(FAINT, np.float32))
        of_class = g.op("Relu", clear)
        batch = g.op("Shape", of_class, end=1)
        zeros = g.op("Expand", g.scalar(0.0, np.float32), g.op("Concat", batch, g.ints(groups), axis=0))
        index = g.op("Expand", g.ints(*captioner.of_class.tolist()), g.op("Shape", of_class))
        words_BG = g.op("ScatterElements", zeros, index, of_class, axis=1, reduction="add")
        sure_BL, which_BL = g.ops("TopK", words_BG, g.ints(captioner.shape.labels), names=("", ""), axis=-1)
        words = table(g, array(captioner.class_words()), scheme, "class_words")
        return g.op("Add", embedding(g, which_BL, words), _sureness(g, captioner, sure_BL))


def _sureness(g: Graph, captioner: Captioner, sure_BL: str) -> str:
    """float32[B, L] -> float32[B, L, E]; see Captioner.sureness."""
    last = g.ints(-1)
    log = g.op("Log", g.op("Add", sure_BL, g.scalar(1e-4, np.float32)))
    quarter = g.op("Mul", log, g.scalar(0.25, np.float32))
    told_BL2 = g.op("Concat", g.op("Unsqueeze", sure_BL, last), g.op("Unsqueeze", quarter, last), axis=-1)
    weight = g.weight("probability.weight", array(captioner.probability.weight).T)
    return g.op(
        "Add", g.op("MatMul", told_BL2, weight), g.weight("probability.bias", array(captioner.probability.bias))
    )


def hint_encoder(captioner: Captioner, scheme: Scheme) -> onnx.ModelProto:
    """input_ids, attention_mask int64[B, J] -> encoder_hidden_states float32[B, J, E]. Nothing is mixed between tokens,
    so what the mask leaves out needs none."""
    g = new_graph("hint")
    ids_BJ = g.input("input_ids", TensorProto.INT64, ["B", "S"])
    g.input("attention_mask", TensorProto.INT64, ["B", "S"])
    norm = captioner.ln_hint
    words = array(captioner.read_words(captioner.transformer.wte.weight))
    x_BJE = embedding(g, ids_BJ, table(g, words, scheme, "words"))
    positions = g.weight("positions", array(captioner.hint_positions))
    these = g.op("Slice", positions, g.ints(0), g.op("Shape", ids_BJ, start=1), g.ints(0))
    hidden = layer_norm(g, g.op("Add", x_BJE, these), array(norm.weight), array(norm.bias), norm.eps, "ln_hint")
    g.op("Identity", hidden, name=HIDDEN)
    g.output(HIDDEN, TensorProto.FLOAT, ["B", "S", captioner.shape.width])
    return model_of(g)


def _bridge_layer(g: Graph, x: str, layer: BridgeLayer, lengths_B1: str, name: str, scheme: Scheme) -> str:
    """float32[B, S, E] -> the same. lengths_B1: int64[B, 1], positions of each photo; name: of the weights."""

    def project(value: str, module: nn.Linear, part: str, **ending: Any) -> str:
        return linear(g, value, array(module.weight).T, array(module.bias), scheme, f"{name}.{part}", **ending)

    def norm(value: str, module: nn.LayerNorm, part: str) -> str:
        return layer_norm(g, value, array(module.weight), array(module.bias), module.eps, f"{name}.{part}")

    qkv = project(norm(x, layer.ln_1, "ln_1"), layer.attn.c_attn, "attn.c_attn")
    scale = (layer.attn.c_proj.in_features // layer.heads) ** -0.5
    mixed = self_attention(g, qkv, lengths_B1, layer.heads, scale)
    x = project(mixed, layer.attn.c_proj, "attn.c_proj", residual=x)
    inner = project(norm(x, layer.ln_2, "ln_2"), layer.mlp.c_fc, "mlp.c_fc", activation="gelu_tanh")
    return project(inner, layer.mlp.c_proj, "mlp.c_proj", residual=x)
