"""Decoder layers as one node each: the same numbers as their operators one by one, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.helper import get_attribute_value

from fuseline.export.adapters.bart import Bart
from fuseline.export.adapters.bert import Bert
from fuseline.export.adapters.gpt2 import Gpt2
from fuseline.export.graphs.graph import keeps_halves
from fuseline.export.graphs.weights import Scheme
from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, add_bodies
from fuseline.kernels.layers import DECODER_LAYER, MOST_STEPS, join_layers, split_layers

Array = np.ndarray[Any, Any]
SCHEMES: tuple[Scheme, ...] = ("fp32", "fp16", "int8", "int4")
LAYERS, HEADS, WIDTH, VOCAB, PHOTOS, BEAMS, CAPACITY = 3, 4, 132, 301, 2, 3, 9
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "n_positions": 20, "add_cross_attention": True},
    "bert": {
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "hidden_size": WIDTH, "intermediate_size": 280,
        "max_position_embeddings": 20, "is_decoder": True, "add_cross_attention": True,
    },
    "bart": {
        "decoder_layers": LAYERS, "decoder_attention_heads": HEADS, "d_model": WIDTH, "decoder_ffn_dim": 280,
        "max_position_embeddings": 20,
    },
}  # fmt: skip
ADAPTERS: dict[str, Any] = {"gpt2": Gpt2, "bert": Bert, "bart": Bart}
needs_kernels = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")


@cache
def serialized(name: str, scheme: Scheme, **changes: Any) -> bytes:
    config = SIZES[name] | {"vocab_size": VOCAB} | changes
    adapter = ADAPTERS[name](config)
    wanted, random = adapter.tensors(), np.random.default_rng(0)
    wanted.others[f"{adapter.tokens}.weight"] = (VOCAB, WIDTH)
    state = {}
    for linear, (inputs, outputs) in wanted.linears.items():
        shape = (outputs, inputs) if adapter.out_in else (inputs, outputs)
        state[f"{linear}.weight"] = random.normal(0, 0.2, shape).astype(np.float32)
        state[f"{linear}.bias"] = random.normal(0, 0.2, outputs).astype(np.float32)
    for norm, width in wanted.norms.items():
        state[f"{norm}.weight"], state[f"{norm}.bias"] = random.normal(1, 0.2, (2, width)).astype(np.float32)
    for other, dims in wanted.others.items():
        state[other] = random.normal(0, 1, dims).astype(np.float32)
    built: bytes = ADAPTERS[name].build_decoder(state, config, scheme).SerializeToString()
    return built


def decoder(name: str, scheme: Scheme, **changes: Any) -> onnx.ModelProto:
    return onnx.load_from_string(serialized(name, scheme, **changes))


def joined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with all its layers joined."""
    assert join_layers(model) == []
    return model


def session(model: onnx.ModelProto, fused: bool, threads: int = 2) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    if fused:
        options.register_custom_ops_library(str(library_info().path))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds(scheme: Scheme, tokens: int, position: int) -> dict[str, Array]:
    random, rows = np.random.default_rng(position), PHOTOS * BEAMS
    feed: dict[str, Array] = {
        "input_ids": random.integers(3, VOCAB, (rows, tokens)),
        "position": np.array([position]),
        "beam_table": random.integers(0, rows, (rows, CAPACITY)),
    }
    feed["beam_table"][:, position:] = np.arange(rows)[:, None]
    for layer in range(LAYERS):
        for part in ("key", "value"):
            past = random.normal(size=(CAPACITY, rows, WIDTH)).astype(np.float32)
            photo = random.normal(size=(PHOTOS, 11, WIDTH)).astype(np.float32)
            if keeps_halves(scheme):
                photo = photo.reshape(PHOTOS, 11, HEADS, -1).transpose(0, 2, 1, 3).astype(np.float16)
            feed[f"past_key_values.{layer}.decoder.{part}"] = past
            feed[f"past_key_values.{layer}.encoder.{part}"] = photo
    return feed


