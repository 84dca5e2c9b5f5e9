"""What a call gives, encoded: the inputs of an embedded graph into what its decoder reads.

Dimensions: `B` inputs of a call, `M` sources, `S` encoder positions, `H` heads, `D` head size, `E` = H x D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, numpy_helper

from fuseline.errors import ExportError
from fuseline.folders.own import Folder
from fuseline.folders.tensors import (
    ATTENTION_MASK,
    INPUT_IDS,
    LENGTHS,
    PHOTOGRAPH,
    PIXEL_VALUES,
    SKIP,
    SPEECH,
    STARTS,
    TEXT,
    WEIGHTS,
    DecoderSizes,
    Source,
    is_cross_attention,
)
from fuseline.inputs.audio import LogMel, RawSamples
from fuseline.inputs.images import ImageProcessor

from .nodes import Nodes, Value
from .parts import Part
from .photo import pixel_values
from .samples import LENGTHS as SAMPLE_LENGTHS
from .samples import LENGTHS_WHAT, SAMPLES, WHOLE
from .search import LARGEST
from .speech import encoded_speech

IMAGE, SOURCE_WEIGHTS = "image", "source_weights"
_IDS = Value(TensorProto.INT64, ["B", "S"])
_FLOATS = Value(TensorProto.FLOAT, ["B", "S", "E"])


@dataclass(frozen=True)
class Reader:
    """What an encoder reads, and by which input of an embedded graph. pad: of texts, what fills them up; None for
    nothing; processor: of photos; features: of speech."""

    source: Source
    part: Part
    pad: int | None = None
    processor: ImageProcessor | None = None
    features: LogMel | RawSamples | None = None
    alone: bool = True
    """whether it is the model's only source"""

    @property
    def input(self) -> str:
        """The name of the input."""
        if self.source.reads == PHOTOGRAPH:
            return IMAGE
        if self.source.reads == SPEECH:
            return SAMPLES
        return INPUT_IDS if self.alone else f"{self.source.name}_ids"

    @property
    def optional(self) -> bool:
        """Whether a call may leave it out: a text beside a photo."""
        return not self.alone and self.source.reads == TEXT


def check_sources(folder: Folder) -> None:
    """Raises ExportError for sources that cannot be embedded."""
    kinds = [source.reads for source in folder.sources.values()]
    if kinds == [SPEECH]:
        return
    if not kinds or not set(kinds) <= {PHOTOGRAPH, TEXT} or kinds.count(PHOTOGRAPH) > 1:
        found = " and ".join(kinds) or "nothing"
        raise ExportError(f"a model that reads {found} cannot be embedded yet; a photo, a text, both, or speech can be")
    if len(kinds) > 1 and (PHOTOGRAPH not in kinds or any(each.absent != SKIP for each in folder.sources.values())):
        raise ExportError('of several sources one must be a photo, and all must be absent as "skip", to be embedded')


def declare(g: Nodes, readers: Mapping[str, Reader]) -> dict[str, str]:
    """The inputs of a graph that are read, by name; of several sources how much each counts, too."""
    inputs = {}
    for reader in readers.values():
        name = reader.input
        if name == IMAGE:
            inputs[name] = g.input(name, TensorProto.UINT8, None)
        elif name == SAMPLES:
            inputs[name] = g.input(name, TensorProto.FLOAT, None)
            inputs[SAMPLE_LENGTHS] = g.default(SAMPLE_LENGTHS, LENGTHS_WHAT, np.array([WHOLE]))
        elif reader.optional:
            inputs[name] = g.default(name, _IDS, np.zeros((1, 0), np.int64))
        else:
            inputs[name] = g.input(name, _IDS.dtype, _IDS.shape)
    if len(readers) > 1:
        weights = np.array([reader.source.weight for reader in readers.values()], np.float32)
        what = Value(TensorProto.FLOAT, ["weights"])
        inputs[SOURCE_WEIGHTS] = g.default(SOURCE_WEIGHTS, what, weights)
    return inputs


@dataclass(frozen=True)
class _Encoded:
    """What a source gives: keys and values float32[B, S, E] by name; positions that each input has, int64[B]."""

    values: Mapping[str, str]
    lengths: str


