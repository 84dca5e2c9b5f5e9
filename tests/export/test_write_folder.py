"""Writing a fuseline folder: what fuseline.json says of it, that it is all or nothing, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from fuseline.errors import ExportError, FolderError
from fuseline.export import add_variants, build_decoder, decoder_info, write_confidence, write_folder
from fuseline.export.graphs.graph import model_of, new_graph
from fuseline.export.graphs.weights_file import WeightsFile
from fuseline.export.writing import graphs as stored
from fuseline.folders.open import open_folder
from tests import tiny


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """The arguments of write_folder for a decoder of one layer and an encoder without weights."""
    model = tiny.tiny_vit_gpt2(0, n_layer=1)
    weights, config = tiny.state_dict_of(model), model.config.decoder.to_dict()
    encoder = new_graph("encoder")
    pixels = encoder.input("pixel_values", TensorProto.FLOAT, ["B", 3, 17, 32])
    for index, part in enumerate(("key", "value")):
        name = f"past_key_values.0.encoder.{part}"
        encoder.op("Gather", pixels, encoder.scalar(index, np.int64), axis=1, name=name)
        encoder.output(name, TensorProto.FLOAT, ["B", 17, 32])
    graphs = {"encoder": model_of(encoder), "decoder": build_decoder(weights, config)}
    return {
        "config": {"model_type": "vision-encoder-decoder"},
        "generation_config": {"num_beams": 4},
        "preprocessor_config": tiny.preprocessor_config(),
        "tokenizer_json": tiny.word_tokenizer(97),
        "decoder_info": decoder_info(config),
        "variants": {"fp32": graphs},
        "default_variant": "fp32",
    }


def written(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_fuseline_json_describes_the_folder(parts: dict[str, Any], tmp_path: Path) -> None:
    quality = {"fp32": {"dataset": "none", "CIDEr": 0.5}}
    write_folder(tmp_path / "out", **parts, quality=quality)
    files = written(tmp_path / "out")
    about = json.loads(files.pop("fuseline.json"))
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert (about["format"], about["default_variant"], about["quality"]) == (1, "fp32", quality)
    assert set(about["made_by"]) == {"fuseline", "onnxruntime"}
    sizes = {"layers": 1, "heads": 4, "head_size": 8, "vocab_size": 97, "max_positions": 40}
    assert about["decoder"] == sizes | {"cross_attention_scales": [pytest.approx(8**-0.5)]}
    assert about["variants"] == {
        "fp32": {"encoder": "onnx/encoder_model_fp32.onnx", "decoder": "onnx/decoder_model_fp32.onnx"}
    }
    assert about["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    tensors = {tensor["name"]: (tensor["type"], tensor["shape"]) for tensor in about["tensors"]["decoder"]["inputs"]}
    assert tensors == {
        "input_ids": ("int64", ["R", "T"]),
        "position": ("int64", [1]),
        "beam_table": ("int64", ["R", "C"]),
        "past_key_values.0.decoder.key": ("float32", ["C", "R", 32]),
        "past_key_values.0.decoder.value": ("float32", ["C", "R", 32]),
        "past_key_values.0.encoder.key": ("float32", ["B", "S", 32]),
        "past_key_values.0.encoder.value": ("float32", ["B", "S", 32]),
    }
    assert about["tensors"]["decoder"]["outputs"][0] == {"name": "logits", "type": "float32", "shape": ["R", 97]}
    assert about["tensors"]["encoder"]["inputs"] == [
        {"name": "pixel_values", "type": "float32", "shape": ["B", 3, 17, 32]}
    ]


def test_the_same_inputs_give_the_same_bytes(parts: dict[str, Any], tmp_path: Path) -> None:
    write_folder(tmp_path / "a", **parts)
    write_folder(tmp_path / "b", **parts)
    assert written(tmp_path / "a") == written(tmp_path / "b")


def test_graphs_of_several_variants_are_written_once(parts: dict[str, Any], tmp_path: Path) -> None:
    onnx.save(parts["variants"]["fp32"]["decoder"], tmp_path / "decoder.onnx")
    graphs = parts["variants"]["fp32"]
    also = {"encoder": graphs["encoder"], "decoder": tmp_path / "decoder.onnx"}  # a graph and a file of it are the same
    write_folder(tmp_path / "out", **parts | {"variants": {"fp32": graphs, "also": also}})
    about = json.loads((tmp_path / "out" / "fuseline.json").read_text())
    assert about["variants"]["also"] == about["variants"]["fp32"]
    assert len(list((tmp_path / "out" / "onnx").iterdir())) == 2


def test_large_weights_lie_beside_the_graph(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "EXTERNAL_OVER", 10_000)
    write_folder(tmp_path / "out", **parts)
    files = json.loads((tmp_path / "out" / "fuseline.json").read_text())["files"]
    assert files["onnx/decoder_model_fp32.onnx_data"]["bytes"] > 10_000 > files["onnx/encoder_model_fp32.onnx"]["bytes"]
    ort.InferenceSession(tmp_path / "out" / "onnx" / "decoder_model_fp32.onnx")
    assert parts["variants"]["fp32"]["decoder"].graph.initializer[0].data_location == TensorProto.DEFAULT


def test_weights_may_go_into_their_file_as_they_are_made(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph and what makes it give the same folder, whether its weights are enough for a file or not."""
    encoder, decoder = (parts["variants"]["fp32"][part] for part in ("encoder", "decoder"))

    def streamed(outside: WeightsFile) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(decoder)
        del model.graph.initializer[:]
        for tensor in decoder.graph.initializer:
            outside.add(model.graph, tensor.name, tensor.dims, tensor.data_type, numpy_helper.to_array(tensor))
        return model

    for limit in (10_000, 1 << 30):
        monkeypatch.setattr(stored, "EXTERNAL_OVER", limit)
        write_folder(tmp_path / f"whole {limit}", **parts)
        write_folder(
            tmp_path / f"streamed {limit}",
            **parts
            | {"variants": {"fp32": {"encoder": encoder, "decoder": streamed}, "same": parts["variants"]["fp32"]}},
        )
        about = json.loads((tmp_path / f"streamed {limit}" / "fuseline.json").read_text())
        assert about["variants"]["same"] == about["variants"]["fp32"]
        whole, other = (written(tmp_path / f"{how} {limit}") for how in ("whole", "streamed"))
        assert whole.keys() == other.keys()
        assert all(whole[name] == other[name] for name in whole if name != "fuseline.json")