def assert_same(one: list[Array], other: list[Array]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.domain == DOMAIN]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ADAPTERS)
def test_joined_layers_give_the_same_numbers(name: str, scheme: Scheme) -> None:
    model = decoder(name, scheme)
    one = joined(decoder(name, scheme))
    onnx.checker.check_model(one)
    assert kinds(one).count(DECODER_LAYER) == LAYERS
    assert not {"CachedSelfAttention", "CrossAttention", "HalfCrossAttention"} & set(kinds(one))
    for fused in (True, False) if library_info().path else (False,):
        for threads in (1, 2, 5) if fused else (2,):
            sessions = [session(each, fused, threads) for each in (model, one)]
            for tokens, position in ((1, 4), (3, 0), (4, 5)):
                feed = feeds(scheme, tokens, position)
                assert_same(*(each.run(None, feed) for each in sessions))


@pytest.mark.parametrize("name", ADAPTERS)
def test_splitting_undoes_joining(name: str) -> None:
    model = decoder(name, "int8")
    split = split_layers(joined(decoder(name, "int8")))
    assert kinds(split) == kinds(model)
    assert [f.name for f in split.functions] == [f.name for f in model.functions]
    for one, other in zip(model.graph.node, split.graph.node, strict=True):
        assert sorted(map(str, one.attribute)) == sorted(map(str, other.attribute))
    feed = feeds("int8", 1, 4)
    assert_same(session(model, False).run(None, feed), session(split, False).run(None, feed))
    again = joined(split)
    assert again.SerializeToString(deterministic=True) == joined(model).SerializeToString(deterministic=True)


def test_a_graph_without_layers_stays_as_it_is() -> None:
    model = decoder("gpt2", "fp32")
    before = joined(model).SerializeToString(deterministic=True)
    assert joined(model).SerializeToString(deterministic=True) == before
    split = split_layers(model).SerializeToString(deterministic=True)
    assert split_layers(model).SerializeToString(deterministic=True) == split


def test_attention_that_is_scaled_by_layer() -> None:
    model = joined(decoder("gpt2", "int8", scale_attn_by_inverse_layer_idx=True))
    layers = [node for node in model.graph.node if node.op_type == DECODER_LAYER]
    scales = [get_attribute_value(each) for node in layers for each in node.attribute if each.name == "scale"]
    assert scales == pytest.approx([(WIDTH / HEADS) ** -0.5 / (layer + 1) for layer in range(LAYERS)])
    feed = feeds("int8", 1, 4)
    alone = session(decoder("gpt2", "int8", scale_attn_by_inverse_layer_idx=True), False)
    assert_same(session(model, False).run(None, feed), alone.run(None, feed))


def change_layer(model: onnx.ModelProto, change: str) -> None:
    """Make layer.1 one that cannot be joined."""
    own = {node.op_type: node for node in reversed(model.graph.node) if node.name.startswith("layer.1/")}
    if change == "epsilon":  # of one of its norms
        own["LayerNorm"].attribute[0].f = 0.25
    elif change == "scale":
        next(each for each in own["CrossAttention"].attribute if each.name == "scale").f = 0.25
    elif change == "activation":
        own["FloatLinearGeluTanh"].op_type = "FloatLinearRelu"
        add_bodies(model)
    elif change == "attribute":
        own["FloatLinearGeluTanh"].attribute.append(helper.make_attribute("alpha", 1.0))
    else:  # a node before its cross-attention, of the layer or of nobody
        at = list(model.graph.node).index(own["CrossAttention"])
        name = "layer.1/stranger" if change == "stranger" else "stranger"
        node = helper.make_node("Identity", [own["CrossAttention"].input[0]], ["stranger"], name=name)
        own["CrossAttention"].input[0] = "stranger"
        model.graph.node.insert(at, node)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("epsilon", "has operators that differ in epsilon, which a layer has once"),
        ("scale", "has operators that differ in scale, which a layer has once"),
        ("activation", "has not the operators of layer.0, whose body all share"),
        ("attribute", "has FloatLinearGeluTanh, whose attribute alpha a layer does not have"),
        ("stranger", "has Identity among its operators, which is none of the domain fuseline"),
        ("neighbour", "is read by stranger before its last operator"),
    ],
)
def test_a_layer_that_cannot_be_joined_stays_and_is_named(change: str, reason: str) -> None:
    model, right = decoder("gpt2", "fp32"), decoder("gpt2", "fp32")
    change_layer(model, change)
    change_layer(right, change)
    assert [str(each) for each in join_layers(model)] == [f"layer.1 {reason}"]
    assert kinds(model).count(DECODER_LAYER) == LAYERS - 1
    if change != "attribute":  # which onnxruntime does not take
        feed = feeds("fp32", 1, 4)
        assert_same(session(model, False).run(None, feed), session(right, False).run(None, feed))


