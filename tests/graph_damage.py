"""Graphs as no exporter writes them: the same message in other bytes, and damaged ones. Deterministic by the seed.

`mutate` damages one graph of a folder and mends its size and hash in fuseline.json, so that the graph itself is what
has to be refused or run.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper


def varint(value: int, padding: int = 0) -> bytes:
    """A number as protobuf writes it, with so many bytes more than it needs."""
    value &= (1 << 64) - 1
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def tagged(number: int, content: bytes, padding: int = 0) -> bytes:
    """A field with a length."""
    return varint(number << 3 | 2) + varint(len(content), padding) + content


def scrambled(random: Random, message: Message) -> bytes:
    """The same message in other bytes, which every parser takes for the same.

    Fields come in any order, unknown ones between them; numbers are longer than they need be, lists are packed or not,
    and a message within it comes in two pieces that a parser merges.
    """
    queues: dict[int, list[bytes]] = {}
    for field, value in message.ListFields():
        repeated = not isinstance(value, Message | bytes | str | int | float)
        chunks = queues.setdefault(field.number, [])
        for each in value if repeated else [value]:
            if isinstance(each, Message):
                pieces = [each] if repeated or random.random() < 0.5 else _halves(random, each)
                chunks += [tagged(field.number, scrambled(random, piece), random.randrange(3)) for piece in pieces]
            else:
                chunks.append(_scalar(random, field, each))
    for _ in range(random.randrange(3)):
        queues[random.randrange(1000, 1 << 29)] = [b""]
    found = b""
    while queues:
        number = random.choice(list(queues))
        chunk = queues[number].pop(0)
        found += chunk or _unknown(random, number)
        if not queues[number]:
            del queues[number]
    return found


def _halves(random: Random, message: Message) -> list[Message]:
    """Two messages that are this one when a parser merges them: lists stay in their order."""
    first, second = type(message)(), type(message)()
    first.CopyFrom(message)
    for field, _ in message.ListFields():
        if random.random() < 0.5:
            first.ClearField(field.name)
    second.CopyFrom(message)
    for field, _ in first.ListFields():
        second.ClearField(field.name)
    return [first, second]


def _scalar(random: Random, field: Any, value: Any) -> bytes:
    kind = field.type
    if kind in (field.TYPE_STRING, field.TYPE_BYTES):
        return tagged(field.number, value.encode() if isinstance(value, str) else value, random.randrange(3))
    if kind == field.TYPE_FLOAT:
        return varint(field.number << 3 | 5) + struct.pack("<f", value)
    if kind == field.TYPE_DOUBLE:
        return varint(field.number << 3 | 1) + struct.pack("<d", value)
    return varint(field.number << 3) + varint(int(value), random.randrange(2))


def _unknown(random: Random, number: int) -> bytes:
    return random.choice(
        [
            lambda: varint(number << 3) + varint(random.getrandbits(63)),
            lambda: tagged(number, random.randbytes(random.randrange(200))),
            lambda: varint(number << 3 | 5) + random.randbytes(4),
            lambda: varint(number << 3 | 1) + random.randbytes(8),
        ]
    )()


def graph(*nodes: onnx.NodeProto, **more: Any) -> onnx.ModelProto:
    """A model of these nodes, from x to y. more: initializer, and functions of the model."""
    functions = more.pop("functions", [])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    imports = [helper.make_opsetid(domain, version) for domain, version in (("", 20), ("local", 1), ("fuseline", 1))]
    body = helper.make_graph(list(nodes), "graph", values[:1], values[1:], **more)
    return helper.make_model(body, opset_imports=imports, ir_version=9, functions=functions)


def outside(location: str, *, dims: tuple[int, ...] = (1,), **entries: object) -> TensorProto:
    """A tensor "w" that lies in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def function(name: str, *nodes: onnx.NodeProto) -> onnx.FunctionProto:
    """A function of the domain "local", from a to b."""
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["b"], list(nodes), imports)


