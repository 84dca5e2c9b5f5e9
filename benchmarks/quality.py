"""What each variant of a captioner costs, on photos with captions: `python -m benchmarks quality`.

It makes docs/results/quality.md. Every row is a variant of one folder, of a captioner that reads a photo and nothing
else, and the variants take turns photo by photo: scores, their differences to the floats with intervals, size, and
time. onnxruntime's own schemes stand beside ours, made of the same floats.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from fuseline import Model
from fuseline.export import Evaluation, add_variants
from fuseline.export.checkpoints.generated import generated_photos
from fuseline.export.graphs.recode import recode
from fuseline.export.plain.operators import plain
from fuseline.export.quality.agreement import NextTokens, next_tokens
from fuseline.export.quality.bootstrap import signed
from fuseline.export.quantizing.graphs import FloatGraphs
from fuseline.export.writing.folder import write_folder
from fuseline.export.writing.graphs import load_graph
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder

from . import plots
from .errors import BenchmarkError

Progress = Callable[[int, int, str], None]
Graphs = Mapping[str, onnx.ModelProto]
CALIBRATION = 128
# The row's name in the folder, and what stands in the table.
ROWS = {
    "fp32": "fp32",
    "fp16": "fp16",
    "int8": "int8",
    "int8_static": "int8, convolutions too (static QDQ)",
    "int4": "int4, rounded by 128 photos (GPTQ)",
    "int4_nearest": "int4, rounded each by itself",
    "ort_int8": "onnxruntime quantize_dynamic, int8",
    "ort_int4": "onnxruntime MatMulNBits, int4",
}


def all_variants(source: Path, out: Path, photos: Sequence[Path], progress: Progress) -> None:
    """Write the folder `out` with every row of the table, made of the floats of `source`.

    photos: to calibrate with. A folder of codes alone gives the floats that its codes stand for. Raises BenchmarkError
    for a model with several sources.
    """
    opened = open_folder(source)
    _files(opened, opened.default_variant)  # refuses what the table cannot be of before anything is removed
    shutil.rmtree(out, ignore_errors=True)
    if "fp32" in opened.variants:
        shutil.copytree(source, out)
    else:
        _write_floats(opened, out)
    opened = open_folder(out)
    model = Model(opened.using("fp32"))
    alone = FloatGraphs(opened, model, "fp32", [], progress)
    seen = FloatGraphs(opened, model, "fp32", photos, progress)
    made: dict[str, Graphs] = {"fp16": alone.variant("fp16").graphs, "int8": alone.variant("int8").graphs}
    made["int8_static"] = seen.variant("int8", static=True).graphs
    made["int4"], made["int4_nearest"] = seen.variant("int4").graphs, alone.variant("int4").graphs
    parts = {part: plain(load_graph(out / file)) for part, file in _files(opened, "fp32").items()}
    made["ort_int8"] = {part: quantized_by_onnxruntime(graph) for part, graph in parts.items()}
    made["ort_int4"] = {part: _quantize_nbits(graph) for part, graph in parts.items()}
    add_variants(out, made, default_variant="fp32")


def _files(folder: Folder, variant: str) -> dict[str, str]:
    """The paths of a variant's graphs, of a model with one source. Raises BenchmarkError for another."""
    files = folder.variants[variant]
    if len(files.encoders) != 1:
        sources = ", ".join(files.encoders) or "none"
        raise BenchmarkError(
            f"{folder.path} has the sources {sources}; the table is of captioners with one, so name such a folder"
        )
    return {"encoder": files.encoder, "decoder": files.decoder}


def _write_floats(folder: Folder, out: Path) -> None:
    """The folder with fp32 alone, of what the codes of its default variant stand for."""
    files = _files(folder, folder.default_variant)
    graphs = {part: recode(load_graph(folder.path / file), "fp32", anew=True) for part, file in files.items()}
    graphs["encoder"] = _unfolded(graphs["encoder"])
    write_folder(
        out,
        config=folder.path / "config.json",
        generation_config=folder.path / "generation_config.json",
        preprocessor_config=folder.path / "preprocessor_config.json",
        tokenizer_json=folder.path / "tokenizer.json",
        decoder_info=asdict(folder.decoder),
        variants={"fp32": graphs},
        default_variant="fp32",
    )


