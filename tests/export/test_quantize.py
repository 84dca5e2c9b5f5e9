"""Smaller variants of an exported folder: what they say, what is written of them, what keeps them out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
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
from fuseline.cli.quantize import lost
from fuseline.errors import Error, ExportError, FolderError, InputError
from fuseline.export import evaluate
from fuseline.export import quantize as quantize_with_all_threads
from fuseline.export.checkpoints.generated import generated_photos
from fuseline.export.writing.graphs import load_graph
from fuseline.folders.open import open_folder
from tests import tiny

# Fewer photos to compare on than users get: the time of these tests is that of captions.
pytestmark = pytest.mark.usefixtures("few_judges")
quantize = partial(quantize_with_all_threads, threads=1)


@pytest.fixture
def few_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fuseline.export.quantizing.examples"), "JUDGES", 8)


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
    report = quantize(folder, ["fp16", "bf16", "int8", "int4"], calibrate=photos)
    opened = open_folder(folder)
    assert list(opened.variants) == ["fp32", "fp16", "bf16", "int8", "int4"]
    assert opened.default_variant == "fp32"
    about = json.loads((folder / "fuseline.json").read_text())
    for name in ("fp16", "bf16", "int8", "int4"):
        agreed = about["agreement"][name]
        assert agreed["tokens"] == report.variants[name].agreement.tokens
        assert report.variants[name].loss == 1 - agreed["tokens"]
    assert report.variants["fp16"].agreement.tokens > 0.98
    divergences = [report.variants[name].agreement.divergence for name in ("fp16", "bf16", "int8", "int4")]
    assert divergences == sorted(divergences)
    assert 0 <= divergences[0] < 1e-3
    sizes = [report.variants[name].bytes for name in ("fp16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)


def test_photos_make_four_bits_better(folder: Path, photos: Path, tmp_path: Path) -> None:
    """Rounding by what the layers see (GPTQ) against rounding each weight by itself, on photos not calibrated with."""
    other = shutil.copytree(folder, tmp_path / "other")
    alone = quantize(folder, ["int4"]).variants["int4"].agreement
    seen = quantize(other, ["int4"], calibrate=photos).variants["int4"].agreement
    assert seen.inputs == alone.inputs
    assert seen.divergence < alone.divergence


def test_the_same_inputs_give_the_same_bytes(folder: Path, photos: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    for each in (folder, other):
        quantize(each, ["int4"], calibrate=photos)
    assert content(folder) == content(other)


def test_the_worst_matrices_stay_in_half(folder: Path) -> None:
    report = quantize(folder, ["int4"], half=2).variants["int4"]
    assert list(report.half) == list(report.errors)[:2]
    model = onnx.load(folder / open_folder(folder).variants["int4"].decoder)
    encoder = onnx.load(folder / open_folder(folder).variants["int4"].encoder)
    halves = [t.name for m in (encoder, model) for t in m.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert set(report.half) <= set(halves)
    assert Model.from_pretrained(folder, "int4").generate(tiny.photos(1)).sequences.shape[0] == 1


def test_a_variant_that_loses_too_much_is_not_written_and_the_others_are(folder: Path) -> None:
    quantize(folder, ["int4"])
    lost = 1 - json.loads((folder / "fuseline.json").read_text())["agreement"]["int4"]["tokens"]
    assert lost > 0.1, "the test needs a variant that costs more than the few near-ties that halves turn over"
    shutil.rmtree(folder / "onnx" / "x", ignore_errors=True)
    with pytest.raises(ExportError, match=r"int4 loses .*% of the next tokens .* and may lose 5\.00%, so it was not"):
        quantize(folder, ["fp16", "int4"], max_loss=0.05)
    opened = open_folder(folder)
    assert "fp16" in opened.variants
    assert opened.max_loss == 0.05


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


def test_where_cider_is_nothing_the_next_tokens_judge_and_it_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = captions(folder, tmp_path)
    lines = [json.loads(line) | {"captions": ["said by nobody"]} for line in data.read_text().splitlines()]
    data.write_text("\n".join(map(json.dumps, lines)))
    assert main(["quantize", str(folder), "--variants", "int4", "--data", str(data)]) == 0
    sentence = r"of the next tokens \(\d+ on \d+ photos\), not of CIDEr, which is 0 for fp32 on this data\n"
    out = capsys.readouterr().out
    assert re.search(rf"loses \d+\.\d\d% {sentence}", out), out.splitlines()[:4]


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0123, "loses 1.23%"), (0.0, "loses 0.00%"), (-0.000001, "loses 0.00%"), (-0.00859, "gains 0.86%")],
)
def test_a_loss_in_words(share: float, words: str) -> None:
    assert lost(share) == words


def test_rows_of_zeros_and_channels_that_are_constant(folder: Path) -> None:
    """Columns of zeros, of one value, and inputs that nothing comes of, in all schemes: finite and close."""
    path = folder / open_folder(folder).variants["fp32"].decoder
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == "h.0.mlp.c_fc.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, :, 3], array[0, :, 4], array[0, 5, :] = 0.0, 0.25, 0.0
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    rewrite(folder, path, model)
    report = quantize(folder, ["int8", "int4"])
    eight = report.variants["int8"].agreement
    assert eight.tokens > 0.85 and eight.divergence < 3e-4  # 84 positions, in many of which two tokens are nearly tied
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
    model = onnx.load(folder / open_folder(folder).variants["fp32"].decoder)
    layer = next(node for node in model.graph.node if node.op_type == "DecoderLayer")
    del getattr(layer, part)[:]
    onnx.save(model, tmp_path / "spoiled.onnx")
    with pytest.raises(ExportError, match=r"spoiled\.onnx has decoder layers that do not fit their body"):
        load_graph(tmp_path / "spoiled.onnx")


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    path = folder / open_folder(folder).variants["fp32"].decoder
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
        ({"variants": ["int2"]}, ExportError, "variants are int2 and must be some of fp16, bf16, int8, int4"),
        ({"variants": ["int8", "int8"]}, ExportError, "variants are int8, int8 and must be some of"),
        ({"variants": []}, ExportError, "variants are none and must be some of"),
        ({"variants": [""]}, ExportError, "variants are an empty name and must be some of"),
        ({"max_loss": float("nan")}, InputError, "max_loss nan must be a share from 0 to below 1"),
        ({"max_loss": "1"}, InputError, "max_loss 1 must be a share"),
        ({"half": 0.5}, InputError, r"half 0\.5 must be a number of matrices"),
        ({"threads": 0}, InputError, "threads must be a whole number from 1 to"),
        ({"threads": "two"}, InputError, "threads must be a whole number from 1 to"),
        ({"default": "best"}, InputError, "default 'best' is not among the variants fp32, int8"),
        ({"limit": 0, "data": "captions.jsonl"}, InputError, "limit must be at least 1 photo, not 0"),
        ({"calibrate": "pipes"}, InputError, "has 0 photos, and calibrating takes at least 8"),
        ({"calibrate": "captions.jsonl"}, InputError, "is not a folder of photos to calibrate with"),
        ({"max_loss": 1.5}, InputError, "max_loss 1.5 must be a share from 0 to below 1"),
        ({"static": True}, InputError, "static convolutions need photos to calibrate with"),
        ({"half": -1}, InputError, "half -1 must be a number of matrices"),
        (
            {"half": 100_000},
            InputError,
            "half 100000 leaves none of the .* matrices to be stored in int8",
        ),
        ({"calibrate": "few"}, InputError, "has 1 photo, and calibrating takes at least 8"),
        ({"calibrate": "nowhere"}, InputError, "is not a folder of photos to calibrate with"),
        ({"data": "captions.jsonl"}, InputError, "none.png"),
    ],
)
def test_what_is_refused(folder: Path, options: Any, error: type[Exception], sentence: str) -> None:
    (folder.parent / "few").mkdir()
    Image.new("RGB", (8, 8)).save(folder.parent / "few" / "one.png")
    (folder.parent / "pipes").mkdir()
    for number in range(8):
        os.mkfifo(folder.parent / "pipes" / f"{number}.png")
    line = {"file": "none.png", "captions": ["a photo that is not there"], "split": "val"}
    (folder.parent / "captions.jsonl").write_text(json.dumps(line) + "\n")
    for name in ("calibrate", "data"):
        if name in options:
            options = options | {name: folder.parent / options[name]}
    before = content(folder)
    with pytest.raises(error, match=sentence):
        quantize(folder, **{"threads": 1} | options)
    assert content(folder) == before
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


# What of a folder changes, and what does not ----------------------------------------------------------


def test_everything_else_stays(folder: Path) -> None:
    """Files of the user's, whatever they are, their links and times; and no old file is written through a link."""
    (folder / "notes").mkdir()
    (folder / "notes" / "empty").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine")
    (folder / "notes" / "mine.txt").chmod(0o400)
    (folder / "onnx" / "decoder_model_int8.onnx_data").write_text("called like weights, and nobody's")
    (folder / "onnx" / "unlisted.onnx").write_bytes(b"no graph")
    (folder / "linked").symlink_to("notes/mine.txt")
    (folder / "broken").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    folder.chmod(0o751)
    (folder / "fuseline.json").chmod(0o604)
    old = {
        path: (path.lstat().st_mode, path.lstat().st_ino) for path in folder.rglob("*") if path.name != "fuseline.json"
    }
    copy = shutil.copytree(
        folder, folder.parent / "copy", ignore=lambda *_: ["pipe"], copy_function=os.link, symlinks=True
    )
    before = content(copy)
    quantize(folder, ["int8"])
    files = {path for path in old if not path.is_dir() and not path.is_symlink()}
    assert len(files) == 10
    assert all((path.lstat().st_mode, path.lstat().st_ino) == old[path] for path in files)
    assert (folder / "notes" / "empty").is_dir()
    assert os.readlink(folder / "linked") == "notes/mine.txt" and os.readlink(folder / "broken") == "nowhere"
    assert [folder.stat().st_mode & 0o777, (folder / "fuseline.json").stat().st_mode & 0o777] == [0o751, 0o604]
    assert content(copy) == before  # the files of the old folder, by other links
    about = json.loads((folder / "fuseline.json").read_text())
    assert about["variants"]["int8"]["decoder"] == "onnx/decoder_model_int8_2.onnx"
    assert not {"onnx/unlisted.onnx", "onnx/decoder_model_int8.onnx_data", "notes/mine.txt"} & about["files"].keys()
    open_folder(folder, "int8", whole=True)