def test_a_layer_that_is_too_large() -> None:
    model = decoder("gpt2", "fp32")
    last = next(node for node in model.graph.node if node.name == "layer.2/FloatLinearAdd_2")
    place = list(model.graph.node).index(last)
    for number in range(MOST_STEPS):
        name = f"layer.2/more_{number}"
        node = helper.make_node("LayerNorm", list(last.input[:3]), [name], name=name, domain=DOMAIN, epsilon=1e-5)
        model.graph.node.insert(place, node)
    [apart] = join_layers(model)
    assert apart.layer == "layer.2"
    assert apart.reason.startswith("is larger than 64 operators")


def test_layers_are_known_by_their_names() -> None:
    model = decoder("gpt2", "fp32")
    for node in model.graph.node:
        node.name = node.name.replace("layer.", "block.")
    before = model.SerializeToString(deterministic=True)
    assert join_layers(model) == []
    assert model.SerializeToString(deterministic=True) == before


@needs_kernels
def test_runs_beside_each_other_do_not_disturb_each_other() -> None:
    together = session(joined(decoder("gpt2", "int8")), True, threads=3)
    alone = session(decoder("gpt2", "int8"), True, threads=1)
    cases = [feeds("int8", 1, position) for position in range(8)]
    expected = [alone.run(None, feed) for feed in cases]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(
            pool.map(lambda feed: together.run(None, feed), cases * 10), expected * 10, strict=True
        ):
            assert_same(found, right)


# x [2, 8], scale and bias of a norm, weight [1, 8, 16] and bias [5] of a linear layer.
ALL: dict[str, Array] = {
    "x": np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32),
    "scale": np.ones(8, np.float32), "shift": np.zeros(8, np.float32),
    "weight": np.ones((1, 8, 16), np.float32), "bias": np.arange(5, dtype=np.float32),
}  # fmt: skip
GOOD = "LayerNorm 0 1 2 > 6;FloatLinear 6 3 4 > 5"


def run(steps: Any, feed: dict[str, Array] = ALL, constants: tuple[str, ...] = (), **attributes: Any) -> list[Array]:
    """One layer with one output."""
    node = helper.make_node(DECODER_LAYER, list(feed), ["y"], name="layer.7", domain=DOMAIN, **attributes)
    if steps is not None:
        node.attribute.append(helper.make_attribute("steps", steps))
    graph = onnx.GraphProto(name="bad", node=[node])
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    for name, array in feed.items():
        if name in constants:
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        else:
            dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(helper.make_tensor_value_info(name, dtype, [None] * array.ndim))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    made = session(helper.make_model(graph, opset_imports=opsets, ir_version=9), True)
    results: list[Array] = made.run(None, {name: array for name, array in feed.items() if name not in constants})
    return results


