"""Writes a fuseline folder: the Hugging Face files, every variant's graphs, fuseline.json as docs/design.md has it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from onnx import helper

from fuseline.errors import ExportError
from fuseline.files import sha256_of
from fuseline.folder import AUTO, QUERY, Folder, crossing, width_of
from fuseline.kernels.layers import join_layers, split_layers

from .weights_file import WeightsFile, is_outside

FORMAT = 1
# What each layer's cross_attention_query and key are multiplied by, in fuseline.json.
SCALES = "cross_attention_scales"
PARTS = ("encoder", "decoder")
# Past this many bytes the weights go to a file beside the graph, which onnxruntime maps: GPT-2 of 124 M parameters
# takes 255 MB in int8 and 768 MB in fp32 once loaded, against 367 and 1,113 MB from one file (onnxruntime 1.32).
# Smaller models stay one file.
EXTERNAL_OVER = 64 * 2**20

# A graph, the file that holds it, or what makes it: large models are made when they are written, and not kept. Weights
# may go into the file given at once.
Model = onnx.ModelProto | Path | Callable[[WeightsFile], onnx.ModelProto]
Json = Mapping[str, Any] | Path  # a value to write, or a file to copy as it is


def write_folder(
    out: Path,
    *,
    config: Json,
    generation_config: Json,
    preprocessor_config: Json,
    tokenizer_json: str | Path,
    decoder_info: Mapping[str, int],
    variants: Mapping[str, Mapping[str, Model]],
    default_variant: str,
    quality: Mapping[str, Any] | None = None,
    check: Callable[[Path], Mapping[str, Any]] | None = None,
) -> None:
    """Write the folder beside `out` and rename it there, so that `out` is complete or as it was.

    tokenizer_json: the text itself, or the file that holds it; decoder_info: layers, heads, head_size, vocab_size and
    max_positions; variants: the "encoder" and "decoder" of each, graphs, files that hold them or what makes them;
    check: is called with the complete folder before it takes its place, and what it returns becomes fuseline.json's
    "agreement"; where it raises, nothing is written. The same inputs give the same bytes.
    Raises ExportError if `out` exists and is not a fuseline folder, or if the graphs do not fit each other or
    decoder_info.
    """
    check_out(out)
    _check_variants(variants, default_variant)
    texts = {
        "config.json": _text(config),
        "generation_config.json": _text(generation_config),
        "preprocessor_config.json": _text(preprocessor_config),
        "tokenizer.json": _text(tokenizer_json),
    }
    with _replacing(out) as folder:
        for name, text in texts.items():
            (folder / name).write_bytes(text)
        graphs, tensors, sizes = _write_graphs(folder, variants, decoder_info)
        about: dict[str, Any] = {
            "format": FORMAT,
            "made_by": {package: _version(package) for package in ("fuseline", "onnxruntime")},
            "decoder": sizes,
            "default_variant": default_variant,
            "variants": graphs,
            "files": _files(folder),
            "tensors": tensors,
            "quality": dict(quality or {}),
        }
        (folder / "fuseline.json").write_bytes(_text(about))
        if check is not None:
            about["agreement"] = dict(check(folder))
            (folder / "fuseline.json").write_bytes(_text(about))


def add_variants(
    folder: Path,
    variants: Mapping[str, Mapping[str, Model]],
    *,
    default_variant: str | None = None,
    check: Callable[[Path], Mapping[str, Mapping[str, Any]]] | None = None,
) -> None:
    """Write more variants into a fuseline folder that exists, or the same ones anew; it is complete or as it was.

    variants, check: as for write_folder, but check returns sections of fuseline.json ("quality", "agreement") by
    variant, which are added to those that are there. default_variant: a new default (default: the old one). Files that
    no variant uses any more go; everything else stays to the byte.
    Raises ExportError if a graph has other inputs or outputs than those of the folder's variants, FolderError if the
    folder is not one or is damaged.
    """
    opened = Folder.open(folder, whole=True)
    default = default_variant or opened.default_variant
    _check_variants(variants, default, others=opened.variants)
    folder = opened.path
    with _replacing(folder) as made:
        about = json.loads((folder / "fuseline.json").read_bytes())
        for name in about["variants"].keys() & variants.keys():
            del about["variants"][name]
        kept = {file for parts in about["variants"].values() for file in parts.values()}
        _copy(folder, made, leave={file for file in _graph_files(opened) if file.removesuffix("_data") not in kept})
        written = {}
        for file in sorted(kept):
            graph = onnx.load(made / file, load_external_data=False)
            written[_hash(graph, _weights_of(made / file))] = file
        graphs, _, _ = _write_graphs(made, variants, about["decoder"], about["tensors"], written)
        about |= {"variants": about["variants"] | graphs, "default_variant": default, "files": _files(made, about)}
        (made / "fuseline.json").write_bytes(_text(about))
        for section, found in (check(made) if check is not None else {}).items():
            about[section] = about.get(section, {}) | dict(found)
        (made / "fuseline.json").write_bytes(_text(about))


def update_description(folder: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Rewrite fuseline.json with what `change` makes of it, whole or not at all. Returns what was written.

    The hashes it lists are those of other files, so they stay right. Raises OSError if it cannot be written.
    """
    about: dict[str, Any] = json.loads((folder / "fuseline.json").read_bytes())
    change(about)
    replace_file(folder / "fuseline.json", _text(about))
    return about


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it there. Raises OSError if that cannot be done."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.chmod(file.name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


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
            {"name": each["name"], "width": width_of(each["shape"])} if crossing(each["name"]) else dict(each)
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
    """A path for a graph. Another variant may still use the file that has the best name."""
    numbered = (f"{stem}_{number}.onnx" for number in itertools.count(2))
    return next(path for path in itertools.chain([f"{stem}.onnx"], numbered) if not (folder / path).exists())


