"""What an ONNX file holds, read without running it: which files it names, its operators, and how much work it asks for.

onnxruntime trusts a graph in much that a folder from somewhere else should not decide: it reads the files that the
graph names, puts functions in the place of their calls as often as they are called, and computes constants while it
loads. So each graph is walked whole before it is opened, by the field numbers of onnx.proto. Weights are not touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from mmap import mmap

from ..errors import FolderError, shown
from .folding import Node, most_folded
from .wire import VARINT, Malformed, Span, Wire, of

# protobuf itself stops at 2 GiB; weights of larger models lie beside the graph.
LARGEST_GRAPH = (2 << 30) - 1
# With all functions put in their places. onnxruntime takes 1.3 s for 30,000 nodes and 22 s for 65,000 (1.32, one core);
# a decoder of 24 layers in portable operators has 11,000.
MOST_NODES = 30_000
# Functions that call functions: a decoder layer holds operators that hold nodes, which is 2.
MOST_CALLS = 8
# Graphs within graphs: the If of a merged decoder is 1.
MOST_NESTED = 8
MOST_DIMENSIONS = 64

Operator = tuple[str, str]  # domain and name, the domain of ONNX's own operators being ""

_DOMAINS = ("", "com.microsoft", "fuseline")
# What repeats a graph as often as the graph itself says.
_ENDLESS = ("Loop", "Scan", "SequenceMap", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")
# What makes texts: each may double, which no limit of constants counts, and encoders and decoders read none.
_OF_TEXTS = ("StringConcat", "StringSplit", "StringNormalizer", "RegexFullMatch", "TfIdfVectorizer")
# What stands for a program in another file, or one that onnxruntime was told of by its host.
_FOREIGN_PROGRAMS = (
    "EPContext",
    "Snpe",
    "OpenVINO",
    "ATen",
    "PythonOp",
    "PythonOpGrad",
    "TritonOp",
    "ExternalCustomOp",
)
# Operators that onnxruntime has no other body for than tens of nodes: 1,600 of them are as much work as 60,000 nodes.
_LONG = frozenset(
    (
        *("AffineGrid", "Attention", "Bernoulli", "BlackmanWindow", "CausalConvWithState", "CenterCropPad"),
        *("GroupNormalization", "HammingWindow", "HannWindow", "LinearAttention", "MeanVarianceNormalization"),
        *("NegativeLogLikelihoodLoss", "RMSNormalization", "RotaryEmbedding", "SoftmaxCrossEntropyLoss", "SwiGLU"),
    )
)
_NODES_OF_LONG = 40
_MEMORY = "_ORT_MEM_ADDR_"  # in a location: onnxruntime would take the offset for an address in its own memory
_ORT_FORMAT = b"ORTM"
_SETTINGS = b"ort_config"  # metadata that onnxruntime takes for session options if its environment says so
# Bits of a number by TensorProto.DataType; a text has none.
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    15: 128,
}
_TEXTS = 8
_DATA = (4, 5, 6, 7, 9, 10, 11)  # the fields of TensorProto that hold its numbers


@dataclass(frozen=True)
class External:
    """A tensor that lies in another file: location relative to the graph's folder, offset and length in bytes."""

    location: str
    offset: int
    length: int


@dataclass(frozen=True)
class GraphFacts:
    """What is known of a graph before it is opened.

    nodes: with all functions in the places of their calls; inside, outside: bytes of the tensors in the file and beside
    it. folded: the most bytes, at least 1, of a tensor that onnxruntime should compute while it loads the graph.
    """

    operators: Mapping[Operator, int]
    functions: frozenset[Operator]
    external: tuple[External, ...]
    nodes: int
    nested: int
    inside: int
    outside: int
    folded: int

    @property
    def locations(self) -> tuple[str, ...]:
        """Each file that the graph names, once."""
        return tuple(dict.fromkeys(each.location for each in self.external))