def _unfolded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convolutions whose weights are codes times scales, with the products in their place."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    gone = []
    for node in model.graph.node:
        product = made_by.get(node.input[1]) if node.op_type == "Conv" else None
        if product is None or product.op_type != "Mul":
            continue
        cast = made_by[product.input[0]]
        codes, scale = (numpy_helper.to_array(constants[name]) for name in (cast.input[0], product.input[1]))
        name = f"{cast.input[0].removesuffix('_int8')}_fp32"
        model.graph.initializer.append(numpy_helper.from_array(codes.astype(np.float32) * scale, name))
        node.input[1] = name
        gone += [cast, product]
        for constant in (cast.input[0], product.input[1]):
            model.graph.initializer.remove(constants[constant])
    for node in gone:
        model.graph.node.remove(node)
    return model


def quantized_by_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnxruntime's dynamic scheme, at its best: a scale for every output, and unsigned weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    return _through_files(
        model,
        lambda source, out: quantize_dynamic(
            source, out, per_channel=True, weight_type=QuantType.QUInt8, op_types_to_quantize=["MatMul", "Gather"]
        ),
    )


def _quantize_nbits(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnxruntime's 4 bits in blocks of 32 with their own zero points, its kernels computing in 8 bits."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(model, block_size=32, is_symmetric=False, accuracy_level=4)
    quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made


def _through_files(model: onnx.ModelProto, quantize: Callable[[Path, Path], None]) -> onnx.ModelProto:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "float.onnx", Path(scratch) / "out.onnx"
        onnx.save(model, source)
        quantize(source, out)
        return onnx.load(out)


def agreement(folder: Path, photos: int) -> dict[str, tuple[NextTokens, int]]:
    """Of an exported folder's variants: agreement with its fp32 on generated photos, and the bytes of its graphs."""
    opened = open_folder(folder)
    base = Model(open_folder(folder, "fp32"))
    batches = [base.inputs([photo]) for photo in generated_photos(photos)]
    agreed = next_tokens(base, [Model(open_folder(folder, name)) for name in opened.variants], batches)
    parts = {name: (files.encoder, files.decoder) for name, files in opened.variants.items()}
    sizes = [sum(opened.bytes_of(file) for file in files) for files in parts.values()]
    return dict(zip(parts, zip(agreed, sizes, strict=True), strict=True))


def hashes(folder: Path) -> dict[str, list[str]]:
    """sha256 of the encoder's and the decoder's graph of every variant."""
    opened = open_folder(folder)
    return {name: [opened.hashes[file] for file in _files(opened, name).values()] for name in opened.variants}


@dataclass(frozen=True)
class Page:
    """What quality.md says. hashes: of every variant's graphs; large: what agreement found of a full-size model;
    captioner: what it is called; note: about the floats.
    """

    evaluation: Evaluation
    hashes: Mapping[str, Sequence[str]]
    large: Mapping[str, tuple[NextTokens, int]]
    machine: str
    captioner: str
    note: str

    def write(self, folder: Path) -> Path:
        """The page and its picture. Returns the page's path."""
        folder.mkdir(parents=True, exist_ok=True)
        _picture(self.evaluation, folder / "quality.svg")
        page = folder / "quality.md"
        page.write_text("\n".join(self._lines()) + "\n", encoding="utf-8")
        return page

    def _lines(self) -> list[str]:
        about = self.evaluation.conditions
        return [
            "# What each variant costs",
            "",
            f"Made by `python -m benchmarks quality` on {self.machine}.",
            "",
            f"## {self.captioner}, {about['dataset']}",
            "",
            f"{about['photos']} photos, beam {about['num_beams']}, tokenizer {about['tokenizer']}. Milliseconds",
            "(median) are from a photo's file to its text, the variants taking turns. In brackets: the difference to",
            "fp32 with its 95% interval (paired bootstrap over the photos).",
            "",
            *([self.note, ""] if self.note else []),
            "![CIDEr and size of every variant](quality.svg)",
            "",
            *_table(self.evaluation),
            "",
            *_hashes(self.hashes),
            *(["", *_large(self.large)] if self.large else []),
        ]


def _table(evaluation: Evaluation) -> list[str]:
    names = ["BLEU-4", "ROUGE-L", "CIDEr"]
    rows = [["variant", "MB", "ms", "same text as fp32", *names, "CIDEr lost"], ["---"] * (5 + len(names))]
    base = evaluation.variants["fp32"].scores["CIDEr"]
    for name, scored in evaluation.variants.items():
        cells = [ROWS.get(name, name), f"{scored.bytes / 1e6:.2f}", f"{scored.milliseconds:.1f}"]
        cells.append("" if scored.same is None else f"{scored.same:.1%}")
        for score in names:
            less = scored.less_base.get(score)
            apart = f" ({signed(less.value)}: {signed(less.low)} to {signed(less.high)})" if less else ""
            cells.append(f"{scored.scores[score]:.4f}{apart}")
        cells.append(f"{round(1 - scored.scores['CIDEr'] / base, 4) + 0.0:.2%}")  # and never -0.00%
        rows.append(cells)
    return [f"| {' | '.join(row)} |" for row in rows]


def _hashes(found: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [
        f"The same floats and photos give the same bytes; the first {CALIBRATION} photos of `train` calibrate here.",
        "The first 16 digits of the graphs' sha256, as they came out here:",
        "",
        "| variant | encoder | decoder |",
        "| --- | --- | --- |",
    ]
    return [
        *lines,
        *(f"| {ROWS[name]} | {encoder[:16]} | {decoder[:16]} |" for name, (encoder, decoder) in found.items()),
    ]


def _large(found: Mapping[str, tuple[NextTokens, int]]) -> list[str]:
    first = next(iter(found.values()))[0]
    base = found["fp32"][1]
    lines = [
        "## ViT-GPT2, full size",
        "",
        "239 M random weights that say varied things (`python -m benchmarks.checkpoints`), on",
        f"{first.inputs} photos made for it, {first.positions} positions. One token that differs changes all that",
        "follow, so texts agree less than tokens; random weights leave no margin between words as training does.",
        "",
        "| variant | MB | of fp32 | next tokens as fp32 | divergence, nats | whole texts as fp32 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, (agreed, size) in found.items():
        cells = [name, f"{size / 1e6:.1f}", f"{size / base:.3f}", f"{agreed.tokens:.1%}", f"{agreed.divergence:.2e}"]
        lines.append(f"| {' | '.join([*cells, f'{agreed.beam:.0%}'])} |")
    return lines


def _picture(evaluation: Evaluation, path: Path) -> None:
    """CIDEr over size: the further up and left, the better."""
    with plots.figure(path, 7.5, 3.6) as axes:
        axis = axes[0][0]
        for name, scored in evaluation.variants.items():
            less = scored.less_base.get("CIDEr")
            low, high = (less.value - less.low, less.high - less.value) if less else (0.0, 0.0)
            shade = plots.OTHERS if name.startswith("ort") else plots.OURS
            point = (scored.bytes / 1e6, scored.scores["CIDEr"])
            axis.errorbar(
                *point, yerr=[[max(low, 0)], [max(high, 0)]], color=shade, marker="o", markersize=4, capsize=2
            )
            axis.annotate(name, point, textcoords="offset points", xytext=(6, 4))
        axis.set_xlabel("MB")
        axis.set_ylabel("CIDEr; bars: 95% of the difference to fp32")
        axis.set_xlim(left=0)
