"""layouts(): the graphs of a folder once more, in layouts for other devices than the CPU. Needs onnx, and no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from fuseline.errors import ExportError, InputError
from fuseline.folders.description import STANDARD, STATIC
from fuseline.folders.open import find, open_folder
from fuseline.folders.own import Folder
from fuseline.folders.tensors import BEAM_TABLE, INPUT_IDS, INPUT_VALUES, LENGTHS, LOGITS, MASK, PRESENT, SOURCE_MASK
from fuseline.model import Model

from ..graphs.weights_file import WeightsFile
from ..quality.reading import Inputs, Reading
from ..quality.record import why_not_written
from ..quantizing.examples import Examples, judging
from ..refusals import in_one_sentence
from ..writing.folder import add_layouts
from ..writing.graphs import GraphSource, load_graph
from ..writing.parts import DECODER, ENCODER, part_of
from ..writing.place import check_out, check_place, claimed, recovered
from .operators import plain
from .types import cleaned, halves, narrow, with_sizes
from .writer import Fixed

FORMATS = ("fp32", "fp16", "int8")
MADE = (STANDARD, STATIC)
_NEW = 12  # tokens of the texts that are compared
_ROWS, _POSITIONS = 4, 64  # of a static graph, where nobody says: beams, and tokens of a text that is read

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class LayoutsReport:
    """What was written. agreement: by variant and layout, the share of texts of made-up inputs that are those of the
    fused layout, greedy and of four beams; nodes: of each new graph by its file."""

    path: Path
    files: Mapping[str, int]
    agreement: Mapping[str, Mapping[str, float]]
    nodes: Mapping[str, int]

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "path": str(self.path)}


@in_one_sentence("written in other layouts")
def layouts(
    folder: str | Path,
    names: Sequence[str] = (STANDARD,),
    *,
    variants: Sequence[str] | None = None,
    format: str = "fp32",
    rows: int | None = None,
    capacity: int | None = None,
    positions: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> LayoutsReport:
    """Write a folder's variants in more layouts, beside the fused one.

    names: some of standard and static; variants: whose graphs (default: the default variant's); format: fp32, fp16, or
    int8, which is matrices in 8 bits and all else in float32; of a quantized variant it is what its codes stand for;
    rows, capacity, positions: of static graphs, beams of one input (default: 4, or the folder's num_beams if that is
    more), tokens of a text (default: the folder's max_length), and of a model that reads texts tokens of what is read
    (default: 64, or what the model reads if that is
    less); out: another folder to write, which is a copy otherwise (default: the folder itself). What is written is
    tried on made-up inputs first. Raises ExportError for what has no such layout, with the reason, FolderError for the
    folder. The folder is complete or as it was.
    """
    if not names or not set(names) <= set(MADE) or len(set(names)) < len(names):
        raise ExportError(f"layouts are {', '.join(map(str, names)) or 'none'} and must be some of {', '.join(MADE)}")
    if format not in FORMATS:
        raise ExportError(f"format is {format!r} and must be {' or '.join(FORMATS)}")
    source = find(recovered(folder))
    if out is None:
        if reason := why_not_written(source):
            raise ExportError(f"{reason}, or name a folder for a copy: -o OUT")
        check_place(source)
    else:
        check_out(Path(out), replace=False)
    with claimed(source if out is None else Path(out)) as place:
        opened = open_folder(source, whole=True)
        chosen = [opened.default_variant] if variants is None else list(variants)
        tell = progress or (lambda *_: None)
        tell(0, 3, "reading the graphs")
        model = Model(opened)
        judges = judging(model, Examples(), Reading())[:1] if opened.sources else []
        inputs: Inputs = judges[0] if judges else {}
        fixed = _fixed(model, inputs, rows, capacity, positions) if STATIC in names else None
        model.close()
        tell(1, 3, "making the layouts")
        made = {name: _made(opened.using(name), names, format, fixed, inputs) for name in chosen}
        agreement: dict[str, dict[str, float]] = {}

        def tried(new: Path) -> None:
            tell(2, 3, "comparing with the fused layout")
            now = open_folder(new)
            agreement.update({name: _agreement(now.using(name), names, judges, fixed) for name in chosen})
            nothing = [name for name, found in agreement.items() if not all(found.values())]
            if nothing:
                raise ExportError(f"the layouts of {', '.join(nothing)} say other texts than the fused one throughout")

        files = add_layouts(source, place, made, check=tried)
        tell(3, 3, "done")
    written = open_folder(place.path)
    nodes = {file: len(onnx.load(written.path / file, load_external_data=False).graph.node) for file in files}
    return LayoutsReport(written.path, {file: written.bytes_of(file) for file in files}, agreement, nodes)


def _fixed(model: Model, inputs: Inputs, rows: int | None, capacity: int | None, positions: int | None) -> Fixed:
    """The sizes of static graphs. inputs: some of the model's. Raises ExportError, InputError."""
    given = {"rows": rows, "capacity": capacity, "positions": positions}
    for name, value in given.items():
        least = 2 if name == "capacity" else 1  # the start token and one more
        if value is not None and (type(value) is not int or value < least):
            raise InputError(f"{name} {value} must be a whole number of at least {least}")
    folder, own = model.folder, model.generation_config
    if len(folder.sources) > 1 or INPUT_VALUES in inputs:
        what = "samples of any length" if INPUT_VALUES in inputs else "several sources"
        raise ExportError(f"{folder.path} reads {what}, which a static layout has no form for; leave it out")
    most = folder.decoder.max_positions
    capacity = min(capacity or own.max_length or most, most)
    if INPUT_IDS in inputs:
        positions = min(positions or _POSITIONS, folder.source.longest or positions or _POSITIONS)
    elif folder.sources:
        positions = next(iter(model.encode(inputs).values.values())).shape()[1]
    return Fixed(rows or max(_ROWS, own.num_beams or 1), capacity, positions or 0)


def _made(
    folder: Folder, names: Sequence[str], format: str, fixed: Fixed | None, inputs: Inputs
) -> dict[str, dict[str, GraphSource]]:
    """What makes the graphs of the variant in use, by layout and part."""
    several = len(folder.sources) > 1
    files = {part_of(name) if several else ENCODER: path for name, path in folder.encoder_paths.items()}
    files[DECODER] = folder.decoder_path
    return {
        layout: {
            part: partial(_graph, path, format, fixed if layout == STATIC else None, part == DECODER, inputs)
            for part, path in files.items()
        }
        for layout in names
    }


def _graph(
    path: Path, format: str, fixed: Fixed | None, decodes: bool, inputs: Inputs, outside: WeightsFile
) -> onnx.ModelProto:
    made = plain(load_graph(path), fixed if decodes else None, codes=format == "int8")
    if fixed is not None:
        made = static_decoder(made, fixed) if decodes else static_encoder(made, fixed, inputs)
    made = cleaned(made)
    if fixed is not None:
        made = cleaned(narrow(made))
    return halves(made) if format == "fp16" else made  # last: onnxruntime would clean it into float32


def static_decoder(model: onnx.ModelProto, fixed: Fixed) -> onnx.ModelProto:
    """The same with every size fixed, and a mask in the place of the beam table. Queries are not given."""
    sizes = {"R": fixed.rows, "T": 1, "C": fixed.capacity, "B": 1, "S": fixed.positions}
    made = with_sizes(model, lambda name, size: sizes.get(str(size), size))
    graph = made.graph
    padded = any(value.name == LENGTHS for value in graph.input)
    inputs = [value for value in graph.input if value.name not in (BEAM_TABLE, LENGTHS)]
    masks = {MASK: [fixed.rows, fixed.capacity * fixed.rows], **({SOURCE_MASK: [1, fixed.positions]} if padded else {})}
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in masks.items()]
    outputs = [value for value in graph.output if value.name == LOGITS or value.name.startswith(PRESENT)]
    del graph.input[:], graph.output[:]
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    return made


def static_encoder(model: onnx.ModelProto, fixed: Fixed, inputs: Inputs) -> onnx.ModelProto:
    """The same for one input of that size; of texts for one that is filled up to it."""
    shapes = {name: array.shape for name, array in inputs.items()}
    for value in model.graph.input:
        shape = (1, fixed.positions) if INPUT_IDS in shapes else (1, *shapes[value.name][1:])
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape))
    return with_sizes(model, lambda name, size: {"B": 1, "S": fixed.positions}.get(str(size), size))


def _agreement(folder: Folder, names: Sequence[str], judges: Sequence[Any], fixed: Fixed | None) -> dict[str, float]:
    """By layout: the share of texts that the fused graphs say too, as far as static ones have room."""
    beams, new = (4, _NEW) if fixed is None else (min(4, fixed.rows), min(_NEW, fixed.capacity - 1))
    expected = _texts(Model(folder), judges, beams, new)
    found = {name: _texts(Model(folder.using(folder.variant, name)), judges, beams, new) for name in names}
    return {
        name: sum(map(tuple.__eq__, expected, texts)) / max(len(expected), 1)  # those of one beam and of four
        for name, texts in found.items()
    }


def _texts(model: Model, judges: Sequence[Any], most_beams: int, new: int) -> list[tuple[int, ...]]:
    with model:
        return [
            tuple(row)
            for inputs in judges or [None]
            for beams in (1, most_beams)
            for row in model.generate(inputs, num_beams=beams, max_new_tokens=new).sequences.tolist()
        ]
