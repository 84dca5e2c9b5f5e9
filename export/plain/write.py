"""layouts(): the graphs of a folder once more, in layouts for other devices than the CPU. Needs onnx, and no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuseline.errors import ExportError, InputError, written
from fuseline.files.reading import DESCRIPTION
from fuseline.folders.description import CONTRIB, STANDARD, STATIC
from fuseline.folders.open import find, open_folder
from fuseline.folders.own import Folder, check_whole
from fuseline.folders.tensors import (
    BEAM_TABLE,
    INPUT_IDS,
    INPUT_VALUES,
    LENGTHS,
    LOGITS,
    MASK,
    PRESENT,
    SHARE,
    SOURCE_MASK,
    SOURCE_STARTS,
    STARTS,
    WEIGHTS,
)
from fuseline.graphs.encoder import positions_of_clip
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
from .clips import padded
from .contrib import contrib
from .operators import plain
from .types import cleaned, halves, narrow, with_sizes
from .writer import Fixed

FORMATS = ("fp32", "fp16", "int8")
MADE = (STANDARD, STATIC, CONTRIB)
_NEW = 12  # tokens of the texts that are compared
# Of a static graph, where nobody says: beams, tokens of a text that is read, and positions of a clip, which are 10 s.
_ROWS, _POSITIONS, _CLIP_POSITIONS = 4, 64, 417

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

    names: some of standard, static and contrib, in any case; variants: whose graphs (default: the default variant's);
    format: fp32, fp16, or int8, which is matrices in 8 bits and all else in float32; of a quantized variant it is what
    its codes stand for; rows, capacity, positions: of static graphs, beams of one input (default: 4, or the folder's
    num_beams if that is more), tokens of a text (default: the folder's max_length), and of a model that reads texts or
    samples of sound how many tokens or positions are read (default: 64 tokens, or 10 s, or what the model reads if that
    is less); out: another folder to write, which is a copy otherwise (default: the folder itself). What is written is
    tried on made-up inputs first. Files of layouts that are written anew need not be there. Raises ExportError for what
    has no such layout, with the reason, FolderError for the folder. The folder is complete or as it was.
    """
    names = layouts_of(names, MADE)
    if format not in FORMATS:
        raise ExportError(f"format is {format!r} and must be {' or '.join(FORMATS)}")
    source = find(recovered(folder))
    if not (source / DESCRIPTION).is_file():
        raise ExportError(f"{source} has no {DESCRIPTION}, since another tool made it; export the model with fuseline")
    if out is None:
        if reason := why_not_written(source):
            raise ExportError(f"{reason}, or name a folder for a copy: -o OUT")
        check_place(source)
    else:
        _check_copy(source, Path(out), names)
    with claimed(source if out is None else Path(out)) as place:
        opened = open_folder(source)
        chosen = [opened.default_variant] if variants is None else list(variants)
        check_whole(opened, anew=set(product(chosen, names)))
        tell = progress or (lambda *_: None)
        tell(0, 3, "reading the graphs")
        model = Model(opened)
        judges = judging(model, Examples(), Reading())[:1] if opened.sources else []
        inputs = _by_source(opened, judges[0]) if judges else {}
        fixed, room = _fixed(model, inputs, rows, capacity, positions) if STATIC in names else (None, {})
        judges = [_that_fit(opened, inputs, room)] if judges else []
        model.close()
        tell(1, 3, "making the layouts")
        made = {name: _made(opened.using(name), names, format, fixed, room, inputs) for name in chosen}
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
    complete = open_folder(place.path)
    nodes = {file: len(onnx.load(complete.path / file, load_external_data=False).graph.node) for file in files}
    return LayoutsReport(complete.path, {file: complete.bytes_of(file) for file in files}, agreement, nodes)


