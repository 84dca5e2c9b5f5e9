"""The layouts of every architecture beside the fused one, on the CPU: the same tokens, greedy and of four beams.

Floats are added in another order, so logits of size 1 to 10 may differ by 2e-4; tokens are equal.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skimage.data
from onnx import TensorProto, helper, numpy_helper

from fuseline.cli import main
from fuseline.errors import Error, ExportError, FolderError, InputError
from fuseline.export import export, layouts, quantize
from fuseline.export.graphs.recode import matrices
from fuseline.export.plain import contrib
from fuseline.export.writing.graphs import load_graph
from fuseline.folders.description import CONTRIB, STANDARD, STATIC
from fuseline.folders.open import open_folder
from fuseline.graphs.session import open_graph
from fuseline.images import load_image
from fuseline.model import Model
from tests import tiny
from tests.layouts import NAMES, case, said

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ("gpt2: vit", "photos: roberta", "texts: t5", "texts: m2m_100", "speech: moonshine", "fusion: flat")
LAYOUTS = (STANDARD, CONTRIB, STATIC)
PICTURES = ("astronaut", "brick", "camera", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket", "text")
CASES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_those_of_the_fused_layout(name: str, tmp_path: Path) -> None:
    made = case(name, tmp_path)
    report = layouts(made[0], LAYOUTS, capacity=16, positions=84)
    assert all(share == 1.0 for found in report.agreement.values() for share in found.values())
    folder = open_folder(made[0], whole=True)
    expected = said(Model(folder, threads=1), made)
    for layout in LAYOUTS:
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


@pytest.mark.parametrize("name", ["fusion: mix", "fusion: hierarchical", "texts: t5"])
def test_plain_graphs_have_no_float64(name: str, tmp_path: Path) -> None:
    """OpenVINO leaves such nodes to the CPU, and cannot tell its parts' results apart then."""
    made, _, _ = case(name, tmp_path)
    layouts(made, (STANDARD, STATIC), capacity=16, positions=84)
    for layout in (STANDARD, STATIC):
        for graph in graphs(made, layout):
            found = onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True).graph
            types = {value.type.tensor_type.elem_type for value in [*found.value_info, *found.output]}
            assert onnx.TensorProto.DOUBLE not in types and types


def test_a_contrib_decoder_copies_nothing_to_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls our operators, whose bodies are onnxruntime's. Range and ScatterND get numbers from the host, which CUDA
    cannot record. Halves with heads of a multiple of what cutlass wants have lengths with the places where inputs
    begin, others lengths alone; both hide the same."""
    made, inputs, _ = case("texts: bart", tmp_path)
    texts = []
    for format, multiple, masked_by in (
        ("fp32", 1, {"Mul", "Reshape"}),
        ("fp16", 8, {"Mul", "Reshape"}),
        ("fp16", 6, {"Concat"}),
    ):
        monkeypatch.setattr(contrib, "_CUTLASS", multiple)
        layouts(made, (CONTRIB,), format=format)
        folder = open_folder(made)
        assert folder.decoder.head_size == 6
        encoder, whole = (onnx.load(made / file) for file in folder.variants["fp32"].layouts[CONTRIB].graphs)
        decoder, layers, form = whole.graph, folder.decoder.layers, "Float16" if format == "fp16" else ""
        kinds = Counter(node.op_type for node in decoder.node)
        assert kinds[f"{form}CachedSelfAttention"] == kinds[f"{form}PaddedCrossAttention"] == layers
        assert kinds["SkipLayerNormalization"] == 3 * layers and kinds["TopCandidates"] == 1
        bodies = {function.name: function.node for function in whole.functions}
        assert bodies.keys() == {f"{form}CachedSelfAttention", f"{form}PaddedCrossAttention", "TopCandidates"}
        everywhere = {node.op_type for nodes in (decoder.node, *bodies.values()) for node in nodes}
        assert not {"Softmax", "Range", "ScatterND"} & everywhere
        assert "MultiHeadAttention" in {node.op_type for node in encoder.graph.node}
        (tokens,) = (value for value in decoder.input if value.name == "input_ids")
        assert [dim.dim_param or dim.dim_value for dim in tokens.type.tensor_type.shape.dim] == ["R", 1]
        found = set()
        for nodes in bodies.values():
            makers = {node.output[0]: node.op_type for node in nodes}
            found |= {makers[node.input[4]] for node in nodes if node.op_type == "MultiHeadAttention"}
        assert found == masked_by
        model = Model(folder.using("fp32", CONTRIB), threads=1)
        texts.append(model.generate(inputs(slice(0, 4)), num_beams=2, max_length=12).sequences.tolist())
    assert texts[1] == texts[2]


def test_layers_whose_bodies_would_differ_are_refused(folder: Path) -> None:
    """Here one has so many heads that cutlass does not take them."""
    model = load_graph(folder / "onnx" / "decoder_model_fp32.onnx")
    last = [node for node in model.graph.node if node.op_type == "CachedSelfAttention"][-1]
    (heads,) = (each for each in last.attribute if each.name == "heads")
    heads.i *= 8
    with pytest.raises(ExportError, match="layer.2/CachedSelfAttention.* and the Float16CachedSelfAttention before it"):
        contrib.contrib(model, halves=True)


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


@pytest.mark.parametrize("name", ["gpt2: vit", "texts: bart", "texts: t5", "fusion: flat"])
def test_halves_are_within_two_hundredths_of_the_largest_logit(name: str, tmp_path: Path) -> None:
    """And an encoder of halves goes with the fused decoder of floats, and the other way round."""
    path, inputs, _ = case(name, tmp_path)
    layouts(path, LAYOUTS, format="fp16", capacity=16, positions=64)
    fused = Model(open_folder(path), threads=1)
    begin = np.full((1, 1), fused.generation_config.decoder_start_token_id or 0)
    for layout in LAYOUTS:
        plain = Model(fused.folder.using("fp32", layout), threads=1)
        largest = 0.0
        for index in range(6):
            encoded = [model.encode(inputs(slice(index, index + 1))) for model in (fused, plain)]
            of = [fused, plain, *([fused, plain] if layout != STATIC else [])]
            given = [*encoded, *(encoded[::-1] if layout != STATIC else [])]
            found = []
            for model, what in zip(of, given, strict=True):
                state = model.decoder.start(what, 1, 8)
                found.append([model.decoder.step(state, begin + step, None).copy() for step in range(4)])
            largest = max(largest, *(np.abs(np.array(each) - found[0]).max() for each in found[1:]))
            assert largest < 0.02 * np.abs(found[0]).max()
        assert largest > 0, "halves should differ, or these are floats"


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner of floats, and of codes."""
    return tiny.tiny_folder(tmp_path_factory.mktemp("quantized"), 2, ("fp32", "int8"))