@needs_kernels
@pytest.mark.parametrize("constants", [(), ("weight",), ("scale", "shift", "weight", "bias")])
def test_a_good_layer_runs(constants: tuple[str, ...]) -> None:
    [y] = run(GOOD, constants=constants, epsilon=1e-5)
    x = ALL["x"].astype(np.float64)
    normed = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, normed.sum(1, keepdims=True) + np.arange(5), atol=1e-5)


WORDS = "steps must name operators with the values they read and make"
ORDER = "steps must make each value once, outputs too, and before it is read"
TYPE = "step [12], FloatLinear: an input has another type than it must have"


@needs_kernels
@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (None, "steps must be a text"),
        (3, "steps must be a text"),
        ("", ORDER),
        (";;;", ORDER),
        ("Linear 0 1 2 > 5", WORDS),
        ("DecoderLayer 0 > 5", WORDS),
        ("EncoderLayer 0 > 5", WORDS),
        ("LayerNorm", WORDS),
        ("LayerNorm 0 1 2", WORDS),
        ("LayerNorm 0 1 2 >", WORDS),
        ("LayerNorm 0 1 > 5", WORDS),
        ("LayerNorm 0 1 2 3 > 5", WORDS),
        ("LayerNorm 0 1 2 > 5 6", WORDS),
        ("LayerNorm 0 1 -2 > 5", WORDS),
        ("LayerNorm 0 1 0x2 > 5", WORDS),
        ("LayerNorm 0 1 128 > 5", WORDS),
        ("LayerNorm 0 1 99999999999 > 5", WORDS),
        ("LayerNorm 0 1 2 > 127;FloatLinear 127 3 4 > 128", WORDS),
        ("LayerNorm 0 1 2 > 6", ORDER),  # no output
        ("LayerNorm 6 1 2 > 5", ORDER),
        ("LayerNorm 5 1 2 > 5", ORDER),
        ("LayerNorm 0 1 2 > 0", ORDER),
        ("LayerNorm 0 1 2 > 5;LayerNorm 0 1 2 > 5", ORDER),
        (GOOD + ";" * 70, "steps must be at most 64"),
        (GOOD + " " * 5000, "steps must be a text of at most 4095 characters"),
        ("FloatLinear 0 1 4 > 5", "step 1, FloatLinear: weights, scales and bias do not fit x"),
        ("LayerNorm 0 1 2 > 6;FloatLinear 6 1 4 > 5", "step 2, FloatLinear: weights, scales and bias"),
    ],
)
def test_steps_that_are_none(steps: Any, reason: str) -> None:
    with pytest.raises(Exception, match=f"the node layer.7.*{reason}"):
        run(steps, epsilon=1e-5)


@needs_kernels
@pytest.mark.parametrize("constants", [(), ("weight",)])
@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.float64])
def test_inputs_of_another_type(dtype: type, constants: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match=f"the node layer.7, {TYPE}"):
        run(GOOD, ALL | {"weight": ALL["weight"].astype(dtype)}, constants, epsilon=1e-5)


@needs_kernels
def test_attributes_of_steps() -> None:
    with pytest.raises(Exception, match="the node layer.7, step 1, LayerNorm: epsilon must not be negative"):
        run(GOOD, epsilon=-1.0)
    with pytest.raises(Exception, match="the attribute epsilon is missing"):
        run(GOOD)


@needs_kernels
def test_random_steps_never_crash() -> None:
    random = np.random.default_rng(0)
    words = ["LayerNorm", "FloatLinear", "FloatLinearAdd", "CrossAttention", ">", ";", *map(str, range(9))]
    ran = 0
    for _ in range(300):
        steps = GOOD.replace(";", " ; ").split()
        for _ in range(random.integers(1, 4)):
            steps[random.integers(len(steps))] = str(random.choice(words))
        try:
            run(" ".join(steps), epsilon=1e-5, heads=2, scale=1.0)
            ran += 1
        except Exception as error:
            assert "the node layer.7" in str(error) or "heads" in str(error), error
    assert 0 < ran < 300
