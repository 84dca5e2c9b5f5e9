"""The layouts of every architecture beside the fused one, on the CPU: the same tokens, greedy and of four beams.

Floats are added in another order, so logits of size 1 to 10 may differ by 2e-4; tokens are equal.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from fuseline.cli import main
from fuseline.errors import Error, ExportError, FolderError, InputError
from fuseline.export import export, layouts, quantize
from fuseline.export.graphs.recode import matrices
from fuseline.export.writing.graphs import load_graph
from fuseline.folders.description import STANDARD, STATIC
from fuseline.folders.open import open_folder
from fuseline.images import load_image
from fuseline.model import Model
from tests import tiny
from tests.layouts import NAMES, case, said

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ("gpt2: vit", "photos: roberta", "texts: t5", "texts: m2m_100", "speech: moonshine", "fusion: flat")
CASES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]


def made_of(name: str) -> tuple[str, ...]:
    """The layouts that there are of a model."""
    return (STANDARD,) if name.startswith(("fusion", "speech: moonshine")) else (STANDARD, STATIC)


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_those_of_the_fused_layout(name: str, tmp_path: Path) -> None:
    made = case(name, tmp_path)
    report = layouts(made[0], made_of(name), capacity=16, positions=64)
    assert all(share == 1.0 for found in report.agreement.values() for share in found.values())
    folder = open_folder(made[0], whole=True)
    expected = said(Model(folder, threads=1), made)
    for layout in made_of(name):
        assert said(Model(folder.using("fp32", layout), threads=1), made) == expected
    assert len(set(expected)) > 4, "texts should differ, or the test shows nothing"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner with both layouts of fp32, and static ones of two rows and six tokens of int8."""
    made = tiny.tiny_folder(tmp_path_factory.mktemp("layouts"), 0, ("fp32", "int8"))
    layouts(made, (STANDARD, STATIC))
    layouts(made, (STATIC,), variants=["int8"], rows=2, capacity=6)
    return made


def graphs(folder: Path, layout: str) -> list[onnx.ModelProto]:
    files = open_folder(folder).variants["fp32"].layouts[layout].graphs
    return [onnx.load(folder / file) for file in files]


def test_plain_graphs_have_operators_of_onnx_alone(folder: Path) -> None:
    for layout in (STANDARD, STATIC):
        for graph in graphs(folder, layout):
            onnx.checker.check_model(graph, full_check=True)
            assert not graph.functions
            assert {node.domain for node in graph.graph.node} == {""}


def test_a_static_decoder_gathers_nothing_but_embeddings_and_scatters_nothing(folder: Path) -> None:
    """And has no free size, and no whole numbers in int64 but sizes."""
    for graph in graphs(folder, STATIC):
        values = [*graph.graph.input, *graph.graph.output]
        assert all(dim.HasField("dim_value") for value in values for dim in value.type.tensor_type.shape.dim)
        assert TensorProto.INT64 not in {value.type.tensor_type.elem_type for value in values}
        kinds = [node.op_type for node in graph.graph.node]
        assert not {"ScatterND", "GatherND", "Range", "Shape", "Expand"}.intersection(kinds)
    assert kinds.count("Gather") == 3  # of the token, its position, and the last token of one
    free = [
        node for graph in graphs(folder, STATIC) for node in onnx.shape_inference.infer_shapes(graph).graph.value_info
    ]
    assert TensorProto.INT64 not in {value.type.tensor_type.elem_type for value in free}


@pytest.mark.parametrize("name", ["gpt2: vit", "texts: bart", "fusion: flat"])
def test_halves_are_within_two_hundredths_of_the_largest_logit(name: str, tmp_path: Path) -> None:
    """And an encoder of halves goes with the fused decoder of floats, and the other way round."""
    path, inputs, _ = case(name, tmp_path)
    names = made_of(name)
    layouts(path, names, format="fp16", capacity=16, positions=64)
    fused = Model(open_folder(path), threads=1)
    begin = np.full((1, 1), fused.generation_config.decoder_start_token_id or 0)
    for layout in names:
        plain = Model(fused.folder.using("fp32", layout), threads=1)
        largest = 0.0
        for index in range(6):
            encoded = [model.encode(inputs(slice(index, index + 1))) for model in (fused, plain)]
            of = [fused, plain, *([fused, plain] if layout == STANDARD else [])]
            given = [*encoded, *(encoded[::-1] if layout == STANDARD else [])]
            found = []
            for model, what in zip(of, given, strict=True):
                state = model.decoder.start(what, 1, 8)
                found.append([model.decoder.step(state, begin + step, None).copy() for step in range(4)])
            largest = max(largest, *(np.abs(np.array(each) - found[0]).max() for each in found[1:]))
            assert largest < 0.02 * np.abs(found[0]).max()
        assert largest > 0, "halves should differ, or these are floats"


