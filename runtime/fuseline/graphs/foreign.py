"""The graphs of another tool's folder, opened and checked: inputs that are understood, types and shapes that fit.

Dimensions: `B` inputs of a call, `R` rows = B x num_beams, `T` tokens of this step, `P` positions before it, `S`
encoder positions, `H` heads, `D` head size, `E` width, `V` vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import FolderError
from ..files.reading import DESCRIPTION
from ..folders.foreign import ForeignFolder
from ..folders.tensors import (
    INPUT_FEATURES,
    INPUT_VALUES,
    PIXEL_VALUES,
    SPEECH,
    DecoderSizes,
    Source,
    Tensor,
    is_cross_attention,
)
from .devices import Placement
from .encoder import Encoder
from .foreign_decoder import SOURCE_MASK, ForeignDecoder, StepGraph
from .running import Graph
from .session import open_graph, signature

HIDDEN, STATES, LOGITS = "last_hidden_state", "encoder_hidden_states", "logits"
_FLOATS, _WHOLE = ("float32", "float16"), ("int64", "int32")
_MASKS = (*_WHOLE, *_FLOATS, "bool")
# What an encoder reads, without what it has as many of as a call has inputs.
_READ: Mapping[str, tuple[str, ...]] = {
    PIXEL_VALUES: ("B", "3", "height", "width"),
    INPUT_FEATURES: ("B", "bands", "frames"),
    INPUT_VALUES: ("B", "samples"),
}
# What a decoder may ask for beside its cache: types, and how many dimensions.
_INPUTS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "input_ids": (_WHOLE, 2),  # [R, T]
    STATES: (_FLOATS, 3),  # [R, S, E]
    SOURCE_MASK: (_MASKS, 2),  # [R, S]
    "attention_mask": (_MASKS, 2),  # [R, P + T]
    "decoder_attention_mask": (_MASKS, 2),  # [R, P + T]
    "position_ids": (_WHOLE, 2),  # [R, T]
    "cache_position": (_WHOLE, 1),  # [T]
    "token_type_ids": (_WHOLE, 2),  # [R, T]
    "use_cache_branch": (("bool",), 1),  # [1]
}
WEIGHTS = "cross_attentions.{}"  # a layer's cross-attention weights, an output that some decoders have
_CACHE = re.compile(r"(past_key_values|present)\.(\d+)\.(?:(decoder|encoder)\.)?(key|value)")


def open_foreign(
    folder: ForeignFolder, placement: Placement, threads: int | None = None
) -> tuple[Encoder, ForeignDecoder, list[Graph]]:
    """Encoder and decoder of the variant in use, and all their graphs. Raises FolderError, and what open_graph does."""
    paths, sizes = folder.graphs, folder.decoder
    graphs = {}
    for path in paths.graphs:
        device = placement.encoder if path == paths.encoder else placement.decoder
        graphs[path] = open_graph(folder.path / path, device, threads, folder.facts[path].folded)
    encoder = graphs[paths.encoder]
    read = _encoder_inputs(encoder, folder.source)
    steps = {path: _step_graph(graph, sizes) for path, graph in graphs.items() if path != paths.encoder}
    first = steps[paths.decoder]
    later = None if paths.with_past is None else steps[paths.with_past]
    if later is not None:
        _check_pair(first, later)
    elif first.past:
        raise FolderError(f"{first.path} reads a cache from its first step on; decoder_model_merged.onnx may do that")
    return (
        Encoder(encoder, folder.source, read, [HIDDEN]),
        ForeignDecoder(first, later, sizes, folder.source.samples_a_position),
        list(graphs.values()),
    )


def _encoder_inputs(graph: Graph, source: Source) -> Mapping[str, Tensor]:
    """What it reads, by name. Raises FolderError where that is not what its source says.

    Of a clip's samples and their mask the mask may be missing, since each clip is encoded alone.
    """
    found, path, (name, *masks) = signature(graph), graph.path, source.inputs
    inputs = {tensor.name: tensor for tensor in found.inputs}
    if any(is_cross_attention(tensor.name) for tensor in found.outputs):
        raise FolderError(
            f"{path} is a graph of fuseline, and {DESCRIPTION} is not there, which says what it is; give a folder that "
            "`fuseline get` or `fuseline export` has made"
        )
    if name not in inputs or not inputs.keys() <= {name, *masks}:
        kind = "speech" if source.reads == SPEECH else "photos"
        also = "".join(f", and may read {mask}" for mask in masks) or " alone"
        raise FolderError(f"{path} reads {', '.join(inputs) or 'nothing'}, and an encoder of {kind} reads {name}{also}")
    read, right = inputs[name], _READ[name]
    hidden = {tensor.name: tensor for tensor in found.outputs}.get(HIDDEN)
    if hidden is None or hidden.type not in _FLOATS or len(hidden.shape) != 3:
        raise FolderError(f"{path} does not give {HIDDEN} as float32[B, S, E], or as float16")
    if read.type not in _FLOATS or len(read.shape) != len(right):
        raise FolderError(f"{path}: {name} is {_written(read)} and must be float32[{', '.join(right)}], or float16")
    return inputs


def _step_graph(graph: Graph, sizes: DecoderSizes) -> StepGraph:
    """A decoder graph with every input and output in its place. Raises FolderError with all that is wrong."""
    found = signature(graph)
    problems: list[str] = []
    inputs, past, present = {}, {}, {}
    for tensor in found.inputs:
        cache = _CACHE.fullmatch(tensor.name)
        if cache and cache[1] == "past_key_values":
            past[tensor.name] = tensor
        elif tensor.name in _INPUTS:
            types, dimensions = _INPUTS[tensor.name]
            if tensor.type not in types or len(tensor.shape) != dimensions:
                right = f"{' or '.join(types)} with {dimensions} dimensions"
                problems.append(f"{tensor.name} is {_written(tensor)} and must be {right}")
            inputs[tensor.name] = tensor
        else:
            problems.append(f"what its input {tensor.name} should be given is not known")
    for tensor in found.outputs:
        cache = _CACHE.fullmatch(tensor.name)
        if cache and cache[1] == "present":
            present[tensor.name.replace("present", "past_key_values", 1)] = tensor
    outputs = {tensor.name: tensor for tensor in found.outputs}
    logits = outputs.get(LOGITS)
    if "input_ids" not in inputs:
        problems.append("it has no input input_ids")
    if logits is None or logits.type not in _FLOATS or not _fits(logits.shape, ("R", "T", sizes.vocab_size)):
        shown = "missing" if logits is None else _written(logits)
        problems.append(f"its output {LOGITS} is {shown} and must be float32[R, T, {sizes.vocab_size}], or float16")
    problems += _cache_problems(past, sizes) + _cache_problems(present, sizes)
    if problems:
        raise FolderError(f"{graph.path} is not a decoder that can be run: {'; '.join(problems)}")
    return StepGraph(graph, inputs, past, present, _weights(outputs, sizes))


def _weights(outputs: Mapping[str, Tensor], sizes: DecoderSizes) -> tuple[str, ...]:
    """The names of the cross-attention weights, float[R, H, T, S] of every layer; none where one is missing."""
    names = tuple(WEIGHTS.format(layer) for layer in range(sizes.layers))
    given = (outputs.get(name) for name in names)
    shape = "R", sizes.heads, "T", "S"
    whole = all(each is not None and each.type in _FLOATS and _fits(each.shape, shape) for each in given)
    return names if whole else ()


def _cache_problems(caches: Mapping[str, Tensor], sizes: DecoderSizes) -> list[str]:
    """A cache holds float[R, H, positions, D] for the key and the value of every layer that config.json tells of."""
    problems = []
    for tensor in caches.values():
        if tensor.type not in _FLOATS or not _fits(tensor.shape, ("R", sizes.heads, "P", sizes.head_size)):
            right = f"float32[R, {sizes.heads}, positions, {sizes.head_size}]"
            problems.append(f"{tensor.name} is {_written(tensor)} and must be {right}, or float16")
    layers = {int(match[2]) for name in caches if (match := _CACHE.fullmatch(name))}
    if caches and layers != set(range(sizes.layers)):
        problems.append(f"it has a cache for {len(layers)} layers, and config.json tells of {sizes.layers}")
    return problems


def _check_pair(first: StepGraph, later: StepGraph) -> None:
    """What the later steps read is there after the first one, and they renew their self-attention caches."""
    lost = sorted(set(later.past) - set(first.present))
    lost += sorted(name for name in later.past if not is_cross_attention(name) and name not in later.present)
    if lost or not later.past:
        what = f"nothing gives {', '.join(lost)}" if lost else "it reads no past_key_values"
        raise FolderError(f"{later.path} cannot follow {first.path}: {what}")


def _fits(found: tuple[int | str, ...], expected: tuple[int | str, ...]) -> bool:
    return len(found) == len(expected) and all(
        isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(found, expected, strict=True)
    )


def _written(tensor: Tensor) -> str:
    return f"{tensor.type}[{', '.join(map(str, tensor.shape))}]"