def check(content: bytes | mmap, path: object) -> GraphFacts:
    """Walk an ONNX file's content. Raises FolderError for what is no ONNX, names files as it should not, or is endless.

    path: the file, for the message.
    """
    if not 0 < len(content) <= LARGEST_GRAPH:
        raise FolderError(f"{path} has {len(content)} bytes, and an ONNX file has from 1 to {LARGEST_GRAPH}")
    try:
        return facts_of(content)
    except Malformed as error:
        raise FolderError(f"{path} is not a graph that can be opened: it {error}") from error


def facts_of(content: bytes | mmap) -> GraphFacts:
    """The same of a file's content. Raises Malformed."""
    if content[4:8] == _ORT_FORMAT:
        raise Malformed("is in onnxruntime's own format and must be ONNX")
    model = _Model(Wire(content))
    model.read((0, len(content)))
    operators = Counter[Operator]()
    for scope in (model.graph, *model.functions.values()):
        operators += scope.operators
    _check_operators(operators, model.functions)
    if model.sparse:
        raise Malformed("has sparse tensors, which no encoder or decoder needs")
    nodes = _inlined(model.graph, model.functions)
    if nodes > MOST_NODES:
        raise Malformed(f"has {shown(nodes, 30)} nodes with its functions in their places, and may have {MOST_NODES}")
    return GraphFacts(
        operators=dict(operators),
        functions=frozenset(model.functions),
        external=tuple(model.external),
        nodes=nodes,
        nested=model.nested,
        inside=model.inside,
        outside=sum(each.length for each in model.external),
        folded=most_folded(model.scopes(), nodes, model.inside + sum(each.length for each in model.external)),
    )


@dataclass
class _Scope:
    """A graph or a function, with the graphs inside its nodes: operators, and nodes in their order."""

    operators: Counter[Operator] = field(default_factory=Counter)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[bytes, tuple[int, ...]] = field(default_factory=dict)  # shapes of initializers