def test_a_damaged_file_is_not_listed_anew(folder: Path) -> None:
    quantize(folder, ["int8"])
    damaged = folder / open_folder(folder).variants["int8"].decoder
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    before = content(folder)
    with pytest.raises(FolderError, match="decoder_model_int8.onnx was edited"):
        quantize(folder, ["int4"])
    assert content(folder) == before


def test_what_was_measured_goes_with_the_graphs(folder: Path, tmp_path: Path) -> None:
    """A variant made anew is another one; one that comes out the same keeps what is known of it."""
    pytest.importorskip("pycocoevalcap")
    data = captions(folder, tmp_path)
    quantize(folder, ["int4", "int8"])
    evaluate(folder, data)
    evaluate(folder, data, num_beams=1)
    before = json.loads((folder / "fuseline.json").read_text())
    assert [set(before["quality"]), set(before["evaluations"][0]["variants"])] == [{"fp32", "int4", "int8"}] * 2
    quantize(folder, ["int8"])
    after = json.loads((folder / "fuseline.json").read_text())
    assert after["quality"] == before["quality"]
    quantize(folder, ["int4"], half=3)
    after = json.loads((folder / "fuseline.json").read_text())
    assert [set(after["quality"]), set(after["evaluations"][0]["variants"])] == [{"fp32", "int8"}] * 2
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| int8 |" in card and "| int4 |" not in card
    quantize(folder, ["int4"], data=data, limit=3)  # other photos than those of "quality"
    after = json.loads((folder / "fuseline.json").read_text())
    assert after["quality"] == {name: before["quality"][name] for name in ("fp32", "int8")}
    assert [each["conditions"]["photos"] for each in after["evaluations"]] == [10, 3]


