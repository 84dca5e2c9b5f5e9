"""Moonshine out of its package: onnxruntime's format, weights by the nodes that read them, the list of tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
from onnx import TensorProto, helper, numpy_helper

from fuseline.errors import ExportError
from fuseline.export.moonshine.ort_format import read_ort
from fuseline.export.moonshine.tokens import read_tokens, tokenizer_json
from fuseline.export.moonshine.weights import read_weights

PIECES = ["er", "▁t", "he", "▁the", "en", "▁then", "e", "r", "▁", "t", "h", "n", "<<ST_0>>"]


def list_of(path: Path, pieces: list[str]) -> Path:
    items = [b"<unk>", b"<s>", b"</s>", *(bytes([each]) for each in range(256)), *(each.encode() for each in pieces)]
    parts = []
    for item in items:
        size = len(item)
        parts.append(bytes([size]) if size < 128 else bytes([128 + size % 128, size // 128]))
        parts.append(item)
    path.write_bytes(b"".join(parts))
    return path


def test_the_list_of_tokens(tmp_path: Path) -> None:
    long = "long" * 80
    tokens = read_tokens(list_of(tmp_path / "tokenizer.bin", [*PIECES, long]))
    assert tokens[:4] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert tokens[258:] == ["<0xFF>", *PIECES, long]


def test_texts_are_llamas(tmp_path: Path) -> None:
    tokens = read_tokens(list_of(tmp_path / "tokenizer.bin", PIECES))
    made = tokenizers.Tokenizer.from_str(tokenizer_json(tokens))
    assert made.encode("then the", add_special_tokens=False).tokens == ["▁then", "▁the"]
    assert made.encode("the").tokens == ["<s>", "▁the"]
    assert made.decode(made.encode("then é the").ids) == "then é the"
    assert made.encode("é", add_special_tokens=False).tokens == ["▁", "<0xC3>", "<0xA9>"]
    assert made.decode([tokens.index("<<ST_0>>"), tokens.index("▁the")]) == "the"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content[:-1], "it is cut short"),
        (lambda content: content[1:], "is no list of tokens"),
        (lambda content: content + b"\x01e", "it has a token twice"),
        (lambda content: content + b"\x02\xff\xfe", "is no list of tokens"),
        (lambda content: content + b"\x85", "is no list of tokens"),
    ],
)
def test_damaged_lists(change: object, sentence: str, tmp_path: Path) -> None:
    path = list_of(tmp_path / "tokenizer.bin", PIECES)
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ExportError, match=sentence):
        read_tokens(path)


def ort_of(model: onnx.ModelProto, path: Path) -> Path:
    """The model as onnxruntime writes it in its own format."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    return path


def codes_of(name: str, weight_IO: np.ndarray) -> list[onnx.TensorProto]:
    """A matrix in 8 bits with one scale, as onnxruntime's quantizer names them."""
    low, high = min(weight_IO.min(), 0), max(weight_IO.max(), 0)
    scale = np.float32((high - low) / 255)
    zero = np.uint8(np.rint(-low / scale))
    codes = np.clip(np.rint(weight_IO / scale) + zero, 0, 255).astype(np.uint8)
    named = {f"{name}_quantized": codes, f"{name}_scale": np.array(scale), f"{name}_zero_point": np.array(zero)}
    return [numpy_helper.from_array(array, each) for each, array in named.items()]


def product(place: str, matrix: str) -> onnx.NodeProto:
    inputs = ["x_codes", f"{matrix}_quantized", "x_zero", f"{matrix}_zero_point"]
    return helper.make_node("MatMulInteger", inputs, [f"{place}/out"], name=f"{place}/MatMul_quant")


