"""The graphs of a folder: stored whole or with their weights beside them, each once, and held to each other.

What a variant has in common with one before it is not written again.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper

from fuseline.errors import ExportError
from fuseline.folders.tensors import QUERY, SHARE, is_cross_attention, width_of
from fuseline.kernels.layers import Unjoined, join_layers, split_layers
from fuseline.warning import warn

from ..graphs.weights_file import WeightsFile, is_outside
from ..refusals import reason
from .parts import DECODER, encoders_of, flat, nested, stem_of

# What each layer's cross_attention_query and key are multiplied by, in fuseline.json.
SCALES = "cross_attention_scales"
UNFINISHED = ".fuseline-new"  # what a killed process leaves of a file, see place.py

# Past this many bytes the weights go to a file beside the graph, which onnxruntime maps: GPT-2 of 124 M parameters
# takes 255 MB in int8 and 768 MB in fp32 once loaded, against 367 and 1,113 MB from one file (onnxruntime 1.32).
# Smaller models stay one file.
EXTERNAL_OVER = 64 * 2**20

# A graph, the file that holds it, or what makes it: large models are made when they are written, and not kept. Weights
# may go into the file given at once.
GraphSource = onnx.ModelProto | Path | Callable[[WeightsFile], onnx.ModelProto]


def write_graphs(
    folder: Path,
    variants: Mapping[str, Mapping[str, GraphSource]],
    decoder_info: Mapping[str, Any],
    described: Mapping[str, Any] | None = None,
    written: Mapping[bytes, str] | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Write each distinct graph once. Returns fuseline.json's variants (files by part), tensors and decoder.

    Warns of decoder layers that could not be joined, which cost a step time.

    described: the tensors that the graphs must have (default: those of the first variant); written: what lies in the
    folder already, by its hash.
    """
    graphs: dict[str, dict[str, str]] = {}
    tensors = flat(described or {})
    info = dict(decoder_info)
    written = dict(written or {})
    for variant, parts in variants.items():
        paths = {part: _unused(folder, f"onnx/{stem_of(part)}_{variant}") for part in parts}

        # Whether a graph may be one that lies there: of another variant, or of another source with the same encoder.
        alike = bool(written) or len(variants) > 1 or len(encoders_of(parts)) > 1

        def write(
            part: str,
            parts: Mapping[str, GraphSource] = parts,
            paths: Mapping[str, str] = paths,
            alike: bool = alike,
        ) -> _Written:
            made = _written(parts[part], folder, paths[part], written if alike else None)
            if made.hash is not None:
                written.setdefault(made.hash, made.file)
            return made

        with ThreadPoolExecutor(1) as beside:  # an encoder is mostly traced and a decoder mostly written
            decoder = beside.submit(write, DECODER)
            made = {part: write(part) for part in encoders_of(parts)}
            made[DECODER] = decoder.result()
        for part, graph in made.items():
            if _alike(tensors.setdefault(part, graph.tensors)) != _alike(graph.tensors):
                other = "the folder's" if described else f"that of {next(iter(graphs))!r}"
                raise ExportError(f"the {part} of variant {variant!r} has other inputs or outputs than {other}")
            graphs.setdefault(variant, {})[part] = graph.file
            if graph.unjoined:
                warn(f"{graph.file}: {'; '.join(map(str, graph.unjoined[:3]))}, so it stays apart, which is slower")
        info.setdefault(SCALES, made[DECODER].scales)
    _check_fit(tensors, info)
    return {variant: nested(parts) for variant, parts in graphs.items()}, nested(tensors), info


def write_plain(folder: Path, suffix: str, parts: Mapping[str, GraphSource], taken: Collection[str]) -> dict[str, str]:
    """Write graphs that are held to no others; returns their files by part. taken: names of files still to come."""
    written = {}
    for part, source in parts.items():
        written[part] = _unused(folder, f"onnx/{stem_of(part)}_{suffix}", taken)
        _written(source, folder, written[part], None)
    return written