class _Model:
    """Walks a ModelProto. Numbers of fields are those of onnx.proto."""

    def __init__(self, wire: Wire) -> None:
        self.graph = _Scope()
        self.functions: dict[Operator, _Scope] = {}
        self.external: list[External] = []
        self.inside = self.nested = 0
        self.sparse = False
        self._wire = wire
        self._operators: dict[tuple[bytes, bytes], Operator] = {}

    def scopes(self) -> Iterator[tuple[Sequence[Node], Mapping[bytes, tuple[int, ...]]]]:
        """Nodes and initializers of the graph and of every function."""
        for scope in (self.graph, *self.functions.values()):
            yield scope.nodes, scope.constants

    def read(self, model: Span) -> None:
        """ModelProto."""
        fields = self._wire.fields([model])
        for entry in of(fields, 14):  # metadata_props
            if _SETTINGS in self._texts(entry, 1):
                raise Malformed(
                    "has settings of onnxruntime's in its metadata (ort_config), which a model may not make"
                )
        for function in of(fields, 25):
            self._function(function)
        if graphs := of(fields, 7):
            self._graph(graphs, self.graph, 0)
        for training in of(fields, 20):
            parts = self._wire.fields([training])
            for number in (1, 2):  # initialization, algorithm
                if graphs := of(parts, number):
                    self._graph(graphs, self.graph, 0)
        if not of(fields, 7):
            raise Malformed("holds no graph")

    def _function(self, span: Span) -> None:
        """FunctionProto. Functions of one name and several overloads count as one that holds the nodes of all."""
        fields = self._wire.fields([span])
        scope = self.functions.setdefault(self._operator(of(fields, 10), of(fields, 1)), _Scope())
        for attribute in of(fields, 11):  # attribute_proto: defaults
            self._attribute(attribute, scope, 0)
        for node in of(fields, 7):
            self._node(node, scope, 0)

    def _graph(self, spans: Sequence[Span], scope: _Scope, nested: int) -> None:
        """GraphProto."""
        if nested > MOST_NESTED:
            raise Malformed(f"has graphs nested deeper than {MOST_NESTED}")
        self.nested = max(self.nested, nested)
        fields = self._wire.fields(spans)
        for initializer in of(fields, 5):
            name, shape = self._tensor([initializer])
            scope.constants[name] = shape
        for sparse in of(fields, 15):
            self._sparse_tensor([sparse])
        for node in of(fields, 1):
            self._node(node, scope, nested)

    def _node(self, span: Span, scope: _Scope, nested: int) -> None:
        """NodeProto."""
        fields = self._wire.fields([span])
        operator = self._operator(of(fields, 7), of(fields, 4))
        scope.operators[operator] += 1
        shapes = [self._attribute(attribute, scope, nested) for attribute in of(fields, 5)]
        text = self._wire.text
        scope.nodes.append(
            Node(
                operator[1],
                operator[0] == "",
                [text(name) for name in of(fields, 1)],
                [text(name) for name in of(fields, 2)],
                next((shape for shape in shapes if shape is not None), None),
            )
        )

    def _attribute(self, span: Span, scope: _Scope, nested: int) -> tuple[int, ...] | None:
        """AttributeProto. Returns the shape of the tensor in it, or of the list of numbers."""
        fields = self._wire.fields([span])
        shape: tuple[int, ...] | None = None
        if tensors := of(fields, 5):  # t
            shape = self._tensor(tensors)[1]
        for tensor in of(fields, 10):
            self._tensor([tensor])
        for number in (7, 8):  # floats, ints
            for start, end in fields.get(number, ()):
                shape = ((shape[0] if shape else 0) + max(1, end - start if end >= 0 else 1),)
        if shape is None and not fields.keys().isdisjoint((2, 3, 4)):  # f, i, s
            shape = ()
        if graphs := of(fields, 6):  # g
            self._graph(graphs, scope, nested + 1)
        for graph in of(fields, 11):
            self._graph([graph], scope, nested + 1)
        if tensors := of(fields, 22):
            self._sparse_tensor(tensors)
        for tensor in of(fields, 23):
            self._sparse_tensor([tensor])
        return shape

    def _sparse_tensor(self, spans: Sequence[Span]) -> None:
        """SparseTensorProto."""
        self.sparse = True
        fields = self._wire.fields(spans)
        for number in (1, 2):  # values, indices
            if tensors := of(fields, number):
                self._tensor(tensors)

    def _tensor(self, spans: Sequence[Span]) -> tuple[bytes, tuple[int, ...]]:
        """TensorProto: its name and shape."""
        fields = self._wire.fields(spans)
        dims = tuple(self._wire.varints(fields, 1))
        if len(dims) > MOST_DIMENSIONS or min(dims, default=0) < 0:
            raise Malformed("has a tensor of a negative size, or of too many dimensions")
        kind, mark = fields[2][-1] if 2 in fields else (0, VARINT)
        if mark != VARINT:
            raise Malformed("has a tensor whose type is no number")
        entries = of(fields, 13)
        if entries:
            self._external(entries, prod(dims), kind)
        else:
            # Typed fields hold a number in a byte at the least, raw data several of fewer than 8 bits in one.
            held = sum(end - at if end >= 0 else 1 for number in _DATA for at, end in fields.get(number, ()))
            texts = len(of(fields, 6)) * 8 if kind == _TEXTS else 0
            if prod(dims) > 8 * held + texts:
                raise Malformed(f"has a tensor of {shown(prod(dims), 40)} numbers in {held} bytes")
            self.inside += held
        names = of(fields, 8)
        return (self._wire.text(names[-1]) if names else b""), dims

    def _external(self, entries: Sequence[Span], count: int, kind: int) -> None:
        """external_data: pairs of key and value. Whatever a parser might take for the location is one here."""
        values: dict[bytes, list[bytes]] = {}
        for entry in entries:
            for key in self._texts(entry, 1) or [b""]:
                values.setdefault(key, []).extend(self._texts(entry, 2) or [b""])
        if kind not in _BITS:
            raise Malformed(f"keeps a tensor of type {kind} in another file, of which the size is not known")
        size = (count * _BITS[kind] + 7) // 8
        offsets = [_number(each) for each in values.get(b"offset", [])] or [0]
        lengths = [_number(each) for each in values.get(b"length", [])]
        if any(length != size for length in lengths):
            raise Malformed(
                f"has a tensor of {shown(size, 30)} bytes of which another file holds {shown(lengths[0], 30)}"
            )
        for location in values.get(b"location", [b""]):
            name = _location(location)
            self.external += [External(name, offset, size) for offset in offsets]

    def _operator(self, domains: Sequence[Span], names: Sequence[Span]) -> Operator:
        """Of several texts in one field a parser takes the last. The same few come again and again."""
        text = self._wire.text
        key = text(domains[-1]) if domains else b"", text(names[-1]) if names else b""
        if key not in self._operators:
            domain, name = (each.decode("utf-8", "backslashreplace") for each in key)
            self._operators[key] = ("" if domain == "ai.onnx" else domain), name
        return self._operators[key]

    def _texts(self, entry: Span, number: int) -> list[bytes]:
        return [self._wire.text(span) for span in of(self._wire.fields([entry]), number)]


