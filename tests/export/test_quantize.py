"""Smaller variants of an exported folder: what they say, what is written of them, what keeps them out."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from fuseline import Model
from fuseline.cli import main
from fuseline.errors import ExportError, FolderError, InputError
from fuseline.export import quantize as quantize_with_all_threads
from fuseline.export.folder import load_graph
from fuseline.export.generated import generated_photos
from fuseline.folder import Folder
from tests import tiny

# Fewer photos to compare on than users get: the time of these tests is that of captions.
pytestmark = pytest.mark.usefixtures("few_judges")
quantize = partial(quantize_with_all_threads, threads=1)


@pytest.fixture
def few_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fuseline.export.quantize"), "JUDGES", 8)


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fp32 alone."""
    return tiny.tiny_folder(tmp_path_factory.mktemp("floats"), seed=0, variants=("fp32",))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, photo in enumerate(generated_photos(24, 64)):
        photo.save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def folder(floats: Path, tmp_path: Path) -> Path:
    return shutil.copytree(floats, tmp_path / "model")


def content(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_variants_are_added_with_their_price(folder: Path, photos: Path) -> None:
    report = quantize(folder, ["fp16", "int8", "int4"], calibrate=photos)
    opened = Folder.open(folder)
    assert list(opened.variants) == ["fp32", "fp16", "int8", "int4"]
    assert opened.default_variant == "fp32"
    about = json.loads((folder / "fuseline.json").read_text())
    for name in ("fp16", "int8", "int4"):
        agreed = about["agreement"][name]
        assert agreed["tokens"] == report.variants[name].agreement.tokens
        assert report.variants[name].loss == 1 - agreed["tokens"]
    assert report.variants["fp16"].agreement.tokens > 0.98
    divergences = [report.variants[name].agreement.divergence for name in ("fp16", "int8", "int4")]
    assert divergences == sorted(divergences)
    assert 0 <= divergences[0] < 1e-3
    sizes = [report.variants[name].bytes for name in ("fp16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)


def test_photos_make_four_bits_better(folder: Path, photos: Path, tmp_path: Path) -> None:
    """Rounding by what the layers see (GPTQ) against rounding each weight by itself, on photos not calibrated with."""
    other = shutil.copytree(folder, tmp_path / "other")
    alone = quantize(folder, ["int4"]).variants["int4"].agreement
    seen = quantize(other, ["int4"], calibrate=photos).variants["int4"].agreement
    assert seen.photos == alone.photos
    assert seen.divergence < alone.divergence


def test_the_same_inputs_give_the_same_bytes(folder: Path, photos: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    for each in (folder, other):
        quantize(each, ["int4"], calibrate=photos)
    assert content(folder) == content(other)


def test_the_worst_matrices_stay_in_half(folder: Path) -> None:
    report = quantize(folder, ["int4"], half=2).variants["int4"]
    assert list(report.half) == list(report.errors)[:2]
    model = onnx.load(folder / Folder.open(folder).variants["int4"].decoder)
    encoder = onnx.load(folder / Folder.open(folder).variants["int4"].encoder)
    halves = [t.name for m in (encoder, model) for t in m.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert set(report.half) <= set(halves)
    assert Model.from_pretrained(folder, "int4").generate(tiny.photos(1)).sequences.shape[0] == 1


def test_a_variant_that_loses_too_much_is_not_written_and_the_others_are(folder: Path) -> None:
    quantize(folder, ["int4"])
    lost = 1 - json.loads((folder / "fuseline.json").read_text())["agreement"]["int4"]["tokens"]
    assert lost > 0.002, "the test needs a variant that costs something"
    shutil.rmtree(folder / "onnx" / "x", ignore_errors=True)
    with pytest.raises(ExportError, match=r"int4 loses .*% of the next tokens .* and may lose 0\.10%, so it was not"):
        quantize(folder, ["fp16", "int4"], max_loss=0.001)
    opened = Folder.open(folder)
    assert "fp16" in opened.variants
    assert opened.max_loss == 0.001


def test_nothing_is_left_of_a_refused_variant(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(folder)
    assert main(["quantize", str(folder), "--variants", "int4", "--max-loss", "0%"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("fuseline: int4 loses ")
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def captions(folder: Path, tmp_path: Path) -> Path:
    """A data set whose captions are what fp32 says of generated photos, so that fp32 is as good as can be."""
    model, lines = Model.from_pretrained(folder, "fp32"), []
    for number, photo in enumerate(generated_photos(10, 64)):
        photo.save(tmp_path / f"{number}.png")
        texts = model.decode(model.generate(model.image_processor([photo])).sequences)
        lines.append(json.dumps({"file": f"{number}.png", "captions": [texts[0] or "nothing"], "split": "val"}))
    (tmp_path / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "captions.jsonl"


def test_data_tells_the_loss_of_cider(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap")
    made = quantize(folder, ["int8"], data=captions(folder, tmp_path)).variants["int8"]
    assert made.measured.startswith("CIDEr (")
    quality = json.loads((folder / "fuseline.json").read_text())["quality"]
    assert quality["fp32"]["CIDEr"] > 0
    assert made.loss == pytest.approx(1 - quality["int8"]["CIDEr"] / quality["fp32"]["CIDEr"], abs=1e-3)


def test_rows_of_zeros_and_channels_that_are_constant(folder: Path) -> None:
    """Columns of zeros, of one value, and inputs that nothing comes of, in all schemes: finite and close."""
    path = folder / Folder.open(folder).variants["fp32"].decoder
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == "h.0.mlp.c_fc.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, :, 3], array[0, :, 4], array[0, 5, :] = 0.0, 0.25, 0.0
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    rewrite(folder, path, model)
    report = quantize(folder, ["int8", "int4"])
    assert report.variants["int8"].agreement.tokens > 0.9
    assert all(np.isfinite(list(each.errors.values())).all() for each in report.variants.values())


def rewrite(folder: Path, path: Path, model: onnx.ModelProto) -> None:
    """Write a graph into a folder, with the hash that goes with it."""
    path.write_bytes(model.SerializeToString())
    about = json.loads((folder / "fuseline.json").read_text())
    facts = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    about["files"][path.relative_to(folder).as_posix()] = facts
    (folder / "fuseline.json").write_text(json.dumps(about))


@pytest.mark.parametrize("part", ["input", "attribute"])
def test_layers_that_do_not_fit_their_body_are_refused(folder: Path, tmp_path: Path, part: str) -> None:
    model = onnx.load(folder / Folder.open(folder).variants["fp32"].decoder)
    layer = next(node for node in model.graph.node if node.op_type == "DecoderLayer")
    del getattr(layer, part)[:]
    onnx.save(model, tmp_path / "spoiled.onnx")
    with pytest.raises(ExportError, match=r"spoiled\.onnx has decoder layers that do not fit their body"):
        load_graph(tmp_path / "spoiled.onnx")


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    path = folder / Folder.open(folder).variants["fp32"].decoder
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == "h.0.mlp.c_fc.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 2, 1] = np.inf
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    rewrite(folder, path, model)
    before = content(folder)
    with pytest.raises(ExportError, match=r"h\.0\.mlp\.c_fc\.weight has inf at input 2, output 1"):
        quantize(folder, ["int8"])
    assert content(folder) == before


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"variants": ["int2"]}, ExportError, "variants are int2 and must be some of fp16, int8, int4"),
        ({"variants": ["int8", "int8"]}, ExportError, "variants are int8, int8 and must be some of"),
        ({"variants": []}, ExportError, "variants are none and must be some of"),
        ({"max_loss": 1.5}, InputError, "max_loss 1.5 must be a share from 0 to below 1"),
        ({"static": True}, InputError, "static convolutions need photos to calibrate with"),
        ({"half": -1}, InputError, "half -1 must be a number of matrices"),
        ({"calibrate": "few"}, InputError, "has 1 photos, and calibrating takes at least 8"),
        ({"calibrate": "nowhere"}, InputError, "is not a folder of photos to calibrate with"),
        ({"data": "captions.jsonl"}, InputError, "none.png"),
    ],
)
def test_what_is_refused(folder: Path, options: Any, error: type[Exception], sentence: str) -> None:
    (folder.parent / "few").mkdir()
    Image.new("RGB", (8, 8)).save(folder.parent / "few" / "one.png")
    line = {"file": "none.png", "captions": ["a photo that is not there"], "split": "val"}
    (folder.parent / "captions.jsonl").write_text(json.dumps(line) + "\n")
    for name in ("calibrate", "data"):
        if name in options:
            options = options | {name: folder.parent / options[name]}
    before = content(folder)
    with pytest.raises(error, match=sentence):
        quantize(folder, **options)
    assert content(folder) == before


def test_only_floats_can_be_quantized(tmp_path: Path) -> None:
    folder = tiny.tiny_folder(tmp_path, seed=0, variants=("int8",))
    with pytest.raises(ExportError, match="has int8 and no variant of floats to quantize; export it with fp32 first"):
        quantize(folder, ["int4"])
    with pytest.raises(FolderError):
        quantize(tmp_path / "nothing")


def test_the_command_shows_what_was_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", str(folder), "--variants", "int8", "--max-loss", "50%", "--default", "int8"]) == 0
    out = capsys.readouterr().out
    assert "made of fp32" in out
    assert "of the next tokens" in out
    assert Folder.open(folder).default_variant == "int8"
    assert main(["quantize", str(folder), "--variants", "fp16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["variants"]["fp16"]["loss"] < 0.02