def tensors_of(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Names, numpy type names and shapes of a graph's inputs and outputs; what varies in a shape has a name."""
    return {
        "inputs": [_tensor(value) for value in model.graph.input],
        "outputs": [_tensor(value) for value in model.graph.output],
    }


def _alike(tensors: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """What must be the same in all variants: all but whether a decoder reads a photo's keys and values as halves."""
    return {
        kind: [
            {"name": each["name"], "width": width_of(each["shape"])} if is_cross_attention(each["name"]) else dict(each)
            for each in found
        ]
        for kind, found in tensors.items()
    }


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in kind.shape.dim]
    return {"name": value.name, "type": helper.tensor_dtype_to_np_dtype(kind.elem_type).name, "shape": shape}


def _check_fit(tensors: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    """Raises one ExportError with all in which the graphs differ from each other or from decoder_info."""
    wanted = {"layers", "heads", "head_size", "vocab_size", "max_positions"}
    given = info.keys() - {SCALES}
    if given != wanted:
        raise ExportError(f"decoder_info has {', '.join(sorted(given))} and must have {', '.join(sorted(wanted))}")
    outputs = {tensor["name"]: tensor["shape"] for tensor in tensors["decoder"]["outputs"]}
    cross = {tensor["name"] for tensor in tensors["decoder"]["inputs"] if is_cross_attention(tensor["name"])}
    problems = [] if encoders_of(tensors) else [f"no encoder makes the decoder's {name}" for name in sorted(cross)]
    for part in encoders_of(tensors):
        made = {tensor["name"] for tensor in tensors[part]["outputs"]}
        problems += [f"the {part} makes no {name}" for name in sorted(cross - made)]
        problems += [f"the decoder does not read {name}" for name in sorted(made - cross)]
    expected: dict[str, list[int | str]] = {"logits": ["R", info["vocab_size"]]}
    for layer in range(info["layers"]):
        for part in ("key", "value"):
            expected[f"present.{layer}.decoder.{part}"] = ["C", "R", info["heads"] * info["head_size"]]
    for layer in range(len(info[SCALES])):
        expected[QUERY.format(layer)] = ["N", info["heads"] * info["head_size"]]
    for layer in range(info["layers"] if len(encoders_of(tensors)) > 1 else 0):
        expected[SHARE.format(layer)] = ["N", info["heads"], len(encoders_of(tensors))]
    for name in sorted(expected | outputs):
        if expected.get(name) != outputs.get(name):
            problems.append(f"the decoder's {name} is {outputs.get(name)} and must be {expected.get(name)}")
    if problems:
        raise ExportError(f"the graphs do not fit together: {'; '.join(problems)}")


class _Written(NamedTuple):
    """What is to be known of a graph that was written. file: its path in the folder; hash: None where nobody asks;
    unjoined: layers of a decoder that are not one node."""

    file: str
    tensors: dict[str, list[dict[str, Any]]]
    scales: list[float]
    hash: bytes | None
    unjoined: Sequence[Unjoined]


def _written(model: GraphSource, folder: Path, path: str, others: Mapping[bytes, str] | None) -> _Written:
    """Make a graph and write it, with its weights. others: what lies there, by its hash; None where nothing may."""
    with _weights_of(folder / path) as outside:
        graph = _loaded(model, outside)
        digest = None if others is None else _hash(graph, outside)
        file = (others or {}).get(digest or b"", path)
        unjoined: list[Unjoined] = []
        if file == path:
            unjoined = _write_checked(graph, folder / path, outside)
        else:
            outside.remove()
        return _Written(file, tensors_of(graph), _scales(graph), digest, unjoined)


def _scales(model: onnx.ModelProto) -> list[float]:
    """The scales of a decoder's cross-attentions whose queries it gives, in the order of its layers."""
    outputs = {value.name for value in model.graph.output}
    found = []
    for node in model.graph.node:
        if "CrossAttention" in node.op_type and node.input[0] in outputs:
            found += [attribute.f for attribute in node.attribute if attribute.name == "scale"]
    return found


def _unused(folder: Path, stem: str, taken: Collection[str] = ()) -> str:
    """A path for a graph. Another variant may still use the file that has the best name, or it may be the user's."""
    numbered = (f"{stem}_{number}.onnx" for number in itertools.count(2))
    paths = itertools.chain([f"{stem}.onnx"], numbered)

    def there(name: str) -> bool:
        return name in taken or os.path.lexists(folder / name)

    return next(path for path in paths if not there(path) and not there(f"{path}_data"))


def _hash(model: onnx.ModelProto, outside: WeightsFile) -> bytes:
    """Of a graph as it is written and its weights, wherever they lie. outside: the file with some of them."""
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:  # one by one: a whole model over 2 GiB cannot be serialized
        content = hashlib.sha256(outside.content(tensor) if is_outside(tensor) else tensor.raw_data).digest()
        about = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=content)
        digest.update(about.SerializeToString(deterministic=True))
    written = _bare(model)
    _drop_unread(written.graph)
    join_layers(written)
    digest.update(written.SerializeToString(deterministic=True))
    return digest.digest()


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its weights, which are not copied on the way."""
    bare = onnx.ModelProto()
    for whole, part in ((model, bare), (model.graph, bare.graph)):
        for field, value in whole.ListFields():
            if field.name in ("graph", "initializer"):
                continue
            if hasattr(value, "MergeFrom"):  # a message, or several of anything
                getattr(part, field.name).MergeFrom(value)
            else:
                setattr(part, field.name, value)
    return bare


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Leave out nodes that make what nobody reads: onnxruntime would run them at every step."""
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not read.isdisjoint(node.output):
            kept.append(node)
            read.update(_read_by(node))
            read.discard("")  # an input that is left out
    copies = onnx.GraphProto(node=reversed(kept))  # since nodes of the graph go with the list
    del graph.node[:]
    graph.node.extend(copies.node)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, those of its subgraphs too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _read_by(inner)


def _weights_of(path: Path) -> WeightsFile:
    """The file for the weights of the graph at path."""
    return WeightsFile(path.with_name(f"{path.name}_data"))


def save_graph(model: onnx.ModelProto, path: Path, outside: WeightsFile | None = None) -> list[Unjoined]:
    """Write one graph, decoder layers joined; where its weights are many, they are in a file beside it.

    Returns the layers that could not be joined. outside: that file with some of them. The graph given stays as it is,
    but for weights that are too few for a file and are taken back from it.
    """
    path.parent.mkdir(exist_ok=True)
    written = _bare(model)
    _drop_unread(written.graph)
    unjoined = join_layers(written)
    with outside or _weights_of(path) as weights:
        if weights.bytes + sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= EXTERNAL_OVER:
            weights.take_back(model.graph)
            written.graph.initializer.extend(model.graph.initializer)
        else:
            for tensor in model.graph.initializer:
                weights.add_tensor(written.graph, tensor)
    path.write_bytes(written.SerializeToString(deterministic=True))
    return unjoined


def load_graph(path: Path) -> onnx.ModelProto:
    """A graph that save_graph wrote, its weights with it, decoder layers split.

    Raises ExportError for layers that are not what their body says.
    """
    try:
        return split_layers(onnx.load(path))
    except (KeyError, ValueError) as error:
        raise ExportError(f"{path} has decoder layers that do not fit their body; export the model anew") from error
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path} is not an ONNX graph that can be read: {reason(error)}") from error


def _write_checked(model: onnx.ModelProto, path: Path, outside: WeightsFile) -> list[Unjoined]:
    unjoined = save_graph(model, path, outside)
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path.name} is not a valid ONNX graph: {str(error).splitlines()[0]}") from error
    return unjoined


def _loaded(model: GraphSource, outside: WeightsFile) -> onnx.ModelProto:
    if isinstance(model, Path):
        return load_graph(model)
    return model if isinstance(model, onnx.ModelProto) else model(outside)