def test_layouts_of_quantized_weights_have_the_numbers_of_their_codes(folder: Path) -> None:
    """The matrices of the static int8 decoder are those that the fused one's codes stand for."""
    found = open_folder(folder)
    codes = {each.name: each.weight_IO for each in matrices(load_graph(folder / found.variants["int8"].decoder))}
    plain = onnx.load(folder / found.variants["int8"].layouts[STATIC].decoder)
    compared = 0
    for tensor in plain.graph.initializer:
        if tensor.name.removesuffix(".matrix") in codes and tensor.name.endswith(".matrix"):
            expected = codes[tensor.name.removesuffix(".matrix")]
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), expected[: tensor.dims[0]])
            compared += 1
    assert compared > 10


def test_matrices_of_eight_bits(tmp_path: Path) -> None:
    """They take a quarter, and are rounded by at most half of a step of their column."""
    path = tiny.tiny_folder(tmp_path, 0)
    layouts(path, (STANDARD,))
    (whole, *_) = [graph for graph in graphs(path, STANDARD) if graph.graph.name == "decoder"]
    layouts(path, (STANDARD,), format="int8")
    (small, *_) = [graph for graph in graphs(path, STANDARD) if graph.graph.name == "decoder"]
    floats = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer}
    codes = {each.name: numpy_helper.to_array(each) for each in small.graph.initializer}
    checked = 0
    for name in (name for name in floats if name.endswith(".matrix")):
        scale = codes[f"{name}.scale"]
        assert codes[f"{name}.codes"].dtype == np.int8
        error = codes[f"{name}.codes"] * scale - floats[name]
        assert (np.abs(error) <= 0.5001 * scale).all()
        checked += 1
    assert checked > 10
    assert sorted(file.name for file in (path / "onnx").iterdir()) == [
        "decoder_model_fp32.onnx",
        "decoder_model_fp32_standard.onnx",
        "encoder_model_fp32.onnx",
        "encoder_model_fp32_standard.onnx",
    ]


def test_a_static_graph_refuses_what_it_has_no_room_for(folder: Path) -> None:
    model = Model(open_folder(folder).using("int8", STATIC), threads=1)
    pixels = tiny.photos(2)
    assert model.generate(pixels, num_beams=2, max_length=6).sequences.shape[0] == 2
    with pytest.raises(
        InputError, match=r"has 2 rows and num_beams is 3; `fuseline layouts` makes another with --rows"
    ):
        model.generate(pixels, num_beams=3, max_length=6)
    with pytest.raises(InputError, match="has room for 6 tokens and 9 may be asked for; lower max_length, or"):
        model.generate(pixels, num_beams=2, max_length=9)
    with pytest.raises(InputError, match="does not tell where it looked"):
        model.generate(pixels, num_beams=2, max_length=6, output_attentions=True)


def test_a_prompt_is_read_token_by_token(folder: Path) -> None:
    fused = Model(open_folder(folder), threads=1)
    static = Model(fused.folder.using("fp32", STATIC), threads=1)
    prompt, pixels = np.array([[tiny.START, 5, 17, 33], [tiny.START, 9, 4, 60]]), tiny.photos(2)
    options = {"decoder_input_ids": prompt, "num_beams": 4, "max_length": 14, "num_return_sequences": 2}
    expected, found = (model.generate(pixels, **options) for model in (fused, static))
    np.testing.assert_array_equal(found.sequences, expected.sequences)
    np.testing.assert_allclose(found.sequences_scores, expected.sequences_scores, atol=2e-4)


def test_a_layout_that_is_not_there_is_refused_with_what_makes_it(folder: Path) -> None:
    with pytest.raises(FolderError, match="has no standard layout of its variant int8; `fuseline layouts .* standard`"):
        open_folder(folder).using("int8", STANDARD)


