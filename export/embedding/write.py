"""embed(): a folder's model as files that any onnxruntime runs: graphs, their weights, words, a description."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper

import fuseline
from fuseline.errors import ExportError
from fuseline.folders.own import Folder
from fuseline.folders.tensors import PHOTOGRAPH, SPEECH, TEXT
from fuseline.inputs.audio import SAMPLING_RATE, LogMel
from fuseline.inputs.open import PhotoInputs, SpeechInputs, TextInputs, inputs_of_source
from fuseline.kernels.bodies import DOMAIN
from fuseline.model import begins_by_itself

from ..graphs.weights_file import WeightsFile
from ..refusals import in_one_sentence
from ..writing.place import claimed
from .flat import flat
from .folding import Weights, folded
from .graphs import GIVEN, Model, start_graph, step_graph, whole_graph
from .hoisting import into_start, out_of_loops
from .limits import said_of
from .options import options_of
from .parts import Part
from .sources import Reader, check_sources
from .tidying import tidied
from .whisper import beginning_of
from .words import words_of

DESCRIPTION, FLAT, WEIGHTS, WORDS = "fuseline-embed.json", "fuseline-embed.bin", "weights.bin", "words.json"
WITH_BODIES = "weights-with-bodies.bin"  # weights as the operators' bodies read them, until all is inlined
FORMAT = 1
_ONE_CALL = {PHOTOGRAPH: "caption", SPEECH: "speech", TEXT: "text"}  # the graph of everything, by what is read first


@dataclass(frozen=True)
class EmbedReport:
    """What was written. files: bytes by name."""

    path: Path
    files: Mapping[str, int]


@in_one_sentence("embedded")
def embed(
    folder: str | Path, out: str | Path, *, variant: str | None = None, inline: bool = False, force: bool = False
) -> EmbedReport:
    """Write a folder's model as files for hosts without Python; docs/embedding.md says how they are called.

    folder: a fuseline folder, or the name of one, that reads a photo, a text, both, or speech; out: the folder to
    write; variant: which, else the folder's default; inline: in standard operators alone, where a runtime has no
    functions and our library never comes; force: whether an older embedding may be replaced. Raises
    ExportError for what cannot be embedded, with the reason, and FolderError.
    """
    out = Path(out)
    _check_out(out, force)
    with fuseline.Model.from_pretrained(folder, variant=variant) as opened:
        model = _model(opened)
        with claimed(out) as place, place.replaced() as new:
            _write(model, new, opened.folder, inline)
    return EmbedReport(out, {path.name: path.stat().st_size for path in sorted(out.iterdir())})


def _check_out(out: Path, force: bool) -> None:
    """Raises ExportError where something lies at `out` that is not to be replaced."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ExportError(f"{out} exists and is not a folder; name another folder to embed to")
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION).is_file():
        raise ExportError(f"{out} holds something else than an embedded model and is left as it is; name another")
    if not force and (out / DESCRIPTION).is_file():
        raise ExportError(f"{out} is an embedded model already; replace it with --force, or name another folder")


def _model(opened: Any) -> Model:
    """The folder of an open model, read as what its graphs are made of."""
    folder = opened.folder
    if not isinstance(folder, Folder):
        raise ExportError(f"{folder.path} is no fuseline folder; `fuseline export` makes one")
    check_sources(folder)
    config = opened.generation_config
    start = None if begins_by_itself(folder.config) else int(config.prompt(1).item())
    begin, beginning = config.prompt(1)[0].tolist(), None
    if isinstance(opened.inputs, SpeechInputs) and isinstance(opened.inputs.features, LogMel):
        begin, beginning = beginning_of(opened)
    options = options_of(config, folder.decoder, begin)
    if beginning is not None:  # no prompt is that of the language and the task
        options["decoder_input_ids"] = replace(options["decoder_input_ids"], default=np.zeros((1, 0), np.int64))
        options |= beginning.options
    readers = {name: _reader(opened, name) for name in folder.sources}
    decoder = Part.read("decoder", folder.decoder_path)
    words = words_of(opened.decode, opened.tokenizer, folder.decoder.vocab_size)
    return Model(folder, readers, decoder, options, config.pad_token_id, start, words, beginning)


def _reader(opened: Any, name: str) -> Reader:
    folder, config = opened.folder, opened.generation_config
    source, alone = folder.sources[name], len(folder.sources) == 1
    part = Part.read(f"{name}_encoder" if not alone else "encoder", folder.encoder_paths[name])
    inputs = opened.inputs if alone else inputs_of_source(folder, name)
    if isinstance(inputs, PhotoInputs):
        return Reader(source, part, processor=inputs.image_processor, alone=alone)
    if isinstance(inputs, SpeechInputs):
        return Reader(source, part, features=inputs.features)
    assert isinstance(inputs, TextInputs)  # since check_sources
    if not alone:
        return Reader(source, part, pad=inputs.tokenizer.pad_token_id, alone=False)
    # As transformers' generate makes a mask: a pad token that is an end token too is looked at.
    return Reader(source, part, pad=None if config.pad_token_id in config.ends else config.pad_token_id)


