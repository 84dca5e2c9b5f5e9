"""Writes a fuseline folder: the Hugging Face files, every variant's graphs, fuseline.json as docs/design.md has it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper

from fuseline.errors import ExportError
from fuseline.files.reading import sha256_of
from fuseline.folders.description import DESCRIPTION
from fuseline.folders.open import AUTO, find, open_folder
from fuseline.folders.own import Folder
from fuseline.folders.tensors import QUERY, is_cross_attention, width_of
from fuseline.kernels.layers import join_layers, split_layers

from ..graphs.weights_file import WeightsFile, is_outside
from ..refusals import in_one_sentence, reason
from .place import Place, check_out, check_place, claimed, recovered, replace_file

FORMAT, TEXTS_FORMAT = 1, 2  # of models that read photos, and that read texts
# What each layer's cross_attention_query and key are multiplied by, in fuseline.json.
SCALES = "cross_attention_scales"
PARTS = ("encoder", "decoder")
# Sections of fuseline.json that say what was measured: by variant, and a list of evaluations on other data.
MEASURED, EVALUATIONS = ("quality", "agreement"), "evaluations"
_UNFINISHED = ".fuseline-new"  # what a killed process leaves of a file, see place.py
# Past this many bytes the weights go to a file beside the graph, which onnxruntime maps: GPT-2 of 124 M parameters
# takes 255 MB in int8 and 768 MB in fp32 once loaded, against 367 and 1,113 MB from one file (onnxruntime 1.32).
# Smaller models stay one file.
EXTERNAL_OVER = 64 * 2**20

# A graph, the file that holds it, or what makes it: large models are made when they are written, and not kept. Weights
# may go into the file given at once.
Model = onnx.ModelProto | Path | Callable[[WeightsFile], onnx.ModelProto]
Json = Mapping[str, Any] | Path  # a value to write, or a file to copy as it is


@in_one_sentence("written")
def write_folder(
    out: Path,
    *,
    config: Json,
    generation_config: Json,
    preprocessor_config: Json | None = None,
    tokenizer_json: str | Path,
    tokenizer_files: Mapping[str, str | Path] | None = None,
    reads: Mapping[str, Any] | None = None,
    decoder_info: Mapping[str, int],
    variants: Mapping[str, Mapping[str, Model]],
    default_variant: str,
    quality: Mapping[str, Any] | None = None,
    license: Mapping[str, str] | None = None,
    check: Callable[[Path], Mapping[str, Any]] | None = None,
) -> None:
    """Write the folder beside `out` and put it there in one step, so that `out` is complete or as it was.

    preprocessor_config: of a model that reads photos; tokenizer_json: the text itself, or the file that holds it, and
    tokenizer_files others beside it, by name; reads: of a model that reads texts, the "task" and the "sources" of
    fuseline.json; decoder_info: layers, heads, head_size, vocab_size and
    max_positions; variants: the "encoder" and "decoder" of each, graphs, files that hold them or what makes them;
    license: under which terms the model may be used, an SPDX "id" and the "terms" in words; check: is called with the
    complete folder before it takes its place, and what it returns becomes fuseline.json's "agreement"; where it raises,
    nothing is written. The same inputs give the same bytes.
    Raises ExportError if `out` exists and is not a fuseline folder, or if the graphs do not fit each other or
    decoder_info.
    """
    with claimed(Path(out)) as place:
        write_to(
            place,
            config=config,
            generation_config=generation_config,
            preprocessor_config=preprocessor_config,
            tokenizer_json=tokenizer_json,
            tokenizer_files=tokenizer_files,
            reads=reads,
            decoder_info=decoder_info,
            variants=variants,
            default_variant=default_variant,
            quality=quality,
            license=license,
            check=check,
        )


def write_to(
    place: Place,
    *,
    config: Json,
    generation_config: Json,
    preprocessor_config: Json | None = None,
    tokenizer_json: str | Path,
    tokenizer_files: Mapping[str, str | Path] | None = None,
    reads: Mapping[str, Any] | None = None,
    decoder_info: Mapping[str, int],
    variants: Mapping[str, Mapping[str, Model]],
    default_variant: str,
    quality: Mapping[str, Any] | None = None,
    license: Mapping[str, str] | None = None,
    check: Callable[[Path], Mapping[str, Any]] | None = None,
) -> None:
    """As write_folder, at a place that is claimed already."""
    check_out(place.path)
    _check_variants(variants, default_variant)
    texts = {
        "config.json": _text(config),
        "generation_config.json": _text(generation_config),
        "tokenizer.json": _text(tokenizer_json),
        **{name: _text(file) for name, file in (tokenizer_files or {}).items()},
    }
    if preprocessor_config is not None:
        texts["preprocessor_config.json"] = _text(preprocessor_config)
    with place.replaced() as folder:
        for name, text in texts.items():
            (folder / name).write_bytes(text)
        graphs, tensors, sizes = _write_graphs(folder, variants, decoder_info)
        about: dict[str, Any] = {
            "format": FORMAT if reads is None else TEXTS_FORMAT,
            **({} if reads is None else {"task": reads["task"], "sources": reads["sources"], "fusion": None}),
            "made_by": {package: _version(package) for package in ("fuseline", "onnxruntime")},
            **({"license": dict(license)} if license else {}),
            "decoder": sizes,
            "default_variant": default_variant,
            "variants": graphs,
            "files": _files(folder, _all_files(folder)),
            "tensors": tensors,
            "quality": dict(quality or {}),
        }
        (folder / DESCRIPTION).write_bytes(_text(about))
        if check is not None:
            about["agreement"] = dict(check(folder))
            (folder / DESCRIPTION).write_bytes(_text(about))


@in_one_sentence("given more variants")
def add_variants(
    folder: Path,
    variants: Mapping[str, Mapping[str, Model]],
    *,
    default_variant: str | None = None,
    check: Callable[[Path, dict[str, Any]], None] | None = None,
) -> None:
    """Write more variants into a fuseline folder that exists, or the same ones anew; it is complete or as it was.

    variants: as for write_folder. check: is called with the complete folder before it takes its place and with what its
    fuseline.json says, which it may add to; where it raises, nothing is written. default_variant: a new default
    (default: the old one). Graphs that no variant uses any more go, and what was measured of a variant whose graphs
    change. Everything else stays to the byte, files of others too.
    Raises ExportError if a graph has other inputs or outputs than those of the folder's variants, FolderError if the
    folder is not one or a file that it lists is damaged.
    """
    with claimed(find(recovered(folder))) as place:
        add_to(place, variants, default_variant=default_variant, check=check)


def add_to(
    place: Place,
    variants: Mapping[str, Mapping[str, Model]],
    *,
    default_variant: str | None = None,
    check: Callable[[Path, dict[str, Any]], None] | None = None,
) -> None:
    """As add_variants, at a place that is claimed already."""
    with prepared(place, variants, default_variant=default_variant) as new:
        if check is not None:
            check(new.path, new.about)
        new.put()


@dataclass(frozen=True)
class Prepared:
    """A folder with its new variants, complete and not yet in its place. about: what its fuseline.json says, which may
    be added to until `put`."""

    path: Path
    about: dict[str, Any]
    place: Place

    def put(self) -> None:
        """Let it take its place, which is as it was where that fails."""
        _describe(self.path, self.about, self.place.path)
        self.place.put(self.path)


@contextmanager
def prepared(
    place: Place, variants: Mapping[str, Mapping[str, Model]], *, default_variant: str | None = None
) -> Iterator[Prepared]:
    """As add_variants, but the folder takes its place only where `put` is called, and else goes at the end."""
    folder = place.path
    check_place(folder)
    opened = open_folder(folder, whole=True)  # what is listed anew below was compared with its hash before
    default = default_variant or opened.default_variant
    _check_variants(variants, default, others=opened.variants)
    with place.beside() as made:
        about = json.loads((folder / DESCRIPTION).read_bytes())
        before = {name: _hashes(about, name) for name in variants}
        for name in about["variants"].keys() & variants.keys():
            del about["variants"][name]
        kept = {file for parts in about["variants"].values() for file in parts.values()}
        gone = {file for file in _graph_files(opened) if file.removesuffix("_data") not in kept}
        _copy(folder, made, leave={*gone, DESCRIPTION})
        others = set(_all_files(made))
        written = {}
        for file in sorted(kept):
            graph = onnx.load(made / file, load_external_data=False)
            written[_hash(graph, _weights_of(made / file))] = file
        graphs, _, _ = _write_graphs(made, variants, about["decoder"], about["tensors"], written)
        listed = {name: facts for name, facts in about["files"].items() if name not in gone}
        listed |= _files(made, [name for name in _all_files(made) if name not in others])
        about["files"] = dict(sorted(listed.items()))
        about |= {"variants": about["variants"] | graphs, "default_variant": default}
        _forget(about, [name for name in variants if _hashes(about, name) != before[name]])
        _describe(made, about, folder)
        yield Prepared(made, about, place)


def _describe(made: Path, about: Mapping[str, Any], like: Path) -> None:
    """Write fuseline.json, with the permissions that it has in the folder `like`."""
    (made / DESCRIPTION).write_bytes(_text(about))
    os.chmod(made / DESCRIPTION, stat.S_IMODE((like / DESCRIPTION).stat().st_mode))


def update_description(folder: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Rewrite fuseline.json with what `change` makes of it, whole or not at all. Returns what was written.

    The hashes it lists are those of other files, so they stay right. Raises OSError if it cannot be written.
    """
    about: dict[str, Any] = json.loads((folder / DESCRIPTION).read_bytes())
    change(about)
    replace_file(folder / DESCRIPTION, _text(about))
    return about


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