def doubling(depth: int) -> onnx.ModelProto:
    """Functions that each call the next one twice: 2 ** depth nodes of some kilobytes."""
    functions = []
    for index in range(depth):
        name, domain = ("Neg", "") if index == depth - 1 else (f"f{index + 1}", "local")
        calls = [helper.make_node(name, [start], [end], domain=domain) for start, end in (("a", "m"), ("m", "b"))]
        functions.append(function(f"f{index}", *calls))
    return graph(helper.make_node("f0", ["x"], ["y"], domain="local"), functions=functions)


def bombs() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Small graphs of which onnxruntime would make something large while it loads them, if it were let."""
    add, total = helper.make_node("Add", ["x", "r"], ["y"]), helper.make_node("ReduceSum", ["c"], ["r"], keepdims=0)

    def numbers(name: str, *values: float, kind: Any = np.int64) -> TensorProto:
        return numpy_helper.from_array(np.array(values, kind), name)

    shape = [numbers("s", 150_000_000)]
    yield "ConstantOfShape", graph(helper.make_node("ConstantOfShape", ["s"], ["c"]), total, add, initializer=shape)
    one = numbers("c0", 1, kind=np.float32)
    joins = [helper.make_node("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], axis=0) for i in range(28)]
    yield "Concat", graph(*joins, helper.make_node("Identity", ["c28"], ["c"]), total, add, initializer=[one])
    yield "Expand", graph(helper.make_node("Expand", ["c0", "s"], ["c"]), total, add, initializer=[one, *shape])
    yield "Tile", graph(helper.make_node("Tile", ["c0", "s"], ["c"]), total, add, initializer=[one, *shape])
    ends = [numpy_helper.from_array(np.float32(value), name) for name, value in zip("fed", (0, 2e8, 1), strict=True)]
    yield "Range", graph(helper.make_node("Range", list("fed"), ["c"]), total, add, initializer=ends)
    sides = [numbers("s", 20_000, 1), numbers("t", 1, 20_000)]
    made = [helper.make_node("ConstantOfShape", [each], [f"c{each}"]) for each in "st"]
    outer = helper.make_node("Add", ["cs", "ct"], ["c"])
    yield "an outer sum", graph(*made, outer, total, add, initializer=sides)
    large = [numbers("s", 4000, 4000)]
    products = [helper.make_node("MatMul", [f"c{i}", "c0"], [f"c{i + 1}"]) for i in range(200)]
    start, end = helper.make_node("ConstantOfShape", ["s"], ["c0"]), helper.make_node("Identity", ["c200"], ["c"])
    yield "MatMul without end", graph(start, *products, end, total, add, initializer=large)
    many = [helper.make_node("ConstantOfShape", ["s"], [f"c{i}"]) for i in range(300)]
    sums = [helper.make_node("Concat", [f"c{i}" for i in range(300)], ["c"], axis=0)]
    yield "many", graph(*many, *sums, total, add, initializer=[numbers("s", 4_000_000)])


_LARGEST = 1 << 26  # bytes of a graph that is damaged


def damaged(random: Random, content: bytes) -> tuple[str, bytes]:
    """What was done to a graph's bytes, and the bytes."""
    name = random.choice(list(_DAMAGES))
    return name, _DAMAGES[name](random, content)


def mutate(random: Random, folder: Path) -> str:
    """Damage one graph of a folder. Returns what was done, for the report of a failure."""
    path = random.choice(sorted(each for each in folder.rglob("*.onnx") if each.is_file() and not each.is_symlink()))
    if path.stat().st_size > _LARGEST:
        return "nothing"
    done, content = damaged(random, path.read_bytes())
    path.write_bytes(content)
    listed = folder / "fuseline.json"
    if listed.is_file():
        about = json.loads(listed.read_bytes())
        name = path.relative_to(folder).as_posix()
        about["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        listed.write_text(json.dumps(about))
    return f"{path.name}: {done}"


def _flip(random: Random, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8, 64])):
        # Most of a file is weights, and most of what a parser reads lies before or after them.
        at = int(len(found) * random.betavariate(0.3, 0.3))
        found[min(at, len(found) - 1)] = random.randrange(256)
    return bytes(found)


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))]