def test_an_older_folder_is_replaced_whole(parts: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an empty folder may be taken
    write_folder(out, **parts)
    (out / "left-over.txt").write_text("of the older one")
    write_folder(out, **parts)
    assert not (out / "left-over.txt").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_a_failure_leaves_everything_as_it_was(parts: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    wrong = parts | {"decoder_info": parts["decoder_info"] | {"vocab_size": 98}}
    with pytest.raises(ExportError):
        write_folder(out, **wrong)
    assert not any(tmp_path.iterdir())
    write_folder(out, **parts)
    before = written(out)
    with pytest.raises(ExportError):
        write_folder(out, **wrong)
    assert written(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_what_is_not_a_fuseline_folder_is_left_alone(parts: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for name, sentence in {
        "photos": "holds something else than a fuseline folder",
        "file": "exists and is not a folder",
        "link": "exists and is not a folder",
        "file/out": "file is not a folder",
    }.items():
        with pytest.raises(ExportError, match=sentence):
            write_folder(tmp_path / name, **parts)
    assert set(written(tmp_path)) >= {"photos/mine.jpg", "file"}


def changed(graph: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The graph with its last output under another name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    copy.graph.node.append(onnx.helper.make_node("Identity", [copy.graph.output[-1].name], [name]))
    copy.graph.output[-1].name = name
    return copy


def test_graphs_that_do_not_fit_are_refused(parts: dict[str, Any], tmp_path: Path) -> None:
    graphs: Mapping[str, onnx.ModelProto] = parts["variants"]["fp32"]
    other_encoder = {"encoder": changed(graphs["encoder"], "odd"), "decoder": graphs["decoder"]}
    invalid = onnx.ModelProto()
    invalid.CopyFrom(graphs["decoder"])
    del invalid.graph.node[0]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"default_variant": "int4"}, "the default variant 'int4' is not among the variants fp32"),
        ({"variants": {"../x": graphs}, "default_variant": "../x"}, "a variant cannot be called '../x'"),
        (
            {"variants": {"fp32": {"decoder": graphs["decoder"]}}},
            "'fp32' has decoder and must have encoder and decoder",
        ),
        (
            {"variants": {"fp32": other_encoder}},
            "makes no past_key_values.0.encoder.value; the decoder does not read odd",
        ),
        (
            {"variants": {"fp32": graphs, "two": other_encoder}},
            "of variant 'two' has other inputs or outputs than that of 'fp32'",
        ),
        ({"decoder_info": {"layers": 1}}, "decoder_info has layers and must have head_size, heads, layers"),
        ({"decoder_info": parts["decoder_info"] | {"layers": 2}}, "present.1.decoder.key is None and must be"),
        ({"decoder_info": parts["decoder_info"] | {"heads": 5}}, "present.0.decoder.key is ['C', 'R', 32] and must be"),
        ({"variants": {"fp32": {**graphs, "decoder": invalid}}}, "decoder_model_fp32.onnx is not a valid ONNX graph"),
    ]
    for changes, sentence in cases:
        with pytest.raises(ExportError) as error:
            write_folder(tmp_path / "out", **parts | changes)
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())


def test_the_tiny_folder_is_one_that_can_be_opened(tiny_path: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_path, tmp_path / "copy")

    opened = open_folder(tmp_path / "copy", variant="int8")
    assert (opened.variant, opened.default_variant, opened.decoder.width) == ("int8", "fp32", 32)


SURE = {"intercept": 1.5, "weights": {"mean_log_prob": 2.0, "tokens": -0.25}, "unsure_below": 0.4}


def test_a_folder_says_how_sure_its_model_is(parts: dict[str, Any], tmp_path: Path) -> None:
    out, plain = tmp_path / "out", tmp_path / "plain"
    write_folder(out, **parts, confidence=SURE)
    write_folder(plain, **parts)
    found = open_folder(out).confidence
    assert found is not None and asdict(found) == SURE and open_folder(plain).confidence is None
    assert json.loads((out / "fuseline.json").read_text())["confidence"] == SURE
    add_variants(out, {"int4": parts["variants"]["fp32"]})
    assert open_folder(out, "int4").confidence == found
    write_confidence(out, None)
    assert open_folder(out).confidence is None
    write_confidence(plain, SURE | {"intercept": np.float64(1.5), "weights": dict(SURE["weights"])})  # type: ignore[call-overload]
    assert open_folder(plain).confidence == found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "plain"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": {"words": 1.0}}, "'weights' is wrong; it must be numbers by mean_log_prob, .* without 'words'"),
        ({"intercept": float("nan")}, "'intercept' is wrong; it must be a number from"),
        ({"unsure_below": 2}, "'unsure_below' is wrong; it must be a number from 0 to 1"),
    ],
)
def test_a_confidence_that_would_not_be_read_is_not_written(
    parts: dict[str, Any], tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=sentence):
        write_folder(out, **parts, confidence=SURE | changes)
    assert list(tmp_path.iterdir()) == []
    write_folder(out, **parts)
    before = written(out)
    with pytest.raises(ExportError, match=sentence):
        write_confidence(out, SURE | changes)
    assert written(out) == before
    with pytest.raises(FolderError):
        write_confidence(tmp_path / "none", SURE)