def _write_graphs(
    folder: Path,
    variants: Mapping[str, Mapping[str, Model]],
    decoder_info: Mapping[str, Any],
    described: Mapping[str, Any] | None = None,
    written: Mapping[bytes, str] | None = None,
) -> tuple[dict[str, dict[str, str]], dict[str, Any], dict[str, Any]]:
    """Write each distinct graph once. Returns fuseline.json's variants (files by part), tensors and decoder.

    described: the tensors that the graphs must have (default: those of the first variant); written: what lies in the
    folder already, by its hash.
    """
    graphs: dict[str, dict[str, str]] = {}
    tensors: dict[str, Any] = dict(described or {})
    info = dict(decoder_info)
    written = dict(written or {})
    for variant, parts in variants.items():
        paths = {part: _unused(folder, f"onnx/{part}_model_{variant}") for part in PARTS}

        def write(part: str, parts: Mapping[str, Model] = parts, paths: Mapping[str, str] = paths) -> _Written:
            return _written(parts[part], folder, paths[part], written if written or len(variants) > 1 else None)

        with ThreadPoolExecutor(1) as beside:  # an encoder is mostly traced and a decoder mostly written
            decoder = beside.submit(write, "decoder")
            made = {"encoder": write("encoder"), "decoder": decoder.result()}
        for part, graph in made.items():
            if _alike(tensors.setdefault(part, graph.tensors)) != _alike(graph.tensors):
                other = "the folder's" if described else f"that of {next(iter(graphs))!r}"
                raise ExportError(f"the {part} of variant {variant!r} has other inputs or outputs than {other}")
            if graph.hash is not None:
                written[graph.hash] = graph.file
            graphs.setdefault(variant, {})[part] = graph.file
        info.setdefault(SCALES, made["decoder"].scales)
    _check_fit(tensors, info)
    return graphs, tensors, info