def installed(folder: Path) -> Path:
    (folder.parent / "site-packages").mkdir()
    return Path(shutil.move(folder, folder.parent / "site-packages" / "model"))


def by_another_tool(folder: Path) -> Path:
    (folder / "fuseline.json").unlink()
    return folder


def odd_graph(spoil: Any) -> Any:
    def change(folder: Path) -> Path:
        path = folder / open_folder(folder).variants["fp32"].decoder
        path.write_bytes(spoil(path.read_bytes()))
        about = json.loads((folder / "fuseline.json").read_text())
        facts = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        about["files"][path.relative_to(folder).as_posix()] = facts
        (folder / "fuseline.json").write_text(json.dumps(about))
        return folder

    return change


def without(kind: str) -> Any:
    """Without the initializers, or with a layer that reads a tensor that is not there."""

    def spoil(content: bytes) -> bytes:
        model = onnx.ModelProto()
        model.ParseFromString(content)
        if kind == "initializers":
            del model.graph.initializer[:]
        else:
            del model.functions[:]
        return model.SerializeToString()

    return spoil


ODD: dict[str, tuple[Any, str]] = {
    "installed": (installed, "belongs to an installed package, which stays as it was installed; copy the folder first"),
    "of another tool": (by_another_tool, "has no fuseline.json, since another tool made it"),
    "no graph": (odd_graph(lambda content: b"x" * len(content)), "decoder_model_fp32"),
    "half a graph": (odd_graph(lambda content: content[: len(content) // 2]), "decoder_model_fp32"),
    "empty": (odd_graph(lambda content: b""), "decoder_model_fp32"),
    "no weights": (odd_graph(without("initializers")), "decoder_model_fp32"),
    "no functions": (odd_graph(without("functions")), "there is no operator"),
}


@pytest.mark.parametrize("case", ODD)
def test_folders_that_cannot_be_quantized(case: str, folder: Path) -> None:
    change, sentence = ODD[case]
    folder = change(folder)
    before = content(folder)
    with pytest.raises(Error) as error:
        quantize(folder, ["int8"])
    assert sentence in str(error.value)
    assert content(folder) == before
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_the_captioner_that_ships_is_not_changed() -> None:
    with pytest.raises(ExportError, match="belongs to an installed package"):
        quantize("flickr8k-lite1", ["int4"])


def test_a_full_disk_leaves_the_folder_as_it_was(folder: Path) -> None:
    """No file may grow past 20 kB in this process, as on a full disk."""
    script = (
        "import resource, sys; from fuseline.export import quantize\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "quantize(sys.argv[1], ['int8'])"
    )
    before = content(folder)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)
    assert "cannot be quantized: File too large" in done.stderr
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


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
    assert open_folder(folder).default_variant == "int8"
    assert main(["quantize", str(folder), "--variants", "fp16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["variants"]["fp16"]["loss"] < 0.02
