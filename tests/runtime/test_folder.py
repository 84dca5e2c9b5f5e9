"""Opening a model folder: what is whole is described, and every damage has its sentence before anything runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from fuseline import Model
from fuseline.errors import FolderError
from fuseline.files import LARGEST_JSON
from fuseline.folder import Folder, Signature, Tensor, find, mismatches
from tests import tiny

GRAPH = "onnx/decoder_model_fp32.onnx"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("folder"), seed=0, variants=("fp32", "int8"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit fuseline.json."""
    description = json.loads((folder / "fuseline.json").read_text())
    edit(description)
    (folder / "fuseline.json").write_text(json.dumps(description, indent=2))


def put(folder: Path, name: str, content: bytes) -> None:
    """Write a file and list it as it is now."""
    (folder / name).write_bytes(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(folder, lambda description: description["files"].update({name: entry}))


def test_a_whole_folder_is_described(whole: Path) -> None:
    folder = Folder.open(whole)
    assert folder.variant == folder.default_variant == "fp32"
    assert sorted(folder.variants) == ["fp32", "int8"]
    assert folder.decoder_path == whole.resolve() / GRAPH
    assert (folder.decoder.layers, folder.decoder.width, folder.decoder.vocab_size) == (3, 32, 97)
    assert folder.sizes[GRAPH] == (whole / GRAPH).stat().st_size
    assert folder.config["model_type"] == "vision-encoder-decoder"
    assert folder.generation_config["max_length"] == tiny.MAX_LENGTH
    assert folder.preprocessor_config["image_processor_type"] == "ViTImageProcessor"
    assert Folder.open(str(whole), "int8").encoder_path.name == "encoder_model_int8.onnx"


def test_generation_config_may_be_absent(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    change(folder, lambda d: d["files"].pop("generation_config.json"))
    assert Folder.open(folder).generation_config == {}


def test_links_that_stay_inside_are_followed(folder: Path) -> None:
    (folder / GRAPH).rename(folder / "real.onnx")
    (folder / GRAPH).symlink_to("../real.onnx")
    assert Folder.open(folder).variant == "fp32"


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert Folder.open(tmp_path / "link").path == folder.resolve()


def truncate(folder: Path) -> None:
    (folder / GRAPH).write_bytes((folder / GRAPH).read_bytes()[:1000])


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / GRAPH).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / GRAPH).write_bytes(content)


def append(folder: Path) -> None:
    with (folder / GRAPH).open("ab") as file:
        file.write(b"x")