def described(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The folder with what fuseline.json says of the layouts of fp32 changed."""
    about = json.loads((folder / "fuseline.json").read_text())
    change(about["variants"]["fp32"]["layouts"])
    (folder / "fuseline.json").write_text(json.dumps(about))


def test_layouts_of_a_description_that_is_wrong_are_refused(folder: Path, tmp_path: Path) -> None:
    """Also a decoder of the other layout, or an encoder that reads something else, where it is opened."""
    cases: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
        "unknown": (
            lambda its: its.update(dynamic=its[STANDARD]),
            "'layouts' is wrong; it must be an object of standard and static, without 'dynamic'; update fuseline",
        ),
        "none": (lambda its: its[STATIC].pop("decoder"), "'decoder' is missing; it must be a text"),
        "outside": (lambda its: its[STATIC].update(decoder="../decoder.onnx"), "decoder.onnx"),
        "another file": (
            lambda its: its[STATIC].update(decoder="onnx/x.onnx"),
            "does not list onnx/x.onnx under files",
        ),
        "fused": (
            lambda its: its[STATIC].update(decoder="onnx/decoder_model_fp32.onnx"),
            "is no static decoder: its sizes are not fixed; make the layout anew",
        ),
        "decoder as encoder": (
            lambda its: its[STATIC].update(encoder=its[STATIC]["decoder"]),
            "is no static encoder of pixel_values; make the layout anew",
        ),
        "static as standard": (
            lambda its: its.update({STANDARD: its[STATIC]}),
            "is not the graph that fuseline.json describes",
        ),
    }
    for name, (change, sentence) in cases.items():
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        described(copy, change)
        with pytest.raises(FolderError, match=re.escape(sentence)):
            Model(open_folder(copy).using("fp32", STANDARD if name.endswith(STANDARD) else STATIC), threads=1)


def test_a_damaged_file_of_a_layout_is_refused_where_it_is_used(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    file = copy / open_folder(copy).variants["fp32"].layouts[STATIC].decoder
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    opened = open_folder(copy)
    assert Model(opened, threads=1).generate(tiny.photos(1)).sequences.size
    with pytest.raises(FolderError, match="was edited"):
        opened.using("fp32", STATIC)
    with pytest.raises(FolderError, match="was edited"):
        open_folder(copy, whole=True)


def test_what_cannot_be_a_layout_is_refused(folder: Path, tmp_path: Path) -> None:
    before = (folder / "fuseline.json").read_bytes()
    for names, options, sentence in (
        ((), {}, "layouts are none and must be some of standard, static"),
        (("fused",), {}, "layouts are fused and must be some of standard, static"),
        ((STANDARD,), {"format": "bf16"}, "format is 'bf16' and must be fp32 or fp16 or int8"),
        ((STATIC,), {"rows": 0}, "rows 0 must be a whole number of at least 1"),
        ((STANDARD,), {"variants": ["int4"]}, "has no variant 'int4'"),
        ((STANDARD,), {"out": folder}, "is a fuseline folder already"),
    ):
        with pytest.raises(Error, match=sentence):
            layouts(folder, names, **options)
    assert (folder / "fuseline.json").read_bytes() == before
    with pytest.raises(
        ExportError, match="stays as it was installed; copy the folder first, or name a folder for a copy"
    ):
        layouts("flickr8k-lite1")
    with pytest.raises(ExportError, match="reads several sources, which a static layout has no form for"):
        layouts(case("fusion: flat", tmp_path)[0], (STATIC,))


def test_a_layout_goes_with_its_variant(tmp_path: Path) -> None:
    """Another variant made anew leaves it as it was; its own takes it away."""
    path = tiny.tiny_folder(tmp_path, 0, ("fp32", "int8"))
    layouts(path, (STANDARD,), variants=["fp32", "int8"])
    quantize(path, ["int8"])
    found = open_folder(path, whole=True)
    assert set(found.variants["fp32"].layouts) == {STANDARD}
    assert not found.variants["int8"].layouts
    assert not (path / "onnx" / "decoder_model_int8_standard.onnx").exists()
    assert Model(found.using("fp32", STANDARD), threads=1).generate(tiny.photos(1)).sequences.size


def test_the_command_writes_a_copy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(file.name for file in (folder / "onnx").iterdir())
    out = tmp_path / "copy"
    assert main(["layouts", str(folder), "standard", "--variants", "int8", "--format", "fp16", "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "onnx/decoder_model_int8_standard.onnx, 186 nodes" in said
    assert "of the texts of made-up inputs as the fused layout says them" in said
    assert sorted(file.name for file in (folder / "onnx").iterdir()) == before
    copied = open_folder(out, whole=True)
    assert set(copied.variants["int8"].layouts) == {STANDARD, STATIC}
    assert main(["layouts", str(out), "static", "--variants", "int8", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"path", "files", "agreement", "nodes"}
    assert main(["layouts", str(out), "dynamic"]) == 2


def test_export_writes_layouts_of_every_variant(tmp_path: Path) -> None:
    source = tiny.write_checkpoint(tiny.tiny_model(0), tmp_path / "source")
    report = export(source, tmp_path / "out", ("fp32", "int8"), layouts=("fused", STANDARD))
    found = open_folder(tmp_path / "out", whole=True)
    assert [set(each.layouts) for each in found.variants.values()] == [{STANDARD}, {STANDARD}]
    assert "onnx/decoder_model_int8_standard.onnx" in report.files
    with pytest.raises(ExportError, match="layouts has 'plain' and must be some of fused, standard, static"):
        export(source, tmp_path / "other", layouts=("plain",))
    assert not (tmp_path / "other").exists()


def test_the_captioner_that_ships(tmp_path: Path) -> None:
    """Convolutions and layers in 8 and 4 bits as floats: near to the fused ones, which round activations too."""
    report = layouts("flickr8k-lite1", out=tmp_path / "copy")
    assert report.agreement["int8"][STANDARD] > 0.7
    fused = Model(open_folder(tmp_path / "copy"), threads=1)
    plain = Model(fused.folder.using("int8", STANDARD), threads=1)
    photo = fused.image_processor([load_image(EXAMPLES / "cat.jpg")])
    for given in (photo, {"image": photo, "hint": fused.inputs_of("hint")(["a cat"])}):
        encoded = [model.encode(given) for model in (fused, plain)]
        for name, value in encoded[0].values.items():
            apart = np.abs(value.numpy() - encoded[1].values[name].numpy()).mean()
            assert apart < 0.1 * np.abs(value.numpy()).mean()
        said = [fused.decode(model.generate(given).sequences) for model in (fused, plain)]
        assert said[0] == said[1]