def _location(name: bytes) -> str:
    """The name of a file beside the graph. Whether it is there, and listed, is for the folder to say."""
    try:
        location = name.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"names the file {_readable(name)}, which is not UTF-8") from None
    if _MEMORY in location or "*" in location:
        raise Malformed(f"names the file {shown(location)!r}, which onnxruntime takes for an address in its memory")
    return location


def _readable(text: bytes) -> str:
    return shown(text.decode("utf-8", "backslashreplace"))


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise Malformed(f"has {_readable(text)} for the place of a tensor in another file, which is no whole number")
    return int(text)


def _check_operators(operators: Mapping[Operator, int], functions: Mapping[Operator, _Scope]) -> None:
    """Raises Malformed for an operator that no encoder or decoder needs and that a folder should not bring."""
    for domain, name in operators:
        if name in _ENDLESS:
            raise Malformed(f"has the operator {name}, which repeats a graph; decoders here take one step a run")
        if name in _OF_TEXTS:
            raise Malformed(f"has the operator {name}, which works on texts; encoders and decoders have numbers alone")
        if name in _FOREIGN_PROGRAMS:
            raise Malformed(f"has the operator {name}, which stands for a program in another file")
        if domain not in _DOMAINS and (domain, name) not in functions:
            raise Malformed(f"has the operator {shown(name)} of {shown(domain)}, which is not known here")


def _inlined(graph: _Scope, functions: Mapping[Operator, _Scope]) -> int:
    """How many nodes are left when every call is replaced by the function's nodes, again and again."""
    known: dict[Operator, tuple[int, int]] = {}

    def size(scope: _Scope, calls: tuple[Operator, ...]) -> tuple[int, int]:
        """Nodes, and how deep functions call functions."""
        inside = {each: of_call(each, calls) for each in scope.operators if each in functions}
        nodes = sum(
            times * (inside[each][0] if each in inside else _NODES_OF_LONG if each[1] in _LONG else 1)
            for each, times in scope.operators.items()
        )
        return nodes, max((deep for _, deep in inside.values()), default=0)

    def of_call(operator: Operator, calls: tuple[Operator, ...]) -> tuple[int, int]:
        if operator in calls:
            raise Malformed(f"has a function {shown(operator[1])} that calls itself")
        if operator not in known:
            if len(calls) == MOST_CALLS:
                raise _too_deep()
            nodes, deep = size(functions[operator], (*calls, operator))
            known[operator] = max(1, nodes), deep + 1
        return known[operator]

    nodes, deep = size(graph, ())
    if deep > MOST_CALLS:
        raise _too_deep()
    return nodes


def _too_deep() -> Malformed:
    return Malformed(f"has functions that call functions more than {MOST_CALLS} deep")