def _splice(random: Random, content: bytes) -> bytes:
    start, length, to = (random.randrange(len(content)) for _ in range(3))
    return content[:to] + content[start : start + length % 1000] + content[to:]


def _parsed(change: Callable[[Random, onnx.ModelProto], object]) -> Callable[[Random, bytes], bytes]:
    def damage(random: Random, content: bytes) -> bytes:
        model = onnx.ModelProto.FromString(content)
        change(random, model)
        return bytes(model.SerializeToString())

    return damage


def _drop(random: Random, model: onnx.ModelProto) -> None:
    rows = random.choice([model.graph.node, model.graph.initializer, model.graph.input, model.graph.output])
    if rows:
        del rows[random.randrange(len(rows))]


def _rename(random: Random, model: onnx.ModelProto) -> None:
    node = random.choice(model.graph.node)
    node.op_type = random.choice(["Loop", "EPContext", "NoSuch", "", "Identity", "ConstantOfShape", "x" * 10_000])


def _rewire(random: Random, model: onnx.ModelProto) -> None:
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    node = random.choice([node for node in model.graph.node if node.input])
    node.input[random.randrange(len(node.input))] = random.choice(names)


def _resize(random: Random, model: onnx.ModelProto) -> None:
    tensor = random.choice(model.graph.initializer)
    dims = list(tensor.dims) or [1]
    dims[random.randrange(len(dims))] = random.choice([0, -1, 1, 1 << 31, 1 << 62, 7])
    tensor.ClearField("dims")
    tensor.dims.extend(dims)


def _move_out(random: Random, model: onnx.ModelProto) -> None:
    tensor = random.choice(model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = [
        "../config.json",
        "/etc/passwd",
        "w",
        "*/_ORT_MEM_ADDR_/*",
        "",
        "a\0b",
        "..\\x",
        "decoder_model_fp32.onnx",
    ]
    entries = {"location": random.choice(places), "offset": random.choice([0, 4096, 1 << 62, -1, "x"])}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))


def _retype(random: Random, model: onnx.ModelProto) -> None:
    random.choice(model.graph.initializer).data_type = random.randrange(30)


def _reattribute(random: Random, model: onnx.ModelProto) -> None:
    node = random.choice([node for node in model.graph.node if node.attribute] or model.graph.node)
    for attribute in node.attribute:
        attribute.i = random.choice([-1, 0, 1 << 40, -(1 << 63)])
        attribute.f = random.choice([float("nan"), float("inf"), 1e30])
        if attribute.ints:
            attribute.ints[0] = random.choice([-1, 0, 1 << 40])


def _bomb(random: Random, _: bytes) -> bytes:
    return bytes(random.choice([each for _, each in bombs()]).SerializeToString())


_DAMAGES: dict[str, Callable[[Random, bytes], bytes]] = {
    "bytes changed": _flip,
    "cut off": _cut,
    "a piece put in": _splice,
    "other bytes of the same": lambda random, content: scrambled(random, onnx.ModelProto.FromString(content)),
    "something dropped": _parsed(_drop),
    "another operator": _parsed(_rename),
    "other inputs": _parsed(_rewire),
    "another shape": _parsed(_resize),
    "weights elsewhere": _parsed(_move_out),
    "another type": _parsed(_retype),
    "other attributes": _parsed(_reattribute),
    "a bomb": _bomb,
    "functions without end": lambda random, _: bytes(doubling(random.randrange(2, 40)).SerializeToString()),
    "random bytes": lambda random, _: random.randbytes(random.randrange(2000)),
}