def part(path: Path, weights: dict[str, np.ndarray], more: list[onnx.TensorProto], products: dict[str, str]) -> Path:
    """A graph that multiplies by matrices of 8 bits, in a branch of an If, with weights that have kept their names."""
    kept = [*weights, *(each.name for each in more)]  # onnxruntime leaves out what no node reads
    used = [helper.make_node("Identity", [name], [f"{name}/used"]) for name in kept]
    inner = [product(place, matrix) for place, matrix in products.items()]
    branch_outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.INT32, None) for node in inner[:1]]
    branches = {f"{name}_branch": helper.make_graph(inner, name, [], branch_outputs) for name in ("then", "else")}
    kinds = {each.name: each.data_type for each in more}
    outputs = [helper.make_tensor_value_info(f"{name}/used", kinds.get(name, TensorProto.FLOAT), None) for name in kept]
    graph = helper.make_graph(
        [helper.make_node("If", ["which"], ["chosen"], **branches), *used],
        "part",
        [
            helper.make_tensor_value_info("which", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_codes", TensorProto.UINT8, ["T", 6]),
            helper.make_tensor_value_info("x_zero", TensorProto.UINT8, []),
        ],
        [helper.make_tensor_value_info("chosen", TensorProto.INT32, None), *outputs],
        [*(numpy_helper.from_array(array, name) for name, array in weights.items()), *more],
    )
    opset = [helper.make_opsetid("", 17)]
    return ort_of(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def test_weights_are_found_by_the_nodes_that_read_them(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    q, fc1, head = (chance.standard_normal(shape).astype(np.float32) for shape in ((6, 6), (6, 8), (6, 11)))
    bias, table = chance.standard_normal(8).astype(np.float32), np.ascontiguousarray(head.T)
    encoder = part(
        tmp_path / "encoder.ort",
        {"layers.0.mlp.fc1.bias": bias},
        [*codes_of("onnx::MatMul_1", q), *codes_of("onnx::MatMul_2", fc1)],
        {"/layers.0/self_attn/q_proj": "onnx::MatMul_1", "/layers.0/mlp/fc1": "onnx::MatMul_2"},
    )
    decoder = part(
        tmp_path / "decoder.ort",
        {"model.decoder.norm.weight": bias},
        [*codes_of("model.decoder.embed_tokens.weight", table), *codes_of("onnx::MatMul_9", head)],
        {"/proj_out": "onnx::MatMul_9"},
    )
    found = read_weights(encoder, decoder)
    expected = {
        "model.encoder.layers.0.self_attn.q_proj.weight": q.T,
        "model.encoder.layers.0.mlp.fc1.weight": fc1.T,
        "model.encoder.layers.0.mlp.fc1.bias": bias,
        "model.decoder.norm.weight": bias,
        "model.decoder.embed_tokens.weight": table,
        "proj_out.weight": table,
    }
    assert found.keys() == expected.keys()
    for name, exact in expected.items():
        step = (exact.max() - exact.min()) / 255 if name.endswith(("proj.weight", "fc1.weight", "tokens.weight")) else 0
        assert np.abs(found[name] - exact).max() <= (step or 0.03) * 0.75, name
    assert np.array_equal(found["proj_out.weight"], found["model.decoder.embed_tokens.weight"])


def test_files_of_onnxruntime_that_are_damaged(tmp_path: Path) -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Add", ["x", "w.weight"], ["y"], name="add")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [200])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [200])],
            [numpy_helper.from_array(np.arange(200, dtype=np.float32), "w.weight")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    whole = ort_of(model, tmp_path / "a.ort")
    graph = read_ort(whole)
    assert [(node.name, node.op_type, list(node.inputs)) for node in graph.nodes] == [("add", "Add", ["x", "w.weight"])]
    assert np.array_equal(graph.weights["w.weight"], np.arange(200, dtype=np.float32))
    content = whole.read_bytes()
    for end in range(8, len(content), max(1, len(content) // 60)):
        (tmp_path / "cut.ort").write_bytes(content[:end])
        try:
            read_ort(tmp_path / "cut.ort")
        except ExportError as error:
            assert "is damaged" in str(error)
    (tmp_path / "none.ort").write_bytes(b"no model")
    with pytest.raises(ExportError, match="is no model in onnxruntime's format"):
        read_ort(tmp_path / "none.ort")