def test_variants_are_added_to_a_folder_that_exists(parts: dict[str, Any], tmp_path: Path) -> None:
    out, graphs = tmp_path / "out", parts["variants"]["fp32"]
    write_folder(out, **parts, quality={"fp32": {"CIDEr": 0.5}})
    (out / "MODEL_CARD.md").write_text("by hand")
    before = written(out)
    other = {"encoder": graphs["encoder"], "decoder": renamed(graphs["decoder"], "other")}
    add_variants(
        out,
        {"int4": other},
        default_variant="int4",
        check=lambda _, about: about["quality"].update(int4={"CIDEr": 0.4}),
    )
    opened = open_folder(out)  # checks every hash
    assert (opened.default_variant, list(opened.variants)) == ("int4", ["fp32", "int4"])
    assert opened.variants["int4"].encoder == opened.variants["fp32"].encoder  # the same graph lies there once
    assert opened.quality == {"fp32": {"CIDEr": 0.5}, "int4": {"CIDEr": 0.4}}
    after = written(out)
    changed_files = {name for name in after if after[name] != before.get(name)}
    assert changed_files == {"fuseline.json", "onnx/decoder_model_int4.onnx"}
    assert list(tmp_path.iterdir()) == [out]
    # The same variant anew: its file is replaced, and one that nobody uses any more goes.
    add_variants(out, {"int4": graphs}, default_variant="fp32")
    assert sorted(path.name for path in (out / "onnx").iterdir()) == [
        "decoder_model_fp32.onnx",
        "encoder_model_fp32.onnx",
    ]


def test_adding_leaves_the_folder_as_it_was_where_it_fails(parts: dict[str, Any], tmp_path: Path) -> None:
    out, graphs = tmp_path / "out", parts["variants"]["fp32"]
    write_folder(out, **parts)
    before = written(out)
    odd = {"encoder": changed(graphs["encoder"], "odd"), "decoder": graphs["decoder"]}
    with pytest.raises(
        ExportError, match="the encoder of variant 'int4' has other inputs or outputs than the folder's"
    ):
        add_variants(out, {"int4": odd})
    with pytest.raises(ExportError, match="a variant cannot be called 'auto'"):
        add_variants(out, {"auto": graphs})

    def refuse(_: Path, about: dict[str, Any]) -> None:
        raise ExportError("it loses too much")

    with pytest.raises(ExportError, match="it loses too much"):
        add_variants(out, {"int4": {**graphs, "decoder": renamed(graphs["decoder"], "x")}}, check=refuse)
    assert written(out) == before
    assert list(tmp_path.iterdir()) == [out]


def renamed(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.name = name
    return copy


def test_layers_that_stay_apart_are_warned_of(parts: dict[str, Any], tmp_path: Path) -> None:
    graphs = parts["variants"]["fp32"]
    decoder = onnx.ModelProto()
    decoder.CopyFrom(graphs["decoder"])
    at, node = next((at, node) for at, node in enumerate(decoder.graph.node) if node.name.startswith("layer.0"))
    between = onnx.helper.make_node("Identity", ["apart"], [node.output[0]], name="layer.0/Identity")
    node.output[0] = "apart"
    decoder.graph.node.insert(at + 1, between)
    with pytest.warns(UserWarning, match=r"onnx/decoder_model_fp32.onnx: layer.0 has Identity .*, which is slower"):
        write_folder(tmp_path / "out", **parts | {"variants": {"fp32": {**graphs, "decoder": decoder}}})
