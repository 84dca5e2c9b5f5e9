"""Smaller variants of models that read texts: what they are made of, what they say, what keeps them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fuseline.cli import main
from fuseline.errors import ExportError, InputError
from fuseline.export import quantize
from fuseline.export.quality.reading import Reading
from fuseline.export.quantizing.calibration import Calibration
from fuseline.export.writing.graphs import load_graph
from fuseline.folders.open import open_folder
from fuseline.model import Model
from tests.exported_texts import lines, said, text_folder

NAMES = ["bart", "t5 v1.1"]  # biases and LayerNorm; distances, RMSNorm and gates


@pytest.fixture(scope="module", params=NAMES)
def floats(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_folder(tmp_path_factory.mktemp("floats"), request.param, ("fp32",))


@pytest.fixture
def folder(floats: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(floats, tmp_path / "model"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("\n".join(lines(40, seed=1)))
    return tmp_path / "lines.txt"


def test_variants_are_those_of_the_export(folder: Path, tmp_path: Path) -> None:
    """The same operators with the same weights to the byte, since both store the same floats in the same scheme."""
    name = "bart" if json.loads((folder / "config.json").read_text())["model_type"] == "bart" else "t5 v1.1"
    schemes = ("fp16", "int8", "int4")
    exported = open_folder(text_folder(tmp_path / "exported", name, ("fp32", *schemes)))
    report = quantize(folder, list(schemes), threads=1)
    opened = open_folder(folder)
    for scheme in schemes:
        for graph in opened.variants[scheme].graphs:
            mine, its = load_graph(opened.path / graph), load_graph(exported.path / graph)
            assert [node.op_type for node in mine.graph.node] == [node.op_type for node in its.graph.node]
            assert weights(mine) == weights(its)
            assert list(mine.graph.input) == list(its.graph.input)
    about = json.loads((folder / "fuseline.json").read_text())
    found = report.variants["fp16"].agreement
    assert (found.kind, found.inputs, about["agreement"]["fp16"]["inputs"]) == ("texts", 32, 32)
    assert found.tokens > 0.98
    divergences = [report.variants[scheme].agreement.divergence for scheme in schemes]
    assert divergences == sorted(divergences)


def weights(model: onnx.ModelProto) -> dict[str, bytes]:
    """The constants that a graph's nodes read, by name."""
    read = {name for node in model.graph.node for name in node.input}
    return {each.name: each.SerializeToString() for each in model.graph.initializer if each.name in read}


def test_texts_make_four_bits_better(folder: Path, file: Path, tmp_path: Path) -> None:
    """Errors are compared by what the layers see of these texts, so rounding by them must make the outputs closer."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    alone = quantize(folder, ["int4"], threads=1)
    seen = quantize(other, ["int4"], calibrate=file, threads=1)
    assert seen.variants["int4"].agreement.inputs == alone.variants["int4"].agreement.inputs
    decoders = [load_graph(each / open_folder(each).variants["int4"].decoder) for each in (folder, other)]
    assert decoders[0].SerializeToString() != decoders[1].SerializeToString()
    model = Model(open_folder(folder, "fp32"), threads=1)
    logits = [
        _logits(Model(open_folder(each, "int4"), threads=1), model, lines(12, seed=2)) for each in (folder, other)
    ]
    exact = _logits(model, model, lines(12, seed=2))
    apart = [float(np.square(each - exact).mean()) for each in logits]
    assert apart[1] < apart[0]


def _logits(model: Model, base: Model, texts: list[str]) -> np.ndarray[Any, Any]:
    """float32[B, T, V] along what base says of texts."""
    inputs = model.inputs(texts, truncation=True)
    tokens = base.generate(inputs, num_beams=1, num_return_sequences=1).sequences
    state = model.decoder.start(model.encode(inputs), 1, tokens.shape[1])
    steps = [model.decoder.step(state, tokens[:, [at]].copy(), None).copy() for at in range(tokens.shape[1] - 1)]
    return np.stack(steps, axis=1)


def test_what_layers_see_does_not_depend_on_padding(folder: Path) -> None:
    """The moments of texts one by one are those of the texts together, within float64's adding."""
    model, files = Model(open_folder(folder, "fp32"), threads=1), open_folder(folder).variants["fp32"]
    texts, moments = lines(3, seed=3), []
    for batches in ([texts], [[text] for text in texts]):
        graphs = [load_graph(folder / path) for path in files.graphs]
        calibration = Calibration(model, *graphs, model.generation_config)
        for batch in batches:
            calibration.see(Reading(truncation=True).inputs(model, batch))
        moments.append(calibration.moments("encoder"))
    for name, value in moments[0].items():
        np.testing.assert_allclose(value, moments[1][name], rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_a_variant_that_loses_too_much_is_not_written_and_the_others_are(folder: Path) -> None:
    with pytest.raises(ExportError, match=r"int4 loses .* of the next tokens \(\d+ on 32 texts\) and may lose 1\.00%"):
        quantize(folder, ["fp16", "int4"], max_loss=0.01, threads=1)
    about = json.loads((folder / "fuseline.json").read_text())
    assert list(about["variants"]) == ["fp32", "fp16"]
    assert list(about["agreement"]) == ["fp32", "fp16"]
    assert about["max_loss"] == 0.01
    assert not list(folder.rglob("*int4*"))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_data_tells_the_loss_of_chrf(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = lines(6, seed=4)
    (tmp_path / "a.src").write_text("\n".join(sources))
    (tmp_path / "a.ref").write_text("\n".join(text or "nothing" for text in said(folder, sources)))
    data = ["--data", str(tmp_path / "a.src"), "--references", str(tmp_path / "a.ref"), "--threads", "1"]
    assert main(["quantize", str(folder), "--variants", "int8,int4", *data]) == 0
    assert " of chrF (" in capsys.readouterr().out
    quality = json.loads((folder / "fuseline.json").read_text())["quality"]
    assert quality["fp32"]["chrF"] > 90
    assert set(quality) == {"fp32", "int8", "int4"}
    assert quality["int4"]["texts"] == 6


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"one\n\ntwo\n", "has 2 lines with text, and calibrating takes at least 8"),
        (b"word9\n" * 9 + b"\xff\n", "line 10: byte 1 is no UTF-8"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_wrong_files_to_calibrate_with(folder: Path, tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "lines.txt").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        quantize(folder, ["int4"], calibrate=tmp_path / "lines.txt")
    with pytest.raises(InputError, match="is a folder, and this model reads texts; calibrate with a file"):
        quantize(folder, ["int4"], calibrate=tmp_path)
    with pytest.raises(InputError, match="reads texts and has no convolutions; leave static out"):
        quantize(folder, ["int4"], calibrate=tmp_path, static=True)
    assert onnx.load(folder / open_folder(folder).variants["fp32"].decoder).graph.node