class _Written(NamedTuple):
    """What is to be known of a graph that was written. file: its path in the folder; hash: None where nobody asks."""

    file: str
    tensors: dict[str, list[dict[str, Any]]]
    scales: list[float]
    hash: bytes | None


def _written(model: Model, folder: Path, path: str, others: Mapping[bytes, str] | None) -> _Written:
    """Make a graph and write it, with its weights. others: what lies there, by its hash; None where nothing may."""
    with _weights_of(folder / path) as outside:
        graph = _loaded(model, outside)
        digest = None if others is None else _hash(graph, outside)
        file = (others or {}).get(digest or b"", path)
        if file == path:
            _write_checked(graph, folder / path, outside)
        else:
            outside.remove()
        return _Written(file, tensors_of(graph), _scales(graph), digest)


def _scales(model: onnx.ModelProto) -> list[float]:
    """The scales of a decoder's cross-attentions whose queries it gives, in the order of its layers."""
    outputs = {value.name for value in model.graph.output}
    found = []
    for node in model.graph.node:
        if node.op_type.endswith("CrossAttention") and node.input[0] in outputs:
            found += [attribute.f for attribute in node.attribute if attribute.name == "scale"]
    return found


def _unused(folder: Path, stem: str) -> str:
    """A path for a graph. Another variant may still use the file that has the best name, or it may be the user's."""
    numbered = (f"{stem}_{number}.onnx" for number in itertools.count(2))
    paths = itertools.chain([f"{stem}.onnx"], numbered)
    return next(p for p in paths if not any(os.path.lexists(folder / name) for name in (p, f"{p}_data")))