def layouts_of(names: Sequence[str], known: Collection[str]) -> list[str]:
    """The names as folders have them. Raises ExportError for what is not some of those known, each once."""
    found = [str(name).lower() for name in names]
    right = f"give some of {', '.join(known)}, each once"
    if not found:
        raise ExportError(f"no layout is named; {right}")
    for name, given in zip(found, names, strict=True):
        if not name:
            raise ExportError(f"an empty name is among the layouts; {right}")
        if name not in known:
            raise ExportError(f"there is no layout {written(given)}; {right}")
        if found.count(name) > 1:
            raise ExportError(f"the layout {name} is named twice; {right}")
    return found


def _check_copy(source: Path, out: Path, names: Sequence[str]) -> None:
    """Raises ExportError where no copy can be written to `out`: also for a fuseline folder, which layouts are added to
    by its own name."""
    check_out(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / DESCRIPTION).is_file():
        raise ExportError(f"{out} is an export via optimum already; name another folder with -o")
    if out.resolve() != source:
        adds = f"give that folder itself, `fuseline layouts {out} {','.join(names)}`"
        raise ExportError(f"{out} is a fuseline folder already; to add layouts to it {adds}, or name another with -o")
    if reason := why_not_written(source):
        raise ExportError(f"{reason}, or name another folder for a copy: -o OUT")
    raise ExportError(f"{out} is the model's own folder; leave -o out to add layouts to it, or name another with -o")


def _by_source(folder: Folder, inputs: Inputs) -> dict[str, Inputs]:
    return {folder.source.name: inputs} if len(folder.sources) == 1 else dict(inputs)


def _that_fit(folder: Folder, inputs: Mapping[str, Inputs], room: Mapping[str, int]) -> Inputs:
    """Inputs cut to so many tokens or samples, by source."""
    cut = {
        name: {each: array[:, : room[name]] for each, array in own.items()} if name in room else own
        for name, own in inputs.items()
    }
    return cut if len(folder.sources) > 1 else next(iter(cut.values()))


def _fixed(
    model: Model, inputs: Mapping[str, Inputs], rows: int | None, capacity: int | None, positions: int | None
) -> tuple[Fixed, dict[str, int]]:
    """The sizes of static graphs, and how many tokens or samples each source has that differs in length. inputs: some
    of the model's, by source. Raises ExportError, InputError."""
    given = {"rows": rows, "capacity": capacity, "positions": positions}
    for name, value in given.items():
        least = 2 if name == "capacity" else 1  # the start token and one more
        if value is not None and (type(value) is not int or value < least):
            raise InputError(f"{name} {value} must be a whole number of at least {least}")
    folder, own = model.folder, model.generation_config
    most = folder.decoder.max_positions
    capacity = min(capacity or own.max_length or most, most)
    room, sizes = dict[str, int](), list[int]()
    for (name, source), found in zip(folder.sources.items(), _positions(model, inputs), strict=True):
        longest = source.longest or sys.maxsize
        if INPUT_IDS in source.inputs:
            sizes.append(min(positions or _POSITIONS, longest))
            room[name] = sizes[-1]
        elif INPUT_VALUES in source.inputs:
            room[name] = min(positions or _CLIP_POSITIONS, longest) * (source.samples_a_position or 1)
            sizes.append(positions_of_clip(room[name]))
        else:
            sizes.append(found)
    starts = (0, *accumulate(sizes))
    return Fixed(rows or max(_ROWS, own.num_beams or 1), capacity, starts[-1], starts), room


def _positions(model: Model, inputs: Mapping[str, Inputs]) -> list[int]:
    """How many positions the first input has of each source."""
    if not inputs:
        return []
    first = {name: {each: array[:1] for each, array in own.items()} for name, own in inputs.items()}
    encoded = model.encode(first if len(first) > 1 else next(iter(first.values())))
    if encoded.starts is not None:
        return [int(size) for size in np.diff(encoded.starts)]
    return [int(next(iter(encoded.values.values())).shape()[1])]