@pytest.mark.parametrize(("variant", "format"), [("int8", "fp32"), ("int8", "int8"), ("fp32", "int8")])
def test_plain_layouts_of_the_same_codes_say_the_same(variant: str, format: str, quantized: Path) -> None:
    """The fused one rounds what its layers read, and is no reference here."""
    layouts(quantized, (STANDARD, CONTRIB), variants=[variant], format=format)
    opened, pixels = open_folder(quantized), tiny.photos(6)
    standard, contrib = (Model(opened.using(variant, layout), threads=1) for layout in (STANDARD, CONTRIB))
    for beams in (1, 4):
        mine, its = (each.generate(pixels, num_beams=beams, max_length=14) for each in (standard, contrib))
        np.testing.assert_array_equal(its.sequences, mine.sequences)
        np.testing.assert_allclose(its.sequences_scores, mine.sequences_scores, atol=2e-4)


def test_where_halves_look_is_told_without_a_cast(quantized: Path) -> None:
    """Queries leave a decoder of halves as they are. Scores of size 10 are 0.005 off, and so weights 0.5%."""
    layouts(quantized, (STANDARD, CONTRIB), variants=["fp32"], format="fp16")
    opened, told = open_folder(quantized), []
    for folder in (opened, *(opened.using("fp32", layout) for layout in (STANDARD, CONTRIB))):
        model = Model(folder, threads=1)
        state = model.decoder.start(model.encode(tiny.photos(2)), 1, 4, attentions=True)
        for token in (tiny.START, 7):
            model.decoder.step(state, np.full((2, 1), token), None)
        told.append(model.decoder.attentions(state))
    for layout, weights in zip((STANDARD, CONTRIB), told[1:], strict=True):
        assert 0 < np.abs(weights - told[0]).max() < 0.01
        decoder = onnx.load(quantized / opened.variants["fp32"].layouts[layout].decoder).graph
        made = {name: node.op_type for node in decoder.node for name in node.output}
        queries = {value.name: value.type.tensor_type.elem_type for value in decoder.output if "query" in value.name}
        assert set(queries.values()) == {TensorProto.FLOAT16}
        assert len(queries) == opened.decoder.layers and "Cast" not in map(made.get, queries)


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


def ran(graph: onnx.ModelProto, file: Path) -> list[Any]:
    """What a graph gives for made-up inputs of the sizes that it has, 2 where they are free. file: where it may be."""
    random, given = np.random.default_rng(0), {}
    for value in graph.graph.input:
        shape = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
        floats = value.type.tensor_type.elem_type == TensorProto.FLOAT
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        made = random.standard_normal(shape) if floats else random.integers(0, 2, shape)
        given[value.name] = made.astype(kind)
    onnx.save(graph, file)
    return list(open_graph(file, threads=1).session.run(None, given))