def _hash(model: onnx.ModelProto, outside: WeightsFile) -> bytes:
    """Of a graph as it is written and its weights, wherever they lie. outside: the file with some of them."""
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:  # one by one: a whole model over 2 GiB cannot be serialized
        content = hashlib.sha256(outside.content(tensor) if is_outside(tensor) else tensor.raw_data).digest()
        about = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=content)
        digest.update(about.SerializeToString(deterministic=True))
    written = _bare(model)
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


def _weights_of(path: Path) -> WeightsFile:
    """The file for the weights of the graph at path."""
    return WeightsFile(path.with_name(f"{path.name}_data"))


def save_graph(model: onnx.ModelProto, path: Path, outside: WeightsFile | None = None) -> None:
    """Write one graph, decoder layers joined; where its weights are many, they are in a file beside it.

    outside: that file with some of them. The graph given stays as it is, but for weights that are too few for a file
    and are taken back from it.
    """
    path.parent.mkdir(exist_ok=True)
    written = _bare(model)
    join_layers(written)
    with outside or _weights_of(path) as weights:
        if weights.bytes + sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= EXTERNAL_OVER:
            weights.take_back(model.graph)
            written.graph.initializer.extend(model.graph.initializer)
        else:
            for tensor in model.graph.initializer:
                weights.add_tensor(written.graph, tensor)
    path.write_bytes(written.SerializeToString(deterministic=True))


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


def _write_checked(model: onnx.ModelProto, path: Path, outside: WeightsFile) -> None:
    save_graph(model, path, outside)
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path.name} is not a valid ONNX graph: {str(error).splitlines()[0]}") from error


def _loaded(model: Model, outside: WeightsFile) -> onnx.ModelProto:
    if isinstance(model, Path):
        return load_graph(model)
    return model if isinstance(model, onnx.ModelProto) else model(outside)


def _graph_files(folder: Folder) -> set[str]:
    """The files of all variants, weights beside the graphs included, as fuseline.json lists them."""
    graphs = {file for variant in folder.variants.values() for file in (variant.encoder, variant.decoder)}
    return {file for file in folder.sizes if file in graphs or file.removesuffix("_data") in graphs}


def _copy(folder: Path, made: Path, leave: set[str]) -> None:
    """Everything in a folder but the files in `leave`, linked where the file system can, since graphs are large.

    So nothing in `made` may be written in place: a file that is there is the old folder's too.
    """

    def left(where: str, names: list[str]) -> set[str]:
        inside = Path(where).relative_to(folder)
        return {each for each in names if (inside / each).as_posix() in leave or each.endswith(_UNFINISHED)}

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if not stat.S_ISREG(os.lstat(source).st_mode):
                raise ExportError(f"{source} is no file that can be copied; move it out of the folder") from error
            shutil.copy2(source, target)

    try:
        shutil.copytree(folder, made, symlinks=True, ignore=left, copy_function=link, dirs_exist_ok=True)
    except shutil.Error as error:
        source, _, why = error.args[0][0]
        raise ExportError(f"{source} cannot be copied: {why}") from error