def _hash(model: onnx.ModelProto, outside: WeightsFile) -> bytes:
    """Of a graph as it is written and its weights, wherever they lie. outside: the file with some of them."""
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:  # one by one: a whole model over 2 GiB cannot be serialized
        content = hashlib.sha256(outside.content(tensor) if is_outside(tensor) else tensor.raw_data).digest()
        about = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=content)
        digest.update(about.SerializeToString(deterministic=True))
    digest.update(join_layers(_bare(model)).SerializeToString(deterministic=True))
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
    written = join_layers(_bare(model))
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
    """Everything in a folder but the files in `leave`, linked where the file system can, since graphs are large."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        name = path.relative_to(folder).as_posix()
        if name in leave or name == "fuseline.json":
            continue
        target = made / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copy2(path, target)


def _files(folder: Path, about: Mapping[str, Any] | None = None) -> dict[str, dict[str, int | str]]:
    """Size and hash of every file in the folder, by its path with forward slashes.

    about: fuseline.json as it was, of which files that are nobody's (a model card) stay unlisted.
    """
    files: dict[str, dict[str, int | str]] = {}
    listed = sorted(path for path in folder.rglob("*") if path.is_file())
    if about is not None:
        listed = [p for p in listed if p.relative_to(folder).as_posix() in about["files"] or p.parent.name == "onnx"]
    with ThreadPoolExecutor(2) as pool:
        for path, sha256 in zip(listed, pool.map(sha256_of, listed), strict=True):
            files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256}
    return files


def check_out(out: Path, *, replace: bool = True) -> None:
    """Raises ExportError if a folder cannot be written to `out`, or something is there that is not to be replaced.

    replace: whether a fuseline folder may be; anything else never is.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ExportError(f"{out} exists and is not a folder; name another folder to export to")
    if out.is_dir() and any(out.iterdir()) and not (out / "fuseline.json").is_file():
        raise ExportError(
            f"{out} holds something else than a fuseline folder and is left as it is; name another folder"
        )
    if out.is_dir() and any(out.iterdir()) and not replace:
        raise ExportError(f"{out} is a fuseline folder already; replace it with --force, or name another folder")
    if not out.parent.is_dir():
        raise ExportError(f"there is no folder {out.parent} to write {out.name} in; make it first")


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


def _check_fit(tensors: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    """Raises one ExportError with all in which the graphs differ from each other or from decoder_info."""
    wanted = {"layers", "heads", "head_size", "vocab_size", "max_positions"}
    given = info.keys() - {SCALES}
    if given != wanted:
        raise ExportError(f"decoder_info has {', '.join(sorted(given))} and must have {', '.join(sorted(wanted))}")
    outputs = {tensor["name"]: tensor["shape"] for tensor in tensors["decoder"]["outputs"]}
    cross = {tensor["name"] for tensor in tensors["decoder"]["inputs"] if crossing(tensor["name"])}
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


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place at the end; nothing of it is left if something fails before."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        folder, old = Path(scratch) / "new", Path(scratch) / "old"
        folder.mkdir()
        yield folder
        if out.is_dir():
            os.rename(out, old)
        try:
            os.rename(folder, out)
        except OSError:
            if old.is_dir():
                os.rename(old, out)
            raise