@pytest.mark.parametrize("layout", [STANDARD, STATIC])
def test_matrices_of_eight_bits(layout: str, tmp_path: Path) -> None:
    """They take a quarter, and are rounded by at most half of a step of their column; what is computed is what the
    layout of floats computes with the numbers that codes and scales stand for."""
    path = tiny.tiny_folder(tmp_path, 0)
    layouts(path, (layout,))
    whole = graphs(path, layout)
    layouts(path, (layout,), format="int8")
    checked = 0
    for floats, eight in zip(whole, graphs(path, layout), strict=True):
        codes = {each.name: numpy_helper.to_array(each) for each in eight.graph.initializer}
        for tensor in floats.graph.initializer:
            name = tensor.name
            if f"{name.removesuffix('.matrix')}.codes" not in codes and f"{name}.codes" not in codes:
                continue
            its = codes[f"{name}.codes"]
            scale = codes[f"{name}.scale"]
            scale = scale if name.endswith(".matrix") else scale[:, None]
            assert its.dtype == np.int8
            assert (np.abs(its * scale - numpy_helper.to_array(tensor)) <= 0.5001 * scale).all()
            tensor.CopyFrom(numpy_helper.from_array((its * scale).astype(np.float32), name))
            checked += 1
        for mine, other in zip(ran(floats, tmp_path / "floats"), ran(eight, tmp_path / "eight"), strict=True):
            np.testing.assert_allclose(other, mine, atol=2e-4)
    assert checked > 20
    assert sorted(file.name for file in (path / "onnx").iterdir()) == [
        "decoder_model_fp32.onnx",
        f"decoder_model_fp32_{layout}.onnx",
        "encoder_model_fp32.onnx",
        f"encoder_model_fp32_{layout}.onnx",
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
    layouts(folder, (CONTRIB,))
    others = [Model(open_folder(folder).using("fp32", name), threads=1) for name in (STATIC, CONTRIB)]
    prompt, pixels = np.array([[tiny.START, 5, 17, 33], [tiny.START, 9, 4, 60]]), tiny.photos(2)
    options = {"decoder_input_ids": prompt, "num_beams": 4, "max_length": 14, "num_return_sequences": 2}
    expected = fused.generate(pixels, **options)
    for model in others:
        found = model.generate(pixels, **options)
        np.testing.assert_array_equal(found.sequences, expected.sequences)
        np.testing.assert_allclose(found.sequences_scores, expected.sequences_scores, atol=2e-4)


def test_a_layout_that_is_not_there_is_refused_with_what_makes_it(folder: Path) -> None:
    opened = open_folder(folder)
    with pytest.raises(FolderError) as caught:
        opened.using("int8", STANDARD)
    assert str(caught.value) == (
        f"{folder} has no standard layout of its variant int8; "
        f"`fuseline layouts {folder} standard --variants int8` makes it"
    )
    shipped = open_folder()
    with pytest.raises(FolderError) as caught:
        shipped.using(shipped.variant, STANDARD)
    assert str(caught.value).endswith(f"`fuseline layouts {shipped.path} standard -o COPY` writes a copy that has it")


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
            "'layouts' is wrong; it must be an object of standard, static and contrib, without 'dynamic'; update",
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
        ((), {}, "no layout is named; give some of standard, static, contrib, each once"),
        (("fused",), {}, "there is no layout 'fused'; give some of standard, static, contrib, each once"),
        ((STANDARD, ""), {}, "an empty name is among the layouts; give some of"),
        ((STANDARD, "Standard"), {}, "the layout standard is named twice; give some of"),
        ((STANDARD,), {"format": "bf16"}, "format is 'bf16' and must be fp32 or fp16 or int8"),
        ((STATIC,), {"rows": 0}, "rows 0 must be a whole number of at least 1"),
        ((STANDARD,), {"variants": ["int4"]}, "has no variant 'int4'"),
        ((STANDARD,), {"out": folder}, "is the model's own folder; leave -o out to add layouts to it, or name another"),
    ):
        with pytest.raises(Error, match=sentence):
            layouts(folder, names, **options)
    assert (folder / "fuseline.json").read_bytes() == before
    with pytest.raises(
        ExportError, match="stays as it was installed; copy the folder first, or name a folder for a copy"
    ):
        layouts("flickr8k-lite1")


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
    graph = onnx.load(out / "onnx" / "decoder_model_int8_standard.onnx", load_external_data=False).graph
    assert f"onnx/decoder_model_int8_standard.onnx, {len(graph.node)} nodes" in said
    assert "of the texts of made-up inputs as the fused layout says them" in said
    assert sorted(file.name for file in (folder / "onnx").iterdir()) == before
    copied = open_folder(out, whole=True)
    assert set(copied.variants["int8"].layouts) == {STANDARD, STATIC}
    assert main(["layouts", str(out), "static", "--variants", "int8", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"path", "files", "agreement", "nodes"}
    assert main(["layouts", str(out), "dynamic"]) == 2


def test_a_copy_does_not_take_the_place_of_a_folder(folder: Path, tmp_path: Path) -> None:
    """And what is said instead works."""
    out = tiny.tiny_folder(tmp_path, 0)
    with pytest.raises(ExportError) as caught:
        layouts(folder, (STANDARD,), out=out)
    adds = f"`fuseline layouts {out} standard`"
    assert str(caught.value) == (
        f"{out} is a fuseline folder already; to add layouts to it give that folder itself, {adds}, "
        "or name another with -o"
    )
    assert main(adds.strip("`").split()[1:]) == 0
    assert set(open_folder(out, whole=True).variants["fp32"].layouts) == {STANDARD}
    shipped = open_folder().path
    with pytest.raises(ExportError, match="stays as it was installed; .*, or name another folder for a copy: -o OUT"):
        layouts("flickr8k-lite1", out=shipped)


@pytest.mark.parametrize("option", ["--rows", "--capacity", "--positions"])
def test_sizes_without_a_layout_that_has_them_are_refused(
    option: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["layouts", str(folder), "standard,contrib", option, "7"]) == 2
    assert f"{option} is of the layout static, and NAMES has none; leave it out" in capsys.readouterr().err


def test_layouts_that_are_written_anew_need_not_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor be whole; all others must. Names are taken in any case."""
    path = tiny.tiny_folder(tmp_path, 0, ("fp32", "int8"))
    layouts(path, (STANDARD, STATIC), variants=["fp32", "int8"])
    opened = open_folder(path)
    expected = Model(opened.using("fp32", STANDARD), threads=1).generate(tiny.photos(2)).sequences.tolist()
    before = {file: (path / file).read_bytes() for file in opened.sizes}
    graphs = opened.variants["fp32"].layouts[STANDARD].graphs
    for damage in (Path.unlink, lambda file: file.write_bytes(b"none")):
        for file in graphs:
            damage(path / file)
        assert main(["layouts", str(path), "static"]) == 2
        assert f"{graphs[0]}" in capsys.readouterr().err
        assert main(["layouts", str(path), "standard", "--variants", "int8"]) == 2
        assert main(["layouts", str(path), "STANDARD"]) == 0
        found = open_folder(path, whole=True)
        assert {file: (path / file).read_bytes() for file in found.sizes} == before
        again = Model(found.using("fp32", STANDARD), threads=1)
        assert again.generate(tiny.photos(2)).sequences.tolist() == expected


def test_export_writes_layouts_of_every_variant(tmp_path: Path) -> None:
    source = tiny.write_checkpoint(tiny.tiny_model(0), tmp_path / "source")
    report = export(source, tmp_path / "out", ("fp32", "int8"), layouts=("fused", STANDARD))
    found = open_folder(tmp_path / "out", whole=True)
    assert [set(each.layouts) for each in found.variants.values()] == [{STANDARD}, {STANDARD}]
    assert "onnx/decoder_model_int8_standard.onnx" in report.files
    with pytest.raises(ExportError, match="there is no layout 'plain'; give some of fused, standard, static, contrib"):
        export(source, tmp_path / "other", layouts=("plain",))
    assert not (tmp_path / "other").exists()


def test_the_captioner_that_ships(tmp_path: Path) -> None:
    """Convolutions and layers in 8 and 4 bits as floats: near to the fused ones, which round activations too."""
    report = layouts("flickr8k-lite1", out=tmp_path / "copy")
    assert report.agreement["int8"][STANDARD] > 0.3  # on inputs that are no photos, whose beams are close
    fused = Model(open_folder(tmp_path / "copy"), threads=1)
    plain = Model(fused.folder.using("int8", STANDARD), threads=1)
    photo = fused.image_processor([load_image(EXAMPLES / "cat.jpg")])
    for given in (photo, {"image": photo, "hint": fused.inputs_of("hint")(["a cat"])}):
        encoded = [model.encode(given) for model in (fused, plain)]
        for name, value in encoded[0].values.items():
            apart = np.abs(value.numpy() - encoded[1].values[name].numpy()).mean()
            assert apart < 0.1 * np.abs(value.numpy()).mean()
        said = [fused.decode(model.generate(given, num_beams=1).sequences) for model in (fused, plain)]
        assert said[0] == said[1]
    pictures = fused.image_processor([load_image(getattr(skimage.data, name)()) for name in PICTURES])
    said = [fused.decode(model.generate(pictures, num_beams=1).sequences) for model in (fused, plain)]
    assert np.mean([one == other for one, other in zip(*said, strict=True)]) > 0.7