def _files(folder: Path, names: Collection[str]) -> dict[str, dict[str, int | str]]:
    """Size and hash of files in the folder, by their paths with forward slashes, sorted."""
    with ThreadPoolExecutor(2) as pool:
        hashes = dict(zip(names, pool.map(lambda name: sha256_of(folder / name), names), strict=True))
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": hashes[name]} for name in sorted(hashes)}


def _all_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _forget(about: dict[str, Any], variants: Collection[str]) -> None:
    """Take out what was measured of variants whose graphs are others now."""
    sections = [about.get(name) for name in MEASURED]
    others = about.get(EVALUATIONS)
    for each in others if isinstance(others, list) else []:
        sections.append(each.get("variants") if isinstance(each, dict) else None)
    for section in sections:
        for name in variants:
            if isinstance(section, dict):
                section.pop(name, None)


def _hashes(about: Mapping[str, Any], variant: str) -> list[Any]:
    """Of a variant's graphs and the weights beside them, as fuseline.json has them."""
    graphs = about["variants"].get(variant, {}).values()
    return [about["files"].get(name) for graph in graphs for name in (graph, f"{graph}_data")]


def _check_variants(
    variants: Mapping[str, Mapping[str, Model]], default_variant: str, others: Collection[str] = ()
) -> None:
    if default_variant not in {*variants, *others}:
        known = ", ".join([*others, *variants])
        raise ExportError(f"the default variant {default_variant!r} is not among the variants {known}")
    for variant, parts in variants.items():
        if not re.fullmatch(r"[a-z0-9_]+", variant) or variant == AUTO:
            raise ExportError(
                f"a variant cannot be called {variant!r}: use lower case letters, digits and underscores, not {AUTO}"
            )
        if set(parts) != set(PARTS):
            raise ExportError(f"variant {variant!r} has {', '.join(sorted(parts))} and must have {' and '.join(PARTS)}")


def check_schemes(variants: Sequence[str], known: Collection[str]) -> None:
    """Raises ExportError where the variants that are to be made are not some of those known, each once."""
    if not variants or not set(variants) <= set(known) or len(set(variants)) < len(variants):
        given = ", ".join(str(name) or "an empty name" for name in variants) or "none"
        raise ExportError(f"variants are {given} and must be some of {', '.join(known)}, each once")


def _check_fit(tensors: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    """Raises one ExportError with all in which the graphs differ from each other or from decoder_info."""
    wanted = {"layers", "heads", "head_size", "vocab_size", "max_positions"}
    given = info.keys() - {SCALES}
    if given != wanted:
        raise ExportError(f"decoder_info has {', '.join(sorted(given))} and must have {', '.join(sorted(wanted))}")
    outputs = {tensor["name"]: tensor["shape"] for tensor in tensors["decoder"]["outputs"]}
    cross = {tensor["name"] for tensor in tensors["decoder"]["inputs"] if is_cross_attention(tensor["name"])}
    made = {tensor["name"] for tensor in tensors["encoder"]["outputs"]}
    problems = [f"the encoder makes no {name}" for name in sorted(cross - made)]
    problems += [f"the decoder does not read {name}" for name in sorted(made - cross)]
    expected: dict[str, list[int | str]] = {"logits": ["R", info["vocab_size"]]}
    for layer in range(info["layers"]):
        for part in ("key", "value"):
            expected[f"present.{layer}.decoder.{part}"] = ["C", "R", info["heads"] * info["head_size"]]
    for layer in range(len(info[SCALES])):
        expected[QUERY.format(layer)] = ["N", info["heads"] * info["head_size"]]
    for name in sorted(expected | outputs):
        if expected.get(name) != outputs.get(name):
            problems.append(f"the decoder's {name} is {outputs.get(name)} and must be {expected.get(name)}")
    if problems:
        raise ExportError(f"the graphs do not fit together: {'; '.join(problems)}")


def _text(source: Mapping[str, Any] | str | Path) -> bytes:
    if isinstance(source, Path):
        return source.read_bytes()
    if isinstance(source, str):
        return source.encode()
    return (json.dumps(source, indent=2, ensure_ascii=False) + "\n").encode()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a source tree, or on a machine that only exports
