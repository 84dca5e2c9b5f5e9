"""What is read of an ONNX file before it is opened: the same as the onnx package finds, however it is written."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, inliner, numpy_helper

from fuseline.errors import FolderError
from fuseline.files.graph_file import MOST_CALLS, MOST_NESTED, GraphFacts, check
from fuseline.folders.open import open_folder
from tests import graph_damage, tiny
from tests.graph_damage import function, graph, outside, scrambled, tagged, varint

NEG = helper.make_node("Neg", ["x"], ["y"])
SHIPPED = sorted(open_folder().path.glob("onnx/*.onnx"))


def facts(model: onnx.ModelProto | bytes) -> GraphFacts:
    return check(model if isinstance(model, bytes) else model.SerializeToString(), "x.onnx")


def refused(model: onnx.ModelProto | bytes) -> str:
    with pytest.raises(FolderError) as caught:
        facts(model)
    assert str(caught.value).startswith("x.onnx ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def messages(message: Message, name: str) -> Iterator[Any]:
    """All messages of a type within another, by protobuf's own description of both."""
    if message.DESCRIPTOR.name == name:
        yield message
    for _, value in message.ListFields():
        for each in value if not isinstance(value, Message | bytes | str | int | float) else [value]:
            if isinstance(each, Message):
                yield from messages(each, name)


def operators(model: onnx.ModelProto) -> Counter[tuple[str, str]]:
    return Counter((node.domain, node.op_type) for node in messages(model, "NodeProto"))


def locations(model: onnx.ModelProto) -> set[str]:
    tensors = messages(model, "TensorProto")
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_of_the_graphs_that_ship_all_is_read(path: Path) -> None:
    model = onnx.load(path)
    found = facts(path.read_bytes())
    assert found.operators == operators(model)
    assert found.locations == ()
    held = sum(len(tensor.raw_data) for tensor in messages(model, "TensorProto"))
    assert held <= found.inside < held + 1000  # a few small tensors are written as numbers
    assert len(found.functions) == len(model.functions)


def test_nodes_are_counted_as_the_onnx_package_inlines_them() -> None:
    model = onnx.load(SHIPPED[0])
    inlined = inliner.inline_local_functions(model)
    assert facts(model).nodes == len(list(messages(inlined, "NodeProto")))


names = st.sampled_from(["w", "model.onnx_data", "a b", "größe", "犬", "x" * 127, "x" * 128, "y" * 300])
tensors = st.builds(
    lambda name, dims, far, offset: (
        outside(name, dims=tuple(dims), offset=offset)
        if far
        else numpy_helper.from_array(np.ones(dims, np.float32), "w")
    ),
    names,
    st.lists(st.integers(0, 4), max_size=3),
    st.booleans(),
    st.integers(0, 10**12),
)


@st.composite
def nodes(draw: st.DrawFn, depth: int = 3) -> onnx.NodeProto:
    """A node with attributes of every kind, graphs among them. No such operator could run; here it is only read."""
    node = onnx.NodeProto(
        op_type=draw(st.sampled_from(["If", "Constant", "Add", "x" * 200])), input=["a", ""], output=["b"]
    )
    node.domain = draw(st.sampled_from(["", "com.microsoft", "fuseline"]))
    node.attribute.add(name="t", type=onnx.AttributeProto.TENSOR, t=draw(tensors))
    node.attribute.add(name="ts", type=onnx.AttributeProto.TENSORS, tensors=draw(st.lists(tensors, max_size=2)))
    node.attribute.add(name="n", type=onnx.AttributeProto.INTS, ints=draw(st.lists(st.integers(-9, 2**40), max_size=4)))
    node.attribute.add(name="f", type=onnx.AttributeProto.FLOAT, f=1.5)
    if depth and draw(st.booleans()):
        node.attribute.add(name="g", type=onnx.AttributeProto.GRAPH, g=draw(graphs(depth - 1)))
        within = draw(st.lists(graphs(depth - 1), max_size=2))
        node.attribute.add(name="gs", type=onnx.AttributeProto.GRAPHS, graphs=within)
    return node


