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
from fuseline.files.reading import LARGEST_JSON
from fuseline.folders.open import find, open_folder
from fuseline.folders.tensors import Signature, Tensor, mismatches
from tests import graph_damage, tiny

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
    folder = open_folder(whole)
    assert folder.variant == folder.default_variant == "fp32"
    assert sorted(folder.variants) == ["fp32", "int8"]
    assert folder.decoder_path == whole.resolve() / GRAPH
    assert (folder.decoder.layers, folder.decoder.width, folder.decoder.vocab_size) == (3, 32, 97)
    assert folder.sizes[GRAPH] == (whole / GRAPH).stat().st_size
    assert folder.config["model_type"] == "vision-encoder-decoder"
    assert folder.generation_config["max_length"] == tiny.MAX_LENGTH
    assert folder.preprocessor_config["image_processor_type"] == "ViTImageProcessor"
    assert open_folder(str(whole), "int8").encoder_path.name == "encoder_model_int8.onnx"


def test_generation_config_may_be_absent(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    change(folder, lambda d: d["files"].pop("generation_config.json"))
    assert open_folder(folder).generation_config == {}


def test_links_that_stay_inside_are_followed(folder: Path) -> None:
    (folder / GRAPH).rename(folder / "real.onnx")
    (folder / GRAPH).symlink_to("../real.onnx")
    assert open_folder(folder).variant == "fp32"


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert open_folder(tmp_path / "link").path == folder.resolve()


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


def change_graph(name: str) -> Callable[[Path], object]:
    """The decoder graph is called so."""

    def edit(description: dict[str, Any]) -> None:
        description["variants"]["fp32"]["decoder"] = name
        description["files"][name] = description["files"][GRAPH]

    return changed(edit)


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


def with_location(location: str, **entries: object) -> Callable[[Path], object]:
    """A graph with one weight in a file of that name, which is listed, and does exist where it may."""

    def damage(folder: Path) -> None:
        for place in (folder, folder / "onnx"):
            (place / "w").write_bytes(bytes(100))
        entry = {"bytes": 100, "sha256": hashlib.sha256(bytes(100)).hexdigest()}
        change(folder, lambda d: d["files"].update({"w": entry, "onnx/w": entry}))
        node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
        graph = graph_damage.graph(node, initializer=[graph_damage.outside(location, dims=(4,), **entries)])
        put(folder, GRAPH, graph.SerializeToString())

    return damage


def shared_weights(folder: Path) -> None:
    """A thousand tensors that are the same 1 MB of a file."""
    put(folder, "onnx/w", bytes(1 << 20))
    tensor = graph_damage.outside("w", dims=(1 << 18,))
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    put(folder, GRAPH, graph_damage.graph(node, initializer=[tensor] * 1000).SerializeToString())


def sparse_weights(size: int, dims: int) -> Callable[[Path], object]:
    """A file of that size of which hardly anything is on the disk."""

    def damage(folder: Path) -> None:
        with (folder / "onnx/w").open("wb") as file:
            file.truncate(size)
        change(folder, lambda d: d["files"].update({"onnx/w": {"bytes": size, "sha256": "0" * 64}}))
        node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
        graph = graph_damage.graph(node, initializer=[graph_damage.outside("w", dims=(dims,))])
        put(folder, GRAPH, graph.SerializeToString())

    return damage


MALFORMED = b'{\n  "a": 1,\n  "b": }\n'
SURE = {"intercept": 0.5, "weights": {"mean_log_prob": 1.0}, "unsure_below": 0.5}

DAMAGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing": (lambda f: (f / GRAPH).unlink(), (GRAPH, "is missing")),
    "missing tokenizer": (lambda f: (f / "tokenizer.json").unlink(), ("tokenizer.json", "is missing")),
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
    "endless name": (change_graph("x" * 5000 + ".onnx"), ("cannot be opened: File name too long",)),
    "no name": (listed(""), ("not a path inside the folder",)),
    "not JSON": (described('{\n"format": 1,\n}'), ("fuseline.json is not JSON: line 3, column 1",)),
    "not text": (lambda f: (f / "fuseline.json").write_bytes(b"\xff\xfe\xff"), ("fuseline.json is not JSON",)),
    "empty": (described(""), ("fuseline.json is not JSON: line 1",)),
    "no object": (described("[1]"), ("fuseline.json must hold a JSON object",)),
    "nested without end": (described('{"a":' * 100_000), ("fuseline.json is not JSON",)),
    "number without end": (
        described('{"format": ' + "9" * 5000 + "}"),
        ("'format' is wrong; it must be a whole number",),
    ),
    "too large": (described(" " * (LARGEST_JSON + 1)), ("fuseline.json has 4194305 bytes and may have 4194304",)),
    "config not JSON": (with_file("config.json", MALFORMED), ("config.json is not JSON: line 3, column 8",)),
    "preprocessor a list": (with_file("preprocessor_config.json", b"[]"), ("preprocessor_config.json must hold",)),
    "newer format": (changed(lambda d: d.update(format=3)), ("of format 3", "reads format 1 and 2", "update fuseline")),
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
    **{
        f"weights at {location}": (with_location(location), ("which is not a path inside the folder",))
        for location in ("../w", "/etc/passwd", "x/../../w", "", "a\\w", "w\0", "C:w", ".")
    },
    "weights beyond their file": (with_location("w", offset=90), ("onnx/w is truncated: it has 100 bytes", "106")),
    "weights too far": (with_location("w", offset=1 << 59), ("more than this machine's memory",)),
    "weights by another name": (with_location("W"), ("reads its weights from onnx/W", "does not list")),
    "weights that are memory": (with_location("*/_ORT_MEM_ADDR_/*"), ("an address in its memory",)),
    "weights over each other": (shared_weights, ("its graphs read 1048576000 bytes of weights",)),
    "weights not used": (sparse_weights(1 << 42, 4), ("has 4398046511104 bytes, of which its graph reads 16",)),
    "weights without end": (sparse_weights(1 << 42, 1 << 40), ("4398.0 GB, more than this machine's memory",)),
    "a huge tokenizer": (
        lambda f: os.truncate(f / "tokenizer.json", 1 << 40),
        ("tokenizer.json has 1099511627776 bytes and may have",),
    ),
    "a huge config": (lambda f: os.truncate(f / "config.json", 1 << 40), ("config.json has 1099511627776 bytes and",)),
    "a byte order mark": (
        lambda f: (f / "fuseline.json").write_bytes(b"\xef\xbb\xbf{}"),
        ("fuseline.json is not JSON: line 1, column 1: Unexpected UTF-8 BOM",),
    ),
    "UTF-16": (lambda f: (f / "fuseline.json").write_bytes("{}".encode("utf-16")), ("byte 0 is not UTF-8",)),
    "a key twice": (described('{"format": 1, "format": 1}'), ("fuseline.json is not JSON: it has 'format' twice",)),
    "a list of lists": (described("[" * 100_000), ("fuseline.json is not JSON", "nested too deep")),
    "a million keys": (
        described("{" + ",".join(f'"{i}":1' for i in range(300_000)) + "}"),
        ("fuseline.json: 'format' is missing",),
    ),
    "endless layers": (changed(lambda d: d["decoder"].update(layers=10**9)), ("'layers' is wrong", "at most 1000")),
    **{
        f"{key} {value}": (changed(lambda d, key=key, value=value: d["decoder"].update({key: value})), (f"'{key}' is",))
        for key in ("layers", "heads", "head_size", "vocab_size", "max_positions")
        for value in (-1, 10**12, 10**400, float("nan"), float("inf"), 1e9, True, None, "3", [3])
    },
    "half a character": (changed(lambda d: d["files"].update({"\ud800": {}})), ("not a path inside the folder",)),
    "half a character in a variant": (
        changed(lambda d: d["variants"].update({"\ud800": d["variants"]["fp32"]})),
        ("variants: '\\\\ud800' is no name",),
    ),
    "many variants": (
        changed(lambda d: d.update(variants={f"v{i:03}": d["variants"]["fp32"] for i in range(999)})),
        ("it has v000, v001, v002, v003, v004, v005 and 993 more",),
    ),
    "many files forgotten": (
        changed(
            lambda d: d.update(variants={f"v{i}": {"encoder": f"{i}.onnx", "decoder": "d.onnx"} for i in range(99)})
        ),
        ("does not list 0.onnx, d.onnx, 1.onnx, 2.onnx, 3.onnx, 4.onnx and 94 more",),
    ),
    "many tensors": (
        changed(
            lambda d: d["tensors"]["encoder"].update(
                inputs=[{"name": str(i), "type": "x", "shape": []} for i in range(9999)]
            )
        ),
        ("encoder input pixel_values is missing", "more differences"),
    ),
    "a tensor twice": (
        changed(lambda d: d["tensors"]["decoder"]["inputs"].append(d["tensors"]["decoder"]["inputs"][0])),
        ("decoder input input_ids is there twice",),
    ),
    **{
        f"{section} {value}": (changed(lambda d, s=section, v=value: d.update({s: v})), (section, right))
        for section, value, right in (
            ("quality", [], "'quality' is wrong; it must be an object"),
            ("quality", {"fp32": 3}, "'fp32' is wrong; it must be an object"),
            ("quality", {"fp32": {"CIDEr": float("nan")}}, "'CIDEr' is wrong; it must be text, finite numbers"),
            ("quality", {"fp32": {"CIDEr": [[10**400]]}}, "'CIDEr' is wrong; it must be text, finite numbers"),
            ("agreement", {"fp32": None}, "'fp32' is wrong; it must be an object"),
            ("agreement", {"fp32": {"beam": {"x": float("-inf")}}}, "'beam' is wrong"),
            ("made_by", {"fuseline": 1}, "'fuseline' is wrong; it must be a text"),
            ("made_by", {"fuseline": "\ud800"}, "'fuseline' is wrong; it must be a text without halves"),
            ("max_loss", float("nan"), "'max_loss' is wrong"),
            ("max_loss", 10**400, "'max_loss' is wrong"),
            ("confidence", [], "'confidence' is wrong; it must be an object"),
            (
                "confidence",
                {"weights": {"tokens": 1}, "unsure_below": 0},
                "'intercept' is missing; it must be a number from -1e+09",
            ),
            ("confidence", SURE | {"intercept": float("nan")}, "'intercept' is wrong; it must be a number from"),
            ("confidence", SURE | {"intercept": True}, "'intercept' is wrong"),
            ("confidence", SURE | {"intercept": 10**400}, "'intercept' is wrong"),
            ("confidence", SURE | {"intercept": "1"}, "'intercept' is wrong"),
            (
                "confidence",
                SURE | {"weights": {}},
                "'weights' is wrong; it must be at least one number, since how sure",
            ),
            ("confidence", SURE | {"weights": None}, "'weights' is wrong; it must be an object"),
            ("confidence", SURE | {"weights": {"tokens": float("inf")}}, "'tokens' is wrong; it must be a number"),
            ("confidence", SURE | {"weights": {"words": 1}}, "first_log_prob, second_lowest_log_prob, without 'words'"),
            ("confidence", SURE | {"weights": {"\ud800": 1}}, "'weights' is wrong"),
            ("confidence", SURE | {"unsure_below": 1.01}, "'unsure_below' is wrong; it must be a number from 0 to 1"),
            ("confidence", SURE | {"unsure_below": -0.01}, "'unsure_below' is wrong"),
            ("confidence", SURE | {"unsure_below": float("nan")}, "'unsure_below' is wrong"),
        )
    },
    "unlisted weights": (unlisted_weights, (GRAPH, "reads its weights from onnx/weights.bin", "does not list")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_before_anything_runs(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    damage, fragments = DAMAGES[name]
    damage(folder)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    monkeypatch.setattr("fuseline.inputs.open.open_tokenizer", None)
    with pytest.raises(FolderError) as caught:
        Model.from_pretrained(folder)
    sentence = str(caught.value)
    for fragment in fragments:
        assert fragment in sentence
    assert "\n" not in sentence
    assert str(folder) in sentence or folder.name in sentence


INT8 = "onnx/encoder_model_int8.onnx"


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\0" * 9)]
)
def test_files_of_other_variants_are_not_asked_for(folder: Path, damage: Callable[[Path], object]) -> None:
    """A folder that was downloaded in part opens; whoever asks for another variant, or for all of it, is told."""
    damage(folder / INT8)
    opened = open_folder(folder)
    assert opened.variant == "fp32"
    assert opened.has("int8") == (folder / INT8).exists()
    for ask in (
        lambda: opened.using("int8"),
        lambda: open_folder(folder, "int8"),
        lambda: open_folder(folder, whole=True),
    ):
        with pytest.raises(
            FolderError, match=r"encoder_model_int8\.onnx is (missing|truncated)|encoder_model_int8.onnx was"
        ):
            ask()


def test_only_what_the_variant_reads_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = os.open

    def watched(path: Any, *rest: Any, **more: Any) -> int:
        read.append(str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", watched)
    opened = open_folder(folder, "int8")
    assert {Path(path).name for path in read} == {
        *("fuseline.json", "config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"),
        *("encoder_model_int8.onnx", "decoder_model_int8.onnx"),
    }
    assert opened.facts_of(opened.decoder_path).nodes > 10
    read.clear()
    assert opened.using("int8") is opened
    other = opened.using("fp32")
    assert {Path(path).name for path in read} == {"encoder_model_fp32.onnx", "decoder_model_fp32.onnx"}
    assert (other.variant, other.decoder_path.name) == ("fp32", "decoder_model_fp32.onnx")


def test_another_file_that_is_listed_is_checked_with_the_whole_folder(folder: Path) -> None:
    put(folder, "notes.txt", b"as it was")
    assert open_folder(folder, whole=True)
    (folder / "notes.txt").write_bytes(b"as it is.")
    assert open_folder(folder)
    with pytest.raises(FolderError, match="notes.txt was edited"):
        open_folder(folder, whole=True)


@pytest.mark.parametrize("name", [GRAPH, "tokenizer.json", "config.json"])
@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "written to"])
def test_what_changes_while_a_model_opens_is_noticed(folder: Path, name: str, replaced: bool) -> None:
    opened = open_folder(folder)
    Model(opened)
    content = (folder / name).read_bytes()
    if replaced:
        (folder / "new").write_bytes(content)
        os.replace(folder / "new", folder / name)
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(FolderError, match=f"{name} was changed while it is open"):
        Model(opened)


@pytest.mark.parametrize("damage", [lambda f: os.mkfifo(f), lambda f: f.mkdir(), lambda f: f.symlink_to("nowhere")])
def test_a_description_that_cannot_be_read_is_one(folder: Path, damage: Callable[[Path], object]) -> None:
    """It must not make a folder one of another tool, which has no hashes."""
    for part in ("encoder_model", "decoder_model"):
        (folder / f"onnx/{part}_fp32.onnx").rename(folder / f"{part}.onnx")
    (folder / "fuseline.json").unlink()
    damage(folder / "fuseline.json")
    with pytest.raises(
        FolderError, match=r"fuseline\.json (is not a regular file|is a link to a file that is not there)"
    ):
        open_folder(folder)


def test_a_graph_may_not_be_of_another_format(folder: Path) -> None:
    """onnxruntime goes by the name: .ort is its own format, in which nothing is checked here."""
    (folder / GRAPH).rename(folder / "onnx/decoder.ort")
    change_graph("onnx/decoder.ort")(folder)
    with pytest.raises(FolderError, match=r"'onnx/decoder\.ort' must be a file whose name ends in \.onnx"):
        open_folder(folder)


def test_an_unknown_variant_names_those_there(whole: Path) -> None:
    with pytest.raises(FolderError, match="has no variant 'int4'; it has fp32, int8"):
        open_folder(whole, "int4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(folder: Path) -> None:
    (folder / GRAPH).chmod(0)
    with pytest.raises(FolderError, match="cannot be read: Permission denied"):
        open_folder(folder)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"there is no model folder .*/nothing"):
        open_folder(tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FolderError, match="file is a file; a model is a folder"):
        open_folder(tmp_path / "file")


def test_an_empty_path_is_not_the_current_folder(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    with pytest.raises(FolderError, match="a model's path is empty; name a folder"):
        open_folder("")
    assert open_folder(".").path == whole


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 10_000, "\ud800", "\udcff/x", "~", "a\nb", "\x1b[31m"])
def test_odd_paths_are_refused_in_a_sentence(path: str) -> None:
    with pytest.raises(FolderError) as caught:
        open_folder(path)
    assert str(caught.value).isprintable()