def _made(
    folder: Folder,
    names: Sequence[str],
    format: str,
    fixed: Fixed | None,
    room: Mapping[str, int],
    inputs: Mapping[str, Inputs],
) -> dict[str, dict[str, GraphSource]]:
    """What makes the graphs of the variant in use, by layout and part."""
    several = len(folder.sources) > 1
    made: dict[str, dict[str, GraphSource]] = {}
    for layout in names:
        own = fixed if layout == STATIC else None
        parts: dict[str, GraphSource] = {DECODER: partial(_decoder, folder.decoder_path, layout, format, own)}
        for at, (name, path) in enumerate(folder.encoder_paths.items()):
            sized = None
            if own is not None:
                shapes = {each: (1, room.get(name, 0)) for each in folder.sources[name].inputs}
                if name not in room:
                    shapes = {each: (1, *array.shape[1:]) for each, array in inputs[name].items()}
                sized = shapes, own.starts[at + 1] - own.starts[at]
            parts[part_of(name) if several else ENCODER] = partial(_encoder, path, layout, format, sized)
        made[layout] = parts
    return made


def _decoder(path: Path, layout: str, format: str, fixed: Fixed | None, outside: WeightsFile) -> onnx.ModelProto:
    made = _in_operators(load_graph(path), layout, format, fixed)
    if fixed is None:
        return _finished(cleaned(made), format)
    made = _finished(cleaned(narrow(cleaned(static_decoder(made, fixed)))), format)
    if len(fixed.starts) > 2:
        helper.set_model_props(made, {SOURCE_STARTS: ",".join(map(str, fixed.starts))})
    return made


Sizes = tuple[Mapping[str, tuple[int, ...]], int]
"""of a static encoder: the shapes of its inputs by name, and how many positions it gives"""


def _encoder(path: Path, layout: str, format: str, sized: Sizes | None, outside: WeightsFile) -> onnx.ModelProto:
    model = load_graph(path)
    if sized is not None and INPUT_VALUES in sized[0]:
        model = padded(model)
    made = _in_operators(model, layout, format)
    if sized is None:
        return _finished(cleaned(made), format)
    return _finished(cleaned(narrow(cleaned(static_encoder(made, *sized)))), format)


def _in_operators(model: onnx.ModelProto, layout: str, format: str, fixed: Fixed | None = None) -> onnx.ModelProto:
    codes = format == "int8"
    if layout != CONTRIB:
        return plain(model, fixed, codes=codes)
    made = contrib(model, codes=codes, halves=format == "fp16")
    return with_sizes(made, lambda name, size: 1 if size == "T" else size)


def _finished(made: onnx.ModelProto, format: str) -> onnx.ModelProto:
    return halves(made) if format == "fp16" else made  # last: onnxruntime would clean it into float32


def static_decoder(model: onnx.ModelProto, fixed: Fixed) -> onnx.ModelProto:
    """The same with every size fixed, and a mask in the place of the beam table. Queries are not given."""
    sizes = {"R": fixed.rows, "T": 1, "N": fixed.rows, "C": fixed.capacity, "B": 1, "S": fixed.positions}
    made = with_sizes(model, lambda name, size: sizes.get(str(size), size))
    graph = made.graph
    read = {name for node in graph.node for name in node.input}
    if STARTS in read:
        graph.initializer.append(numpy_helper.from_array(np.array(fixed.starts, np.int64), STARTS))
    told = {BEAM_TABLE, STARTS, *({LENGTHS, WEIGHTS} - read)}
    inputs = [value for value in graph.input if value.name not in told]
    masks = {MASK: [fixed.rows, fixed.capacity * fixed.rows]}
    if SOURCE_MASK in read:
        masks[SOURCE_MASK] = [1, fixed.positions]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in masks.items()]
    outputs = [value for value in graph.output if value.name.startswith((LOGITS, PRESENT, SHARE.format("")))]
    del graph.input[:], graph.output[:]
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    return made


def static_encoder(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], positions: int) -> onnx.ModelProto:
    """The same for one input whose arrays have these shapes, by name, and which gives so many positions."""
    for value in model.graph.input:
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shapes[value.name]))
    return with_sizes(model, lambda name, size: {"B": 1, "S": positions}.get(str(size), size))


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