def link_out(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    (folder / GRAPH).rename(outside)
    (folder / GRAPH).symlink_to(outside)


def link_a_folder_out(folder: Path) -> None:
    (folder / "onnx").rename(folder.parent / "elsewhere")
    (folder / "onnx").symlink_to(folder.parent / "elsewhere")


def link_in_circles(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")


def link_the_description_out(folder: Path) -> None:
    (folder / "fuseline.json").rename(folder.parent / "fuseline.json")
    (folder / "fuseline.json").symlink_to(folder.parent / "fuseline.json")


def pipe(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")  # opening it to read would wait for ever


def folder_for_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def listed(name: str) -> Callable[[Path], None]:
    """fuseline.json lists one more file, of that name, which does exist outside."""

    def damage(folder: Path) -> None:
        (folder.parent / "secret").write_bytes(b"")
        entry = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
        change(folder, lambda d: d["files"].update({name.format(parent=folder.parent): entry}))

    return damage


def described(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "fuseline.json").write_text(text)


def changed(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda folder: change(folder, edit)


def with_file(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: put(folder, name, content)


def unlisted_weights(folder: Path) -> None:
    """A graph whose weights lie in a file that fuseline.json forgot."""
    model = onnx.load(folder / GRAPH)
    onnx.save_model(model, folder / GRAPH, save_as_external_data=True, location="weights.bin", size_threshold=1000)
    put(folder, GRAPH, (folder / GRAPH).read_bytes())


def no_first_cache(description: dict[str, Any]) -> None:
    """Three differences from the step contract."""
    decoder = description["tensors"]["decoder"]
    decoder["inputs"] = [tensor for tensor in decoder["inputs"] if tensor["name"] != "beam_table"]
    next(tensor for tensor in decoder["inputs"] if tensor["name"] == "input_ids")["type"] = "int32"
    decoder["outputs"].append({"name": "present.9.decoder.key", "type": "float32", "shape": ["C", "R", 32]})


def with_halves(*shape: int | str) -> Callable[[Path], object]:
    """A photo's first key as halves of this shape."""

    def edit(description: dict[str, Any]) -> None:
        inputs = description["tensors"]["decoder"]["inputs"]
        key = next(tensor for tensor in inputs if tensor["name"] == "past_key_values.0.encoder.key")
        key.update(type="float16", shape=list(shape))

    return changed(edit)


MALFORMED = b'{\n  "a": 1,\n  "b": }\n'
DAMAGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing": (lambda f: (f / GRAPH).unlink(), (GRAPH, "is missing")),
    "missing tokenizer": (lambda f: (f / "tokenizer.json").unlink(), ("tokenizer.json", "is missing")),
    "missing file of another variant": (
        lambda f: (f / "onnx/encoder_model_int8.onnx").unlink(),
        ("onnx/encoder_model_int8.onnx", "is missing"),
    ),
    "truncated": (truncate, (GRAPH, "is truncated: 1000 of ", " bytes")),
    "emptied": (lambda f: (f / GRAPH).write_bytes(b""), (GRAPH, "is truncated: 0 of ")),
    "edited": (flip_a_bit, (GRAPH, "was edited", "sha256")),
    "longer": (append, (GRAPH, "was edited", "bytes and must have")),
    "edited config": (lambda f: (f / "config.json").write_bytes(MALFORMED), ("config.json",)),
    "link out": (link_out, (GRAPH, "is a link out of the folder", "outside.onnx")),
    "folder linked out": (link_a_folder_out, ("onnx/", "is a link out of the folder", "elsewhere")),
    "link in circles": (link_in_circles, ("config.json", "cannot be opened")),
    "description linked out": (link_the_description_out, ("fuseline.json", "is a link out of the folder")),
    "a pipe": (pipe, ("config.json", "is not a regular file")),
    "a folder for a file": (folder_for_file, ("config.json", "is not a regular file")),
    "path up": (listed("../secret"), ("'../secret'", "not a path inside the folder")),
    "path up in the middle": (listed("onnx/../../secret"), ("not a path inside the folder",)),
    "absolute path": (listed("{parent}/secret"), ("/secret'", "not a path inside the folder")),
    "backslashes": (listed("..\\secret"), ("not a path inside the folder",)),
    "drive": (listed("C:secret"), ("not a path inside the folder",)),
    "zero byte": (listed("a\0b"), ("not a path inside the folder",)),
    "endless name": (listed("x" * 5000), ("cannot be opened",)),
    "no name": (listed(""), ("not a path inside the folder",)),
    "not JSON": (described('{\n"format": 1,\n}'), ("fuseline.json is not JSON: line 3, column 1",)),
    "not text": (lambda f: (f / "fuseline.json").write_bytes(b"\xff\xfe\xff"), ("fuseline.json is not JSON",)),
    "empty": (described(""), ("fuseline.json is not JSON: line 1",)),
    "no object": (described("[1]"), ("fuseline.json must hold a JSON object",)),
    "nested without end": (described('{"a":' * 100_000), ("fuseline.json is not JSON",)),
    "number without end": (described('{"format": ' + "9" * 5000 + "}"), ("fuseline.json is not JSON",)),
    "too large": (described(" " * (LARGEST_JSON + 1)), ("fuseline.json has 4194305 bytes and may have 4194304",)),
    "config not JSON": (with_file("config.json", MALFORMED), ("config.json is not JSON: line 3, column 8",)),
    "preprocessor a list": (with_file("preprocessor_config.json", b"[]"), ("preprocessor_config.json must hold",)),
    "newer format": (changed(lambda d: d.update(format=2)), ("of format 2", "reads format 1", "update fuseline")),
    "older format": (changed(lambda d: d.update(format=0)), ("of format 0", "export the model again")),
    "no format": (changed(lambda d: d.pop("format")), ("'format' is missing", "whole number")),
    "format true": (changed(lambda d: d.update(format=True)), ("'format' is wrong", "whole number")),
    "format a text": (changed(lambda d: d.update(format="1")), ("'format' is wrong",)),
    "no decoder": (changed(lambda d: d.pop("decoder")), ("'decoder' is missing", "an object")),
    "no layers": (changed(lambda d: d["decoder"].update(layers=0)), ("decoder: 'layers' is wrong", "at least 1")),
    "half a head": (changed(lambda d: d["decoder"].update(heads=0.5)), ("decoder: 'heads' is wrong",)),
    "no variants": (changed(lambda d: d.update(variants={})), ("no variant 'fp32'", "it has none")),
    "variant a list": (changed(lambda d: d["variants"].update(int8=[])), ("variants: 'int8' is wrong",)),
    "variant without decoder": (
        changed(lambda d: d["variants"]["int8"].pop("decoder")),
        ("variants: int8: 'decoder' is missing",),
    ),
    "default unknown": (changed(lambda d: d.update(default_variant="int4")), ("'int4'", "it has fp32, int8")),
    "graph not listed": (changed(lambda d: d["files"].pop(GRAPH)), (f"does not list {GRAPH}",)),
    "config not listed": (changed(lambda d: d["files"].pop("config.json")), ("does not list config.json",)),
    "size negative": (changed(lambda d: d["files"][GRAPH].update(bytes=-1)), (GRAPH, "'bytes' is wrong")),
    "no hash": (changed(lambda d: d["files"][GRAPH].pop("sha256")), (GRAPH, "'sha256' is missing")),
    "tensors a number": (changed(lambda d: d.update(tensors=3)), ("'tensors' is wrong",)),
    "tensor a text": (
        changed(lambda d: d["tensors"]["encoder"].update(inputs=["x"])),
        ("tensors: encoder: inputs[0]", "an object"),
    ),
    "shape of floats": (
        changed(lambda d: d["tensors"]["encoder"]["inputs"][0].update(shape=[1.5])),
        ("inputs[0]", "'shape' is wrong", "sizes and names"),
    ),
    "other tensors": (
        changed(no_first_cache),
        (
            "decoder input beam_table is missing",
            "decoder input input_ids is int32 and must be int64",
            "decoder output present.9.decoder.key is not expected",
        ),
    ),
    "more layers": (
        changed(lambda d: d["decoder"].update(layers=4, cross_attention_scales=[0.5] * 4)),
        ("encoder output past_key_values.3.encoder.key is missing", "output present.3.decoder.value is missing"),
    ),
    **{
        f"scales {scales}": (
            changed(lambda d, scales=scales: d["decoder"].update(cross_attention_scales=scales)),
            ("'cross_attention_scales' is wrong; it must be a number for each layer",),
        )
        for scales in ([0.5], "0.5", [0.5, None, 0.5], [0.5, float("nan"), 0.5], [True, 1.0, 1.0])
    },
    "other vocabulary": (
        changed(lambda d: d["decoder"].update(vocab_size=98)),
        ("decoder output logits is [R, 97] and must be [R, 98]",),
    ),
    "one photo only": (
        changed(lambda d: d["tensors"]["encoder"]["inputs"][0].update(shape=[1, 3, 32, 32])),
        ("encoder input pixel_values is [1, 3, 32, 32] and must be [B, 3, 32, 32]",),
    ),
    **{
        f"halves {shape}": (
            with_halves(*shape),
            ("decoder input past_key_values.0.encoder.key is float16 and must be float32",),
        )
        for shape in (("B", "S", 32), ("B", 4, "S", 9))
    },
    "unlisted weights": (unlisted_weights, (GRAPH, "reads its weights from onnx/weights.bin", "does not list")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_before_anything_runs(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    damage, fragments = DAMAGES[name]
    damage(folder)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    monkeypatch.setattr("fuseline.model._tokenizer", None)
    with pytest.raises(FolderError) as caught:
        Model.from_pretrained(folder)
    sentence = str(caught.value)
    for fragment in fragments:
        assert fragment in sentence
    assert "\n" not in sentence
    assert str(folder) in sentence or folder.name in sentence


def test_an_unknown_variant_names_those_there(whole: Path) -> None:
    with pytest.raises(FolderError, match="has no variant 'int4'; it has fp32, int8"):
        Folder.open(whole, "int4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(folder: Path) -> None:
    (folder / GRAPH).chmod(0)
    with pytest.raises(FolderError, match="cannot be read: Permission denied"):
        Folder.open(folder)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"there is no model folder .*/nothing"):
        Folder.open(tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FolderError, match="file is a file; a model is a folder"):
        Folder.open(tmp_path / "file")


def test_a_folder_without_a_model_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "encoder_model.onnx").write_bytes(b"")
    with pytest.raises(FolderError, match=r"has no fuseline\.json, and no encoder_model\.onnx with .* fuseline export"):
        Folder.open(tmp_path)


def test_a_bare_name_is_a_folder_here_first(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole.parent)
    assert find(whole.name) == whole.resolve()
    with pytest.raises(FolderError, match="there is no model folder no-such-model"):
        find("no-such-model")


def test_a_file_that_is_no_graph_is_refused(folder: Path) -> None:
    put(folder, GRAPH, b"no graph at all")
    with pytest.raises(FolderError, match=r"onnxruntime cannot load .*decoder_model_fp32.onnx: \S") as caught:
        Model.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_a_file_that_is_no_tokenizer_is_refused(folder: Path) -> None:
    put(folder, "tokenizer.json", b'{"version": "1.0"}')
    with pytest.raises(FolderError, match=r"tokenizer\.json is not a tokenizers file"):
        Model.from_pretrained(folder)


def test_graphs_that_are_not_as_listed_are_refused_whole(folder: Path) -> None:
    """The two graphs of a variant exchanged: their hashes are right, their tensors are not."""

    def exchange(description: dict[str, Any]) -> None:
        graphs = description["variants"]["fp32"]
        graphs["encoder"], graphs["decoder"] = graphs["decoder"], graphs["encoder"]

    change(folder, exchange)
    with pytest.raises(FolderError, match="is not the graph that") as caught:
        Model.from_pretrained(folder)
    for difference in ("input pixel_values is missing", "input beam_table is not expected", "output logits is not exp"):
        assert difference in str(caught.value)


@pytest.mark.parametrize("location", ["../../secret.bin", "{parent}/secret.bin", "link.bin"])
def test_weights_outside_the_folder_are_refused_by_onnxruntime_too(folder: Path, location: str) -> None:
    """The search for unlisted weights could be deceived; onnxruntime's own check is what keeps a graph inside."""
    secret = folder.parent / "secret.bin"
    secret.write_bytes(np.ones(4, np.float32).tobytes())
    (folder / "onnx" / "link.bin").symlink_to(secret)
    weight = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location.format(parent=folder.parent)
    value = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:], [weight])
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save_model(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / "onnx" / "out.onnx")
    with pytest.raises(Exception, match=r"(?i)external data"):
        onnxruntime.InferenceSession(str(folder / "onnx" / "out.onnx"))


def test_weights_in_a_listed_file_are_read(folder: Path) -> None:
    model = onnx.load(folder / GRAPH)
    onnx.save_model(model, folder / GRAPH, save_as_external_data=True, location="weights.bin", size_threshold=1000)
    put(folder, GRAPH, (folder / GRAPH).read_bytes())
    put(folder, "onnx/weights.bin", (folder / "onnx/weights.bin").read_bytes())
    generation = Model.from_pretrained(folder).generate(tiny.photos(1))
    assert generation.sequences.shape[1] > 2


def signature(*inputs: tuple[str, str, tuple[int | str, ...]]) -> Signature:
    return Signature(tuple(Tensor(*each) for each in inputs), ())


@pytest.mark.parametrize(
    ("expected", "found", "problems"),
    [
        (("B", 3), ("batch", 3), 0),  # names are free
        (("B", 3), ("B", "c"), 0),  # what the graph leaves open fits
        (("B", 3), (1, 3), 1),  # what must be free is not
        (("B", 3), ("B", 4), 1),
        (("B", 3), ("B", 3, 1), 1),
        (("B", "S", 8), ("B", 17, 8), 0),  # S follows from the photo's size
    ],
)
def test_shapes_fit(expected: tuple[int | str, ...], found: tuple[int | str, ...], problems: int) -> None:
    differences = mismatches("g", signature(("x", "float32", expected)), signature(("x", "float32", found)))
    assert len(differences) == problems