@st.composite
def graphs(draw: st.DrawFn, depth: int = 3) -> onnx.GraphProto:
    return onnx.GraphProto(
        name="g",
        node=draw(st.lists(nodes(depth), max_size=3)),
        initializer=draw(st.lists(tensors, max_size=2)),
        value_info=[helper.make_tensor_value_info("v", TensorProto.FLOAT, ["B", 3])],
    )


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=9, graph=draw(graphs()), producer_name="p" * draw(st.integers(0, 300)))
    for index in range(draw(st.integers(0, 2))):
        model.functions.add(name=f"f{index}", domain="local", node=draw(st.lists(nodes(1), max_size=2)))
    for part in ("initialization", "algorithm"):
        if draw(st.booleans()):
            model.training_info.add(**{part: draw(graphs(1))})
    return model


@settings(max_examples=20, deadline=None)
@given(models(), st.integers(0, 2**32))
def test_however_it_is_written_the_same_is_read(model: onnx.ModelProto, seed: int) -> None:
    """In any order, with unknown fields between, numbers longer than needed, messages in pieces."""
    content = scrambled(random.Random(seed), model)
    try:
        onnx.ModelProto.FromString(content)
    except DecodeError:  # what protobuf itself does not take is the business of the tests of refusals
        assume(False)
    assert onnx.ModelProto.FromString(content) == model or _without_unknown(content) == model
    found, plain = facts(content), facts(model)
    assert found.operators == plain.operators == operators(model)
    assert set(found.locations) == set(plain.locations) == locations(model)
    assert found.nodes == sum(operators(model).values()) - sum(sum(operators(f).values()) for f in model.functions)
    held = {(e.location, e.offset, e.length) for e in found.external}
    assert held == {(e.location, e.offset, e.length) for e in plain.external}


def _without_unknown(content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(content)
    model.DiscardUnknownFields()
    return model


def _places(kind: Any, depth: int = 7, seen: tuple[str, ...] = ()) -> Iterator[list[Any]]:
    """Every way from a message to a tensor, as fields."""
    for each in kind.fields:
        if each.message_type is None or seen.count(each.message_type.name) > 1 or not depth:
            continue
        if each.message_type.name == "TensorProto":
            yield [each]
        for rest in _places(each.message_type, depth - 1, (*seen, each.message_type.name)):
            yield [each, *rest]


PLACES = list(_places(onnx.ModelProto.DESCRIPTOR))


def test_wherever_onnx_allows_a_tensor_its_file_is_found() -> None:
    assert len(PLACES) > 20
    for place in PLACES:
        content = outside("hidden.bin").SerializeToString()
        for each in reversed(place):
            content = tagged(each.number, content)
        model = graph(NEG).SerializeToString() + content
        assert locations(onnx.ModelProto.FromString(model)) == {"hidden.bin"}
        try:
            found = facts(model).locations
        except FolderError as error:
            assert "sparse tensors" in str(error)
        else:
            assert found == ("hidden.bin",), [each.name for each in place]


def entry(*fields: tuple[int, bytes]) -> bytes:
    """An initializer w, float32[1], whose place is given by these fields of a StringStringEntryProto."""
    tensor = b"\x08\x01\x10\x01\x70\x01" + tagged(8, b"w") + tagged(13, b"".join(tagged(*each) for each in fields))
    return graph(NEG).SerializeToString() + tagged(7, tagged(5, tensor))


@pytest.mark.parametrize(
    "fields",
    [
        [(1, b"location"), (2, b"far")],
        [(2, b"far"), (1, b"location")],
        [(1, b"location"), (99, b"between"), (2, b"far")],
        [(1, b"x"), (1, b"location"), (2, b"near"), (2, b"far")],
        [(2, b"far"), (1, b"location"), (2, b"near")],
    ],
)
def test_a_location_is_found_in_any_order(fields: list[tuple[int, bytes]]) -> None:
    assert "far" in facts(entry(*fields)).locations


def test_a_long_location_is_found() -> None:
    assert facts(graph(NEG, initializer=[outside("d/" * 200 + "w")])).locations == ("d/" * 200 + "w",)


def nested(depth: int) -> onnx.ModelProto:
    node = NEG
    for _ in range(depth):
        node = helper.make_node("If", ["x"], ["y"], then_branch=helper.make_graph([node], "g", [], []))
    return graph(node)


def chain(depth: int) -> onnx.ModelProto:
    calls = [helper.make_node(f"f{index + 1}", ["a"], ["b"], domain="local") for index in range(depth - 1)]
    calls.append(helper.make_node("Neg", ["a"], ["b"]))
    functions = [function(f"f{index}", call) for index, call in enumerate(calls)]
    return graph(helper.make_node("f0", ["x"], ["y"], domain="local"), functions=functions)


def with_metadata(key: str) -> onnx.ModelProto:
    model = graph(NEG)
    model.metadata_props.add(key=key, value="{}")
    return model


def in_function(operator: str) -> onnx.ModelProto:
    return graph(
        helper.make_node("f", ["x"], ["y"], domain="local"),
        functions=[function("f", helper.make_node(operator, ["a"], ["b"]))],
    )


def in_branch(operator: str) -> onnx.ModelProto:
    branch = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [], [])
    return graph(helper.make_node("If", ["x"], ["y"], then_branch=branch))


