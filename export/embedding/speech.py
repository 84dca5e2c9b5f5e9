"""Speech, encoded: samples through an encoder of Whisper or Moonshine.

Dimensions: `B` clips, `S` encoder positions, `E` width of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from fuseline.folders.tensors import ATTENTION_MASK, INPUT_FEATURES, INPUT_VALUES, Source
from fuseline.graphs.encoder import SHORTEST_CLIP
from fuseline.inputs.audio import LogMel, RawSamples

from .nodes import Nodes, Value
from .parts import Part
from .samples import Clips, clips, input_features

_FLOATS, _LENGTHS = Value(TensorProto.FLOAT, ["B", "S", "E"]), Value(TensorProto.INT64, ["B"])
_LENGTH = "length"


def samples_of_a_clip(features: LogMel | RawSamples, source: Source) -> tuple[int, int | None]:
    """The fewest that a clip may have, and the most, None without a bound."""
    if isinstance(features, LogMel):
        return 1, features.samples
    return SHORTEST_CLIP, None if source.longest is None else source.longest * (source.samples_a_position or 1)


def encoded_speech(
    g: Nodes,
    part: Part,
    source: Source,
    features: LogMel | RawSamples,
    samples: tuple[str, str],
    names: Sequence[str],
) -> tuple[Mapping[str, str], str]:
    """Keys and values float32[B, S, E] by name, and the positions that each clip has, int64[B].

    samples: the samples of the clips, and how many of them each has.
    """
    least, most = samples_of_a_clip(features, source)
    heard = clips(g, *samples, least=least, most=most)
    if isinstance(features, LogMel):
        values = part.paste(g, {INPUT_FEATURES: input_features(g, heard, features)}, names)
        return values, g.op("Expand", g.sizes(values[names[0]], 1), g.sizes(values[names[0]], 0))
    return _one_by_one(g, part, heard, features, names)


def _one_by_one(
    g: Nodes, part: Part, heard: Clips, features: RawSamples, names: Sequence[str]
) -> tuple[Mapping[str, str], str]:
    """Each clip alone, since the encoder norms over the whole length, padding too; zeros after what is shorter."""
    width = part.model.graph.output[0].type.tensor_type.shape.dim[2].dim_value
    nothing = g.filled(g.ints(0, 0, width), np.array(0, np.float32))
    none = g.filled(g.ints(0), np.array(0, np.int64))
    carried = dict.fromkeys(names, (nothing, _FLOATS)) | {_LENGTH: (none, _LENGTHS)}

    def encode(g: Nodes, number: str, before: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        values = part.paste(g, _alone(g, part, heard, number, features), names)
        own = g.sizes(values[names[0]], 1)
        positions = g.op("Max", own, g.sizes(before[names[0]], 1))
        joined = {
            name: g.joined(_filled_up(g, before[name], positions, width), _filled_up(g, values[name], positions, width))
            for name in names
        }
        go_on = g.cast(g.whole(1), TensorProto.BOOL)
        return go_on, joined | {_LENGTH: g.joined(before[_LENGTH], own)}

    found = g.repeated(g.size(heard.values, 0), carried, encode)
    return found, found.pop(_LENGTH)


def _alone(g: Nodes, part: Part, heard: Clips, number: str, features: RawSamples) -> dict[str, str]:
    """What the encoder reads of one clip, as long as it is."""
    length = g.one(g.op("Gather", heard.lengths, number))
    row = g.op("Gather", heard.values, g.one(number))
    samples = g.op("Slice", row, g.ints(0), length, g.ints(1))
    if features.normalize:
        apart = g.op("Sub", samples, g.op("ReduceMean", samples, g.ints(1)))
        variance = g.op("ReduceMean", g.op("Mul", apart, apart), g.ints(1))
        samples = g.op("Div", apart, g.op("Sqrt", g.op("Add", variance, g.number(1e-7))))
    given = {INPUT_VALUES: samples}
    if ATTENTION_MASK in part.inputs:
        given[ATTENTION_MASK] = g.filled(g.op("Shape", samples), np.array(1, np.int64))
    return given


def _filled_up(g: Nodes, values_BSE: str, positions: str, width: int) -> str:
    """The same with zeros up to so many positions, int64[1]."""
    missing = g.op("Sub", positions, g.sizes(values_BSE, 1))
    zeros = g.filled(g.joined(g.sizes(values_BSE, 0), missing, g.ints(width)), np.array(0, np.float32))
    return g.joined(values_BSE, zeros, axis=1)