def test_a_folder_without_a_model_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "encoder_model.onnx").write_bytes(b"")
    with pytest.raises(FolderError, match=r"has no fuseline\.json, and no encoder_model\.onnx with .* fuseline export"):
        open_folder(tmp_path)


def test_a_bare_name_is_a_folder_here_first(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole.parent)
    assert find(whole.name) == whole.resolve()
    with pytest.raises(FolderError, match="there is no model folder no-such-model"):
        find("no-such-model")


def test_a_file_that_is_no_graph_is_refused(folder: Path) -> None:
    put(folder, GRAPH, b"no graph at all")
    with pytest.raises(
        FolderError, match=r"decoder_model_fp32.onnx is not a graph that can be opened: it \S"
    ) as caught:
        Model.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_a_file_that_is_no_tokenizer_is_refused(folder: Path) -> None:
    put(folder, "tokenizer.json", b'{"version": "1.0"}')
    with pytest.raises(FolderError, match=r"tokenizer\.json: 'model' must be an object with a 'vocab'"):
        Model.from_pretrained(folder)


def test_graphs_that_are_not_as_listed_are_refused_whole(folder: Path) -> None:
    """The two graphs of a variant exchanged: their hashes are right, their tensors are not."""

    def exchange(description: dict[str, Any]) -> None:
        graphs = description["variants"]["fp32"]
        graphs["encoder"], graphs["decoder"] = graphs["decoder"], graphs["encoder"]

    change(folder, exchange)
    with pytest.raises(FolderError, match="is not the graph that") as caught:
        Model.from_pretrained(folder)
    for difference in ("input pixel_values is missing", "input beam_table is not expected", "more differences"):
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