SPARSE = onnx.SparseTensorProto(
    values=numpy_helper.from_array(np.ones(1, np.float32), "s"),
    indices=numpy_helper.from_array(np.ones(1, np.int64), "i"),
    dims=[10**12],
)
SELF = function("f", helper.make_node("f", ["a"], ["b"], domain="local"))
REFUSED: dict[str, tuple[onnx.ModelProto | bytes, str]] = {
    "empty": (b"", "has 0 bytes"),
    "text": (b"no graph at all", "is not a graph that can be opened: it has"),
    "no graph": (varint(1 << 3) + varint(9), "holds no graph"),
    "onnxruntime's format": (b"\x14\0\0\0ORTM" + bytes(100), "is in onnxruntime's own format and must be ONNX"),
    "cut": (graph(NEG).SerializeToString()[:-3], "ends at byte"),
    "a group": (graph(NEG).SerializeToString() + b"\x9b\x06", "has a group, which ONNX does not have"),
    "field 0": (graph(NEG).SerializeToString() + b"\x02\x00", "field of number 0"),
    "a number for a graph": (b"\x38\x01", "has a number in the place of field 7"),
    "an endless number": (b"\x08" + b"\xff" * 11, "more than 64 bits"),
    "many fields": (graph(NEG).SerializeToString() + b"\x08\x00" * 2_100_000, "has more than 2000000 fields"),
    "nested": (nested(MOST_NESTED + 1), "has graphs nested deeper than"),
    "calls": (chain(MOST_CALLS + 1), "has functions that call functions more than"),
    "long calls": (chain(3000), "has functions that call functions more than"),
    "doubling": (graph_damage.doubling(MOST_CALLS), ""),
    "calls itself": (graph(NEG, functions=[SELF]), ""),
    "calls itself, called": (
        graph(helper.make_node("f", ["x"], ["y"], domain="local"), functions=[SELF]),
        "has a function f that calls itself",
    ),
    **{
        f"{operator} {where.__name__}": (where(operator), f"has the operator {operator}, which repeats a graph")
        for operator in ("Loop", "Scan", "SequenceMap", "BeamSearch")
        for where in (in_function, in_branch)
    },
    **{
        f"{operator} {where.__name__}": (where(operator), f"has the operator {operator}, which works on texts")
        for operator in ("StringConcat", "RegexFullMatch")
        for where in (in_function, in_branch)
    },
    "another program": (graph(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")), "EPContext"),
    "another domain": (
        graph(helper.make_node("Run", ["x"], ["y"], domain="ai.other")),
        "Run of ai.other, which is not",
    ),
    "settings": (with_metadata("ort_config"), "has settings of onnxruntime's in its metadata"),
    "memory": (graph(NEG, initializer=[outside("*/_ORT_MEM_ADDR_/*", offset=4096)]), "an address in its memory"),
    "odd offset": (graph(NEG, initializer=[outside("w", offset="-1")]), "has -1 for the place of a tensor"),
    "long offset": (graph(NEG, initializer=[outside("w", offset="9" * 400)]), "is no whole number"),
    "other length": (
        graph(NEG, initializer=[outside("w", dims=(4,), length=17)]),
        "a tensor of 16 bytes of which another file holds 17",
    ),
    "location no text": (entry((1, b"location"), (2, b"\xff")), "which is not UTF-8"),
    "sparse": (graph(NEG, sparse_initializer=[SPARSE]), "has sparse tensors"),
    "huge": (
        graph(NEG, initializer=[TensorProto(name="w", data_type=1, dims=[10**12], raw_data=b"1234")]),
        "in 4 bytes",
    ),
    "negative": (graph(NEG, initializer=[TensorProto(name="w", data_type=1, dims=[-1])]), "of a negative size"),
    "dimensions": (graph(NEG, initializer=[TensorProto(name="w", data_type=1, dims=[1] * 65)]), "too many dimensions"),
}
for harmless in ("doubling", "calls itself"):  # what is not called is not put in; 2 ** 8 nodes are few
    del REFUSED[harmless]


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_graph_should_not_hold_is_refused_in_a_sentence(name: str) -> None:
    model, expected = REFUSED[name]
    began = time.monotonic()
    assert expected in refused(model)
    assert time.monotonic() - began < 10


def test_few_calls_that_are_many_nodes_are_refused() -> None:
    calls = [helper.make_node("f1", ["a"], ["b"], domain="local") for _ in range(200)]
    leaves = [helper.make_node("Neg", ["a"], ["b"]) for _ in range(200)]
    top = helper.make_node("f0", ["x"], ["y"], domain="local")
    assert facts(graph(top, functions=[function("f0", *calls[:100]), function("f1", *leaves)])).nodes == 20_000
    assert "has 40000 nodes with its functions in their places" in refused(
        graph(top, functions=[function("f0", *calls), function("f1", *leaves)])
    )


def test_operators_that_are_many_nodes_to_onnxruntime_count_as_many() -> None:
    node = helper.make_node("GroupNormalization", ["x", "x", "x"], ["y"], num_groups=1)
    assert facts(graph(*[node] * 100)).nodes == 4000
    assert "has 40000 nodes" in refused(graph(*[node] * 1000))


def test_no_file_is_missed_in_damaged_bytes() -> None:
    """Whatever protobuf makes of them: a file that is named then is found here, or the graph is refused."""
    chance, taken = random.Random(0), 0
    content = graph(NEG, initializer=[outside("w")]).SerializeToString()
    for _ in range(3000):
        changed = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        try:
            found = facts(bytes(changed))
        except FolderError:
            continue
        try:
            model = onnx.ModelProto.FromString(bytes(changed))
        except DecodeError:  # in a message that is not walked here, since it names no files
            continue
        assert locations(model) <= set(found.locations)
        taken += 1
    assert taken > 300


@pytest.mark.parametrize("name", [name for name, _ in graph_damage.bombs()])
def test_constants_that_grow_are_not_computed_while_a_graph_is_loaded(name: str) -> None:
    """With the limit that is given for it, onnxruntime loads each at once and in little memory."""
    content = dict(graph_damage.bombs())[name].SerializeToString()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(
        "optimization.constant_folding_max_output_size_in_bytes", str(facts(content).folded)
    )
    before, began = _resident(), time.monotonic()
    session = onnxruntime.InferenceSession(content, options)
    assert time.monotonic() - began < 10
    assert _resident() - before < 1 << 30
    assert session.get_outputs()


def _resident() -> int:
    """Bytes of memory that this process has at this moment."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_weights_that_are_stored_as_codes_may_be_unfolded(tmp_path: Path) -> None:
    """The limit is no smaller than what onnxruntime makes of the weights of our own graphs."""
    for path in (*SHIPPED, *sorted(tiny.tiny_folder(tmp_path, 0, ("int8",)).glob("onnx/*.onnx"))):
        shapes = []
        for limit in ("0", str(facts(path.read_bytes()).folded)):
            options = onnxruntime.SessionOptions()
            options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", limit)
            options.log_severity_level = 3
            onnxruntime.InferenceSession(path, options)
            shapes.append(Counter(str(each.dims) for each in onnx.load(tmp_path / "optimized.onnx").graph.initializer))
        assert shapes[0] == shapes[1]