def encoded(
    g: Nodes, readers: Mapping[str, Reader], inputs: Mapping[str, str], decoder: Part, sizes: DecoderSizes
) -> tuple[dict[str, str], str]:
    """What the decoder reads beside its own state, by its inputs' names, and B, int64 without dimensions."""
    reads = decoder.inputs
    names = [name for name in reads if is_cross_attention(name)]
    if len(readers) == 1:
        (reader,) = readers.values()
        found = [_READ[reader.input](g, reader, inputs, names)]
        batch = g.size(found[0].values[names[0]], 0)
        joined, steering = found[0].values, {LENGTHS: g.op("Unsqueeze", found[0].lengths, g.ints(1))}
    else:
        found = _several(g, readers, inputs, names)
        batch = g.size(found[0].values[names[0]], 0)
        joined = {name: g.joined(*(each.values[name] for each in found), axis=1) for name in names}
        steering = _steering(g, found, inputs, names[0])
    given = {name: value for name, value in steering.items() if name in reads}
    halves = {name: _as_read(g, value, reads[name], sizes) for name, value in joined.items()}
    return given | halves, batch


def _as_read(g: Nodes, value_BSE: str, what: Value, sizes: DecoderSizes) -> str:
    """A key or value as the decoder reads it: as it is, or float16[B, H, S, D]."""
    if what.dtype != TensorProto.FLOAT16:
        return value_BSE
    apart = g.op("Reshape", value_BSE, g.ints(0, 0, sizes.heads, sizes.head_size))
    return g.op("Transpose", g.cast(apart, TensorProto.FLOAT16), perm=[0, 2, 1, 3])


def _photo(g: Nodes, reader: Reader, inputs: Mapping[str, str], names: list[str]) -> _Encoded:
    assert reader.processor is not None  # since every reader of photos has one
    pixels = pixel_values(g, inputs[IMAGE], reader.processor)
    values = reader.part.paste(g, {PIXEL_VALUES: pixels}, names)
    lengths = g.op("Expand", g.sizes(values[names[0]], 1), g.sizes(values[names[0]], 0))
    return _Encoded(values, lengths)


def _speech(g: Nodes, reader: Reader, inputs: Mapping[str, str], names: list[str]) -> _Encoded:
    assert reader.features is not None  # since every reader of speech has them
    samples = inputs[SAMPLES], inputs[SAMPLE_LENGTHS]
    return _Encoded(*encoded_speech(g, reader.part, reader.source, reader.features, samples, names))


def _several(g: Nodes, readers: Mapping[str, Reader], inputs: Mapping[str, str], names: list[str]) -> list[_Encoded]:
    """A photo and what may be beside it, in the order of the sources."""
    photo = next(_photo(g, each, inputs, names) for each in readers.values() if each.input == IMAGE)
    batch = g.size(photo.values[names[0]], 0)
    return [
        photo if each.input == IMAGE else _text_beside(g, each, inputs[each.input], names, batch)
        for each in readers.values()
    ]


def _text(g: Nodes, reader: Reader, inputs: Mapping[str, str], names: list[str]) -> _Encoded:
    """A text that a model cannot do without."""
    ids_BS = inputs[reader.input]
    mask = _mask(g, reader, ids_BS)
    lengths = g.op("ReduceSum", mask, g.ints(1), keepdims=0)
    every = g.op("Greater", g.op("ReduceMin", lengths, keepdims=0), g.whole(0))
    some = g.op("And", every, g.op("Greater", g.op("Size", ids_BS), g.whole(0)))
    ids_BS = _checked_ids(g, reader, g.checked(ids_BS, some, f"{reader.input} must have a token in every row"))
    values = reader.part.paste(g, {INPUT_IDS: ids_BS, ATTENTION_MASK: mask}, names)
    return _Encoded(values, lengths)


_READ = {IMAGE: _photo, INPUT_IDS: _text, SAMPLES: _speech}  # a model's only source, by its input


