"""What of a CTranslate2 folder is refused, and damaged and edited files: one sentence each, nothing written."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline.errors import Error, ExportError
from fuseline.export import export

pytest.importorskip("ctranslate2")

from ctranslate2.specs.model_spec import NumpyVariable

from fuseline.export.ctranslate2.folder import read_source
from fuseline.export.ctranslate2.reader import read_binary
from tests.ctranslate2_models import binary, ctranslate2_folder


def _set(**attributes: Any) -> Callable[[Any], None]:
    """Set variables of the specification by their paths, with __ for /."""

    def change(spec: Any) -> None:
        for path, value in attributes.items():
            *parents, name = path.split("__")
            at = spec
            for parent in parents:
                at = at[int(parent)] if parent.isdigit() else getattr(at, parent)
            object.__setattr__(at, name, NumpyVariable(np.asarray(value)))

    return change


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "rotary positions": (
        {"change": _set(decoder__layer__0__self_attention__rotary_dim=np.int32(4))},
        r"what is not known here \(rotary positions\): decoder/layer_0/self_attention/rotary_dim",
    ),
    "relative positions": (
        {"change": _set(encoder__layer__1__self_attention__relative_position_keys=np.ones((5, 4), np.float32))},
        "relative position representations",
    ),
    "ALiBi": ({"change": _set(decoder__alibi=np.int8(1))}, "has ALiBi"),
    "capped logits": ({"change": _set(decoder__final_logit_softcapping=np.float32(30))}, "capped logits"),
    "AWQ": ({"config": {"quantization_type": 1}}, "has AWQ weights"),
    "AWQ by its variables": (
        {"change": _set(decoder__layer__0__ffn__linear_0__weight_zero=np.ones((2, 2), np.int32))},
        "AWQ weights",
    ),
    "an unknown activation": ({"change": _set(encoder__activation=np.int8(5))}, "activation 'tanh' of the CTranslate2"),
    "heads that do not fit": ({"change": _set(encoder__num_heads=np.int16(5))}, "width 12 and 5 heads"),
    "fewer heads of keys": (
        {
            "change": lambda spec: [
                _set(**{f"encoder__layer__{layer}__self_attention__num_heads_kv": np.int32(1)})(spec)
                for layer in range(2)
            ]
        },
        "fewer heads for keys than for queries",
    ),
    "a token that is not there": ({"config": {"eos_token": "<end>"}}, "eos_token of the CTranslate2 model is '<end>'"),
    "a start that the user gives": ({"config": {"decoder_start_token": None}}, "decoder_start_token is null"),
    "a wrong epsilon": ({"config": {"layer_norm_epsilon": -1}}, "layer_norm_epsilon in .* must be a positive number"),
    "another width": (
        {"change": _set(encoder__layer__0__ffn__linear_1__bias=np.ones(5, np.float32))},
        r"encoder.layer_0.ffn.linear_1.bias is \[5\] and must be \[12\]",
    ),
    "codes of another form": (
        {"change": _set(encoder__layer__0__ffn__linear_1__weight=np.ones((12, 20), np.int8))},
        r"linear_1/weight of the CTranslate2 model is int8\[12, 20\] with no scale",
    ),
    "norms of two kinds": (
        {"change": lambda spec: object.__setattr__(spec.encoder.layer[0].ffn.layer_norm, "beta", "__optional")},
        "norms with and without beta",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_named(what: str, tmp_path: Path) -> None:
    options, sentence = REFUSED[what]
    folder = ctranslate2_folder(tmp_path / "model", **options)
    with pytest.raises(ExportError, match=sentence):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


FILES: Mapping[str, tuple[Callable[[Path], Any], str]] = {
    "another specification": (
        lambda folder: (folder / "model.bin").write_bytes(binary({}, specification="Wav2Vec2Spec")),
        "is of Wav2Vec2Spec, Wav2Vec2, which reads speech; what can be exported is TransformerSpec, an encoder and a ",
    ),
    "a decoder alone": (
        lambda folder: (folder / "model.bin").write_bytes(binary({}, specification="TransformerDecoderSpec")),
        "a decoder alone, which reads no source",
    ),
    "a later revision": (
        lambda folder: (folder / "model.bin").write_bytes(binary({}, revision=8)),
        "has revision 8 of TransformerSpec, and 2 to 7 are known",
    ),
    "a later version": (
        lambda folder: (folder / "model.bin").write_bytes(binary({}, version=7)),
        "has binary version 7, and versions 2 to 6 of CTranslate2 are known",
    ),
    "nothing in it": (
        lambda folder: (folder / "model.bin").write_bytes(binary({})),
        "has no encoder/embeddings/weight",
    ),
    "bfloat16": (
        lambda folder: (folder / "model.bin").write_bytes(
            binary({"x": np.zeros(2, np.float16)}).replace(b"\x04\x04\0\0\0", b"\x05\x04\0\0\0")
        ),
        "stores x as bfloat16, which is not read; convert the model with",
    ),
    "no vocabulary": (
        lambda folder: (folder / "source_vocabulary.json").unlink(),
        "has no shared_vocabulary.json .or .txt., and no source_vocabulary.json",
    ),
    "a vocabulary of another model": (
        lambda folder: (folder / "target_vocabulary.json").write_text('["<s>", "</s>", "<unk>"]'),
        "the target vocabulary in .* has 3 tokens and the embeddings are of 31",
    ),
    "several inputs": (
        lambda folder: (folder / "source_vocabulary.json").rename(folder / "source_1_vocabulary.json"),
        "several inputs for each token",
    ),
    "no list": (
        lambda folder: (folder / "target_vocabulary.json").write_text('{"a": 1}'),
        "must hold a JSON list of texts",
    ),
    "no JSON": (
        lambda folder: (folder / "target_vocabulary.json").write_text("["),
        "target_vocabulary.json is no vocabulary",
    ),
    "a token twice": (
        lambda folder: (folder / "source_vocabulary.json").write_text(
            json.dumps([*json.loads((folder / "source_vocabulary.json").read_text())[:-2], "a", "<unk>"])
        ),
        "has 'a' twice",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_files_that_cannot_be_used_are_named(what: str, tmp_path: Path) -> None:
    change, sentence = FILES[what]
    folder = ctranslate2_folder(tmp_path / "model")
    change(folder)
    with pytest.raises(ExportError, match=sentence):
        export(folder, tmp_path / "out")


def test_a_file_that_ends_anywhere_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = ctranslate2_folder(tmp_path / "model", "t5", "int8")
    whole = (folder / "model.bin").read_bytes()
    ends = [*range(0, 200), *range(200, len(whole), 97), len(whole) - 1]
    for end in ends:
        (folder / "model.bin").write_bytes(whole[:end])
        with pytest.raises(ExportError, match=r"is not a whole model of CTranslate2: .* takes \d+ bytes at byte"):
            read_binary(folder / "model.bin")
    (folder / "model.bin").write_bytes(whole + b"\0")
    with pytest.raises(ExportError, match="1 bytes follow its end"):
        read_binary(folder / "model.bin")


def test_an_edited_file_is_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    """Any byte may be another one: no error but ours comes out, and no memory is taken for what is not there."""
    folder = ctranslate2_folder(tmp_path / "model", "pre-norm", "int16")
    whole = bytearray((folder / "model.bin").read_bytes())
    chance = np.random.default_rng(0)
    places = [*range(120), *chance.integers(0, len(whole), 300), *range(len(whole) - 120, len(whole))]
    refused = 0
    for place in places:
        before, whole[place] = whole[place], int(chance.integers(256))
        (folder / "model.bin").write_bytes(whole)
        try:
            read_source(folder)
        except Error:
            refused += 1
        whole[place] = before
    assert refused > 50


HUGE: Mapping[str, bytes] = {
    "a name": struct.pack("<IH", 6, 65535),
    "variables": binary({})[:-8] + struct.pack("<I", 1 << 31),
    "a shape": binary({"x": np.zeros(1, np.float32)}).replace(
        struct.pack("<BI", 1, 1), struct.pack("<BI", 1, 0xFFFFFFFF)
    ),
    "dimensions": binary({"x": np.zeros((1,) * 8, np.float32)}).replace(b"x\0\x08", b"x\0\xff"),
    "content": binary({"x": np.zeros(4, np.float32)}).replace(
        struct.pack("<IBI", 4, 0, 16), struct.pack("<IBI", 1 << 28, 0, 1 << 30)
    ),
}


@pytest.mark.parametrize("what", HUGE)
def test_sizes_beyond_the_file_are_refused(what: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(HUGE[what])
    with pytest.raises(ExportError, match="is not a whole model of CTranslate2"):
        read_binary(tmp_path / "model.bin")


NAMES = {"a line break": "x\ny", "an escape": "\x1b[31m", "nothing": ""}


@pytest.mark.parametrize("what", NAMES)
def test_names_can_be_printed(what: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(binary({NAMES[what]: np.zeros(1, np.float32)}))
    with pytest.raises(ExportError, match="the name of variable 0 is") as error:
        read_binary(tmp_path / "model.bin")
    assert str(error.value).isprintable()


def test_aliases_bring_their_scales_and_stand_for_something(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    stored = {"a/weight": np.ones((2, 3), np.int8), "a/weight_scale": np.ones(2, np.float32)}
    path.write_bytes(binary(stored, {"b/weight": "a/weight"}))
    found = read_binary(path).variables
    assert found["b/weight"] is found["a/weight"]
    assert found["b/weight_scale"] is found["a/weight_scale"]
    path.write_bytes(binary(stored, {"b/weight": "c/weight"}))
    with pytest.raises(ExportError, match="the alias b/weight stands for c/weight, which it does not hold"):
        read_binary(path)