def _write(model: Model, new: Path, folder: Folder, inline: bool) -> None:
    reads = {each.reads for each in folder.sources.values()}
    one_call = next(name for kind, name in _ONE_CALL.items() if kind in reads)
    with WeightsFile(new / (WITH_BODIES if inline else WEIGHTS)) as outside:
        made = {
            "start": start_graph(model, outside),
            "step": step_graph(model, outside),
            one_call: whole_graph(model, outside),
        }
        if inline:
            with WeightsFile(new / WEIGHTS) as small:
                weights = Weights(small)
                made = {name: folded(_inlined(graph), outside, weights) for name, graph in made.items()}
            for graph in made.values():
                tidied(graph.graph)
                out_of_loops(graph.graph)
            into_start(made["start"].graph, made["step"], f"{GIVEN}.")
            outside.remove()
    for name, graph in made.items():
        (new / f"{name}.onnx").write_bytes(graph.SerializeToString())
    if model.words is not None:
        text = json.dumps(model.words.record(), ensure_ascii=False, separators=(",", ":"))
        (new / WORDS).write_text(text, encoding="utf-8")
    for name, file in _tokenizers(model, folder).items():
        (new / name).write_bytes(file.read_bytes())
    description = _description(model, folder, made)
    files = {path.name: _listed(path) for path in sorted(new.iterdir())}
    (new / DESCRIPTION).write_text(json.dumps(description | {"files": files}, indent=2) + "\n")
    # Which lists the description, and begins with what it must be itself: so fuseline.h holds all that it hands out.
    files[DESCRIPTION] = _listed(new / DESCRIPTION)
    texts = [reader.input for reader in model.readers.values() if reader.source.reads == TEXT]
    (new / FLAT).write_bytes(flat(description | {"files": files}, texts, model.options, model.words))


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with the bodies of our operators in their places, in graphs inside it too."""
    made = inliner.inline_local_functions(model)
    standard = [entry for entry in made.opset_import if entry.domain != DOMAIN]
    del made.opset_import[:]
    made.opset_import.extend(standard)
    return made


def _tokenizers(model: Model, folder: Folder) -> dict[str, Path]:
    """The tokenizers files of the texts that are read, by the names that they get."""
    found = {}
    for name, reader in model.readers.items():
        if reader.source.reads == TEXT:
            of_source = folder.of_source(name)
            found[f"{reader.input}_tokenizer.json"] = folder.path / of_source.tokenizer_file
    return found


def _listed(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "crc32": zlib.crc32(content), "sha256": hashlib.sha256(content).hexdigest()}


def _description(model: Model, folder: Folder, made: Mapping[str, onnx.ModelProto]) -> dict[str, Any]:
    """All that it says but what files there are."""
    graphs = {
        name: {"file": f"{name}.onnx", "inputs": _inputs(graph, model), "outputs": _tensors(graph.graph.output)}
        for name, graph in made.items()
    }
    without_text = "this tokenizer's texts are not words one after the other, so there is no output text"
    return {
        "format": FORMAT,
        "made_by": {"fuseline": fuseline.__version__},
        "task": folder.task,
        "variant": folder.variant,
        "graphs": graphs,
        "words": WORDS if model.words is not None else None,
        **({} if model.words is not None else {"remark": without_text}),
        **_of_speech(model),
        "license": folder.license,
    }


def _of_speech(model: Model) -> dict[str, Any]:
    """What a host must know of the samples, and the tokens of what it may say of them."""
    if all(reader.features is None for reader in model.readers.values()):
        return {}
    known: dict[str, Any] = {"sampling_rate": SAMPLING_RATE}
    if model.beginning is not None:
        known |= {"languages": dict(model.beginning.languages), "tasks": dict(model.beginning.tasks)}
    return {"speech": known}


def _inputs(graph: onnx.ModelProto, model: Model) -> list[dict[str, Any]]:
    """What a graph reads; what may be left out has a default, an option and what is read what it may be."""
    said = said_of(model.readers)
    found = _tensors(graph.graph.input)
    names = {each["name"] for each in found}
    defaults = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer if each.name in names}
    for each in found:
        if each["name"] in defaults:
            each["default"] = defaults[each["name"]].tolist()
        if each["name"] in model.options:
            each["limits"] = model.options[each["name"]].limits
        each.update(said.get(each["name"], {}))
    return found


def _tensors(values: Any) -> list[dict[str, Any]]:
    """Name, type and shape of inputs or outputs; without shape where several are good, or none is known."""
    found = []
    for value in values:
        tensor = value.type.tensor_type
        text = tensor.elem_type == TensorProto.STRING
        kind = "string" if text else helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        record: dict[str, Any] = {"name": value.name, "type": kind}
        if tensor.HasField("shape"):
            record["shape"] = [each.dim_param or each.dim_value for each in tensor.shape.dim]
        found.append(record)
    return found