def _text_beside(g: Nodes, reader: Reader, ids: str, names: list[str], batch: str) -> _Encoded:
    """A text that may have no tokens; one that is given once is that of all inputs."""
    count = g.size(ids, 0)
    fits = g.op("Or", g.op("Equal", count, g.whole(1)), g.op("Equal", count, batch))
    ids = g.checked(ids, fits, f"{reader.input} must have one row, or one for each photo")
    ids_BS = g.op("Expand", ids, g.joined(g.one(batch), g.ints(1)))
    mask = _mask(g, reader, ids_BS)

    def read(g: Nodes) -> list[str]:
        values = reader.part.paste(g, {INPUT_IDS: _checked_ids(g, reader, ids_BS), ATTENTION_MASK: mask}, names)
        return [values[name] for name in names]

    def nothing(g: Nodes) -> list[str]:
        width = reader.part.model.graph.output[0].type.tensor_type.shape.dim[2].dim_value
        return [g.filled(g.joined(g.one(batch), g.ints(0, width)), np.array(0, np.float32))] * len(names)

    some = g.op("Greater", g.size(ids_BS, 1), g.whole(0))
    values = g.choice(some, read, nothing, [_FLOATS] * len(names))
    return _Encoded(dict(zip(names, values, strict=True)), g.op("ReduceSum", mask, g.ints(1), keepdims=0))


def _mask(g: Nodes, reader: Reader, ids_BS: str) -> str:
    """int64[B, S]: ones where there is a token, zeros where one is filled up."""
    if reader.pad is None:
        return g.op("ConstantOfShape", g.op("Shape", ids_BS), value=numpy_helper.from_array(np.ones(1, np.int64)))
    mask = g.cast(g.op("Not", g.op("Equal", ids_BS, g.whole(reader.pad))), TensorProto.INT64)
    # Where there is a token, as many stand before it as there are places.
    ones = g.filled(g.op("Shape", mask), np.array(1, np.int64))
    places, tokens = (g.op("CumSum", each, g.whole(1)) for each in (ones, mask))
    missing = g.op("ReduceSum", g.op("Mul", mask, g.op("Sub", places, tokens)), keepdims=0)
    at_end = g.op("Equal", missing, g.whole(0))
    return g.checked(mask, at_end, f"{reader.input} may have pad tokens only behind the others")


def _checked_ids(g: Nodes, reader: Reader, ids_BS: str) -> str:
    """The same, no more than the source reads and all in its vocabulary."""
    name, source = reader.input, reader.source
    if source.longest is not None:
        fits = g.op("LessOrEqual", g.size(ids_BS, 1), g.whole(source.longest))
        ids_BS = g.checked(ids_BS, fits, f"{name} may have at most {source.longest} tokens")
    if source.vocab_size is not None:
        least, most = (g.op(kind, ids_BS, keepdims=0) for kind in ("ReduceMin", "ReduceMax"))
        inside = g.within(least, most, (0, source.vocab_size - 1))
        ids_BS = g.checked(ids_BS, inside, f"{name} must be from 0 to {source.vocab_size - 1}")
    return ids_BS


def _steering(g: Nodes, found: list[_Encoded], inputs: Mapping[str, str], name: str) -> dict[str, str]:
    """Which positions each input has of each source, where these begin, and how much each counts."""
    lengths = g.joined(*(g.op("Unsqueeze", each.lengths, g.ints(1)) for each in found), axis=1)
    counts = g.joined(g.ints(0), *(g.sizes(each.values[name], 1) for each in found))
    starts = g.op("CumSum", counts, g.whole(0))
    there = g.cast(g.op("Greater", lengths, g.whole(0)), TensorProto.FLOAT)
    given, own = inputs[SOURCE_WEIGHTS], len(found)
    one_each = g.op("Equal", g.size(given, 0), g.whole(own))
    size = g.checked(g.ints(own), one_each, f"{SOURCE_WEIGHTS} must be {own} numbers, one for each source")
    given = g.op("Reshape", given, size)
    weights = g.op("Mul", there, given)
    most = g.op("ReduceMax", weights, g.ints(1))
    numbers = g.op("And", g.op("GreaterOrEqual", given, g.number(0)), g.op("LessOrEqual", given, g.number(LARGEST)))
    counts = g.op("And", g.all(numbers), g.all(g.op("Greater", most, g.number(0))))
    rule = f"{SOURCE_WEIGHTS} must be finite, 0 or more, and above 0 for a source that is there"
    lengths = g.checked(lengths, counts, rule)
    return {LENGTHS: lengths, STARTS: starts, WEIGHTS: g.op("Div", weights, most)}
