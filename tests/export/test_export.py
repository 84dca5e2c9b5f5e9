"""From a checkpoint to a folder, whole: export() and `fuseline export` against transformers, and what is refused.

The models are small with random weights enlarged (tests/tiny.py), saved by transformers as those on the hub are.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from transformers import BeitConfig, DeiTConfig, GPT2Tokenizer, PretrainedConfig, SwinConfig

from fuseline import Model, cli
from fuseline.errors import Error, ExportError
from fuseline.export import convert, export, sources
from fuseline.export.adapters import decoder_adapter, known_decoders, known_models
from fuseline.export.check import ask, check, compare
from fuseline.export.checkpoints.photo_size import configured_size, generated_pixels
from fuseline.export.encoders.traced import export_encoder
from tests import encoders, tiny

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny_model(0), saved. Shared: copy it to change it."""
    return tiny.write_checkpoint(tiny.tiny_model(0), tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def source(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "source"))


# What is written says what transformers says -------------------------------------------------------


def vision(name: str) -> tuple[PretrainedConfig | None, dict[str, Any]]:
    """An encoder's configuration, None for ViT, and what else of the model is other than usual."""
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 56,
        "image_size": tiny.PHOTO,
        "patch_size": 8,
    }
    if name == "deit":
        return DeiTConfig(**sizes), {}  # type: ignore[no-untyped-call]
    if name == "beit":
        return BeitConfig(**sizes, use_relative_position_bias=True), {"n_head": 2}  # type: ignore[no-untyped-call]
    if name == "swin":  # 24 wide after two stages, so there is an enc_to_dec_proj
        stages: dict[str, Any] = {"embed_dim": 12, "depths": [1, 2], "num_heads": [2, 3], "window_size": 4}
        swin = SwinConfig(image_size=tiny.PHOTO, patch_size=4, **stages)  # type: ignore[no-untyped-call]
        return swin, {"tie_word_embeddings": False}
    return None, {}


@pytest.mark.parametrize(
    ("name", "seed", "photos"),
    [
        ("vit", 0, 20),
        pytest.param("swin", 0, 6, marks=pytest.mark.slow),
        ("vit", 1, 20),
        ("vit", 2, 20),
        ("deit", 0, 6),
        pytest.param("beit", 0, 6, marks=pytest.mark.slow),
    ],
)
def test_token_ids_equal_those_of_transformers(
    name: str, seed: int, photos: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "traced_encoder", encoders.traced_encoder)
    config, fields = vision(name)
    reference = tiny.tiny_vit_gpt2(seed, vision=config, **fields)
    report = export(tiny.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out")
    agreement = report.agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.first_difference) == (1.0, 1.0, None)
    assert agreement.logits < 2e-4
    assert agreement.texts > 1
    model, captions = Model.from_pretrained(tmp_path / "out", threads=1), set()
    pixels = tiny.photos(photos, seed)
    for beams in (1, 4):
        rows = reference.generate(torch.from_numpy(pixels), num_beams=beams, max_length=16).numpy()
        expected = [tiny.ended(row, tiny.END) for row in rows]
        captions.update(expected)
        for batch in (1, 3):
            for first in range(0, photos, batch):
                found = model.generate(pixels[first : first + batch], num_beams=beams, max_length=16).sequences
                assert [tiny.ended(row, tiny.END) for row in found] == expected[first : first + batch]
    assert len(captions) > photos // 2, "the photos should be told apart, or the test shows nothing"


def test_the_folder_holds_the_checkpoint_s_own_files_and_the_agreement(checkpoint: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    out = tmp_path / "out"
    report = export(str(checkpoint), out, ["int8", "fp32"], progress=lambda *step: steps.append(step))
    for name in ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == (checkpoint / name).read_bytes()
    about = json.loads((out / "fuseline.json").read_text())
    assert (about["default_variant"], list(about["variants"])) == ("int8", ["int8", "fp32"])
    assert about["agreement"] == {variant: found.record() for variant, found in report.agreement.items()}
    assert about["agreement"]["fp32"]["greedy"] == about["agreement"]["fp32"]["beam"] == 1.0
    assert 0 < about["agreement"]["fp32"]["logits"] < 2e-4 < about["agreement"]["int8"]["logits"]
    assert report.files == {p.relative_to(out).as_posix(): p.stat().st_size for p in out.rglob("*") if p.is_file()}
    assert [step for step, _, _ in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert {count for _, count, _ in steps} == {6}
    assert list(tmp_path.iterdir()) == [out]


def test_max_length_leaves_positions_out(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "out", max_length=9)
    model = Model.from_pretrained(tmp_path / "out", threads=1)
    assert model.folder.decoder.max_positions == 8
    assert model.generation_config.max_length == 9  # 16 in the checkpoint, which would not fit
    pixels = tiny.photos(4)
    expected = tiny.tiny_model(0).generate(torch.from_numpy(pixels), max_length=9).numpy()
    np.testing.assert_array_equal(model.generate(pixels).sequences, expected)


def test_the_encoder_keeps_no_trace_of_the_machine() -> None:
    graph = tiny.tiny_encoder(0)
    assert b".py" not in graph.SerializeToString()
    onnx.checker.check_model(graph)


def test_a_tokenizer_is_made_of_slow_files(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    words = ["<|endoftext|>", "c", "a", "t", "Ġ", "ca", "cat", *(f"w{index}" for index in range(90))]
    (source / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (source / "merges.txt").write_text("#version: 0.2\nc a\nca t\n")
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": GPT2Tokenizer.__name__}))
    export(source, tmp_path / "out")
    model = Model.from_pretrained(tmp_path / "out", threads=1)
    assert model.decode(np.array([[6, 4, 6, 0]])) == ["cat cat"]


def test_pickled_weights_are_read_as_tensors_only(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").unlink()
    torch.save(tiny.tiny_model(0).state_dict(), source / "pytorch_model.bin")
    export(source, tmp_path / "out")
    assert Model.from_pretrained(tmp_path / "out").folder.variant == "fp32"


# What is refused ----------------------------------------------------------------------------------


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def edit(name: str, **fields: Any) -> Change:
    """Change fields of a JSON file; None removes one, a dict is merged."""

    def change(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        for key, value in fields.items():
            values[key] = (values.get(key) or {}) | value if isinstance(value, dict) else value
        (folder / name).write_text(json.dumps({key: value for key, value in values.items() if value is not None}))

    return change


def cut(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def lose_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["decoder.transformer.h.1.crossattention.c_attn.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def attack(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Touch(folder.parent / "attacked")}))


def link_outside(folder: Path) -> None:
    (folder.parent / "secret").write_text("{}")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder.parent / "secret")


def shards(*names: str) -> Change:
    """Weights in files that an index lists, the first one in the place of model.safetensors."""

    def change(folder: Path) -> None:
        from safetensors import safe_open

        with safe_open(folder / "model.safetensors", "pt") as weights:
            tensors = list(weights.keys())
        (folder.parent / "outside.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        files = {tensor: names[index % len(names)] for index, tensor in enumerate(tensors)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))

    return change


def large_header(folder: Path) -> None:
    """safetensors begins with the length of its header: here a gigabyte, in a file that has so many bytes."""
    with (folder / "model.safetensors").open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little") + b"{")
        file.truncate((1 << 30) + 8)


def own_code(folder: Path) -> None:
    """A configuration, a model and a tokenizer whose code is to come with the checkpoint."""
    code = f"import pathlib; pathlib.Path({str(folder.parent / 'attacked')!r}).touch()\n"
    for name in ("modeling", "configuration", "tokenization"):
        (folder / f"{name}.py").write_text(code + "class Own: pass\n")
    edit("config.json", auto_map={"AutoConfig": "configuration.Own", "AutoModel": "modeling.Own"})(folder)
    (folder / "tokenizer.json").unlink()
    own = {"auto_map": {"AutoTokenizer": ["tokenization.Own", None]}, "tokenizer_class": "Own"}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))


def vocabulary_outside(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder.parent / "secret").write_text("{}")
    (folder / "sentencepiece.bpe.model").symlink_to(folder.parent / "secret")


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


INDEX = "model.safetensors.index.json"
REFUSED: dict[str, tuple[Change, str]] = {
    "architecture": (
        edit("config.json", architectures=["BlipModel"], model_type="blip"),
        "the architecture BlipModel or blip cannot be exported; known are BartForConditionalGeneration, BartModel",
    ),
    "encoder": (
        edit("config.json", encoder={"model_type": "clip"}),
        "the encoder clip cannot be exported; known are beit, chinese_clip_vision_model, clip_vision_model, ",
    ),
    "decoder": (
        edit("config.json", decoder={"model_type": "opt", "architectures": ["OPTForCausalLM"]}),
        "the decoder OPTForCausalLM or opt cannot be exported; known are BartForCausalLM, BertGenerationDecoder",
    ),
    "section": (edit("config.json", decoder=None), "must have an object called encoder and one called decoder"),
    "no config": (remove("config.json"), "has no config.json"),
    "not JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "config.json must hold a JSON object"),
    "no weights": (remove("model.safetensors"), "has no weights; one of model.safetensors"),
    "no preprocessor": (remove("preprocessor_config.json"), "has no preprocessor_config.json"),
    "preprocessor": (edit("preprocessor_config.json", image_processor_type="OddProcessor"), "ViTImageProcessor"),
    "generation": (edit("generation_config.json", penalty_alpha=0.6), "penalty_alpha=0.6 is not supported"),
    "truncated": (cut, "transformers cannot load"),
    "missing tensor": (lose_a_tensor, "lack 1 tensors: decoder.transformer.h.1.crossattention.c_attn.weight"),
    "another width": (edit("config.json", decoder={"n_inner": 71}), "transformers cannot load"),
    "pickle": (attack, "transformers cannot load"),
    "no tokenizer": (remove("tokenizer.json"), "has no tokenizer.json, and no vocab.json and no merges.txt"),
    "weights outside": (
        shards("../outside.safetensors"),
        "lists '../outside.safetensors', which is no file of weights",
    ),
    "weights anywhere": (shards("/etc/passwd"), "lists '/etc/passwd', which is no file of weights in the checkpoint"),
    "weights missing": (shards("model-1.safetensors", "x.safetensors"), "lists 'x.safetensors', which is no file"),
    "index": (lambda f: (shards("x")(f), edit(INDEX, weight_map=None)(f)), "must have an object called weight_map"),
    "other weights": (
        edit("config.json", transformers_weights="../x.safetensors"),
        "has transformers_weights, which is",
    ),
    "quantized": (edit("config.json", quantization_config={}), "config.json has quantization_config, which is not"),
    "adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "is an adapter of PEFT"),
    "large header": (large_header, "transformers cannot load"),
    "own code": (own_code, "how to make one for Own is not known here"),
    "vocabulary outside": (vocabulary_outside, "sentencepiece.bpe.model is a link out of the checkpoint"),
    "large JSON": (lambda f: os.truncate(f / "config.json", 1 << 30), "config.json has 1073741824 bytes and may have"),
    "link": (link_outside, "tokenizer.json is a link out of the checkpoint"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_checkpoints_that_are_refused(case: str, source: Path, tmp_path: Path) -> None:
    change, sentence = REFUSED[case]
    change(source)
    (tmp_path / "to").mkdir()
    with pytest.raises(Error) as error:
        export(source, tmp_path / "to" / "out")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "to").iterdir())
    assert not (tmp_path / "attacked").exists()


def test_weights_in_several_files(source: Path, tmp_path: Path) -> None:
    shards("model-1.safetensors")(source)
    assert export(source, tmp_path / "out").agreement["fp32"].beam == 1.0


# What a local checkpoint is exported without: anything that is sent, any name that is looked up.
WATCHED = """
import os, sys
opened = []

def hook(event, arguments):
    # When urllib3 is imported it tries whether IPv6 is there, with a socket of this machine that nothing is sent by.
    of_urllib3 = event == "socket.__new__" or (event == "socket.bind" and arguments[1] == ("::1", 0))
    if event.startswith("socket.") and not of_urllib3:
        opened.append((event, arguments))

sys.addaudithook(hook)
from fuseline.export import export
export(sys.argv[1], sys.argv[2], ["fp32", "int8"])
from huggingface_hub import constants
print(opened, constants.HF_HUB_OFFLINE, os.environ["HF_HUB_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize("odd", [False, True])
def test_a_local_checkpoint_is_exported_without_the_network(odd: bool, source: Path, tmp_path: Path) -> None:
    """odd: with settings that transformers looks up on the hub where it may."""
    if odd:
        hub = {"_name_or_path": "org/name", "attn_implementation": "kernels-community/flash-attn"}
        edit("config.json", **hub, encoder=hub, decoder=hub)(source)
        torch.save(tiny.tiny_model(0).state_dict(), source / "pytorch_model.bin")
        (source / "model.safetensors").unlink()  # which transformers would ask the hub to convert
    arguments = [sys.executable, "-c", WATCHED, str(source), str(tmp_path / "out")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] False 1\n"


def test_arguments_that_are_refused(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"variants": ["fp32", "int2"]}, "variants are fp32, int2 and must be some of fp32, fp16, bf16, int8, int4"),
        ({"variants": []}, "variants are none and must be"),
        ({"variants": ["fp32", "fp32"]}, "variants are fp32, fp32 and must be"),
        ({"max_length": 1}, "max_length 1 must be at least 2"),
        ({"out": tmp_path / "mine"}, "holds something else than a fuseline folder"),
        ({"source": tmp_path / "nothing"}, "there is no folder"),
    ]
    for changes, sentence in cases:
        with pytest.raises(ExportError, match=sentence):
            export(**{"source": checkpoint, "out": tmp_path / "out"} | changes)
    assert not (tmp_path / "out").exists()


def test_an_older_folder_is_replaced_only_by_force(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "out", max_length=9)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ExportError, match="out is a fuseline folder already; replace it with --force"):
        export(checkpoint, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert cli.main(["export", str(checkpoint), str(tmp_path / "out"), "--force", "--json"]) == 0
    assert Model.from_pretrained(tmp_path / "out").folder.decoder.max_positions == 40


def test_more_tokens_than_positions_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="max_length 42 is more than the 41 tokens that the decoder can write"):
        export(checkpoint, tmp_path / "out", max_length=42)


def test_hub_names_are_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **options: Any) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        assert name == "org/name"
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ExportError, match="there is no folder org/name, and the hub cannot be reached"):
        export("org/name", tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_export_leaves_what_was_there(
    error: BaseException, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(convert, "compare", fail)
    expected = ExportError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="cannot be written: No space left" if expected is ExportError else None):
        export(checkpoint, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_adapters_are_found_by_class_name_or_model_type() -> None:
    causal = ["Bart", "Blenderbot", "Camembert", "Data2VecText", "Electra", "MBart", "Marian", "Mvp"]
    causal += ["PLBart", "Pegasus", "Roberta", "TrOCR", "XGLM", "XLMRoberta"]
    others = ["BertGenerationDecoder", "BertLMHeadModel", "BlipTextLMHeadModel", "GPT2LMHeadModel"]
    names = sorted([*(f"{name}ForCausalLM" for name in causal), *others])
    assert [name for name in known_decoders() if name[0].isupper()] == names
    seq2seq = ["Bart", "Blip", "M2M100", "MBart", "MT5", "Moonshine", "Pegasus", "T5", "Whisper"]
    others = ["BartModel", "EncoderDecoderModel", "GPT2LMHeadModel", "MarianMTModel", "T5WithLMHeadModel"]
    others.append("VisionEncoderDecoderModel")
    names = sorted([*(f"{name}ForConditionalGeneration" for name in seq2seq), *others])
    assert [name for name in known_models() if name[0].isupper()] == names
    by_class = decoder_adapter({"architectures": ["GPT2LMHeadModel"]})
    assert decoder_adapter({"architectures": None, "model_type": "gpt2"}) is by_class
    with pytest.raises(ExportError, match="the decoder without a name cannot be exported"):
        decoder_adapter({})


def test_encoders_that_cannot_be_traced_are_refused() -> None:
    with pytest.raises(ExportError, match="image_size 'large' of the encoder must be a number of pixels"):
        configured_size({"image_size": "large"})
    with pytest.raises(ExportError, match="torch cannot export the encoder Linear"):
        export_encoder(torch.nn.Linear(3, 3), (8, 8))


# The comparison -----------------------------------------------------------------------------------


def test_a_difference_is_a_sentence(tiny_path: Path) -> None:
    with pytest.raises(ExportError) as error:
        check(tiny_path, "fp32", tiny.tiny_vit_gpt2(1))
    assert "the exported model does not say what transformers says: greedy, photo 0, position 1" in str(error.value)
    assert "expected token" in str(error.value)


def test_a_tie_is_reported_and_no_error(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuseline.export.check.TIE", 1e3)
    found = check(tiny_path, "fp32", tiny.tiny_vit_gpt2(1), photos=3)
    assert found.tie
    assert found.greedy < 1
    assert found.first_difference is not None
    assert "whose log-probability there is" in found.first_difference


def test_the_same_model_agrees(tiny_path: Path, tiny_reference: Any) -> None:
    found = check(tiny_path, "fp32", tiny_reference, photos=3)
    assert (found.greedy, found.beam, found.first_difference, found.photos) == (1.0, 1.0, None, 3)


def test_answers_serve_several_variants(tiny_path: Path, tiny_reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = type(tiny_reference.encoder).forward
    monkeypatch.setattr(
        type(tiny_reference.encoder),
        "forward",
        lambda *a, **o: encoded.append(len(o["pixel_values"])) or encode(*a, **o),
    )
    model = Model.from_pretrained(tiny_path, threads=1)
    inputs = {"pixel_values": generated_pixels(model.image_processor, 3)}
    answers = ask(tiny_reference, inputs, model.generation_config.ends, 15)
    assert encoded == [1, 1, 1]
    assert "forward" not in vars(tiny_reference.encoder)

    def gone() -> Any:
        raise AssertionError("nothing differs, so nobody is asked again")

    assert compare(tiny_path, "fp32", answers, gone) == check(tiny_path, "fp32", tiny_reference, photos=3)
    with pytest.raises(ExportError, match="greedy, photo 0, position 1: expected token"):
        other = ask(tiny.tiny_vit_gpt2(1), inputs, model.generation_config.ends, 15)
        compare(tiny_path, "fp32", other, lambda: tiny.tiny_vit_gpt2(1))


def test_the_weights_are_gone_when_the_folder_is_opened(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[Any] = []
    left: list[int] = []
    load, look = convert.load_model, convert.compare
    monkeypatch.setattr(convert, "load_model", lambda *a: models.append(load(*a)) or models[-1])
    monkeypatch.setattr(
        convert, "compare", lambda *a: left.append(sum(p.numel() for p in models[0].parameters())) or look(*a)
    )
    export(checkpoint, tmp_path / "a", ("fp32", "int8"))
    assert left == [0, 0]


# The command --------------------------------------------------------------------------------------


def test_the_command_shows_files_and_agreement(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(checkpoint), str(tmp_path / "a"), "--variants", "int8, fp32"]) == 0
    out, err = capsys.readouterr()
    for text in ("onnx/decoder_model_int8.onnx", "tokenizer.json", "kB", "fp32", "100.0%"):
        assert text in out
    assert "Traceback" not in err
    assert cli.main(["export", str(checkpoint), str(tmp_path / "b"), "--max-length", "12", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["path"] == str(tmp_path / "b")
    assert shown["files"]["fuseline.json"] == (tmp_path / "b" / "fuseline.json").stat().st_size
    assert (shown["agreement"]["fp32"]["beam"], shown["agreement"]["fp32"]["max_length"]) == (1.0, 12)


def test_the_command_says_what_is_missing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["export", str(tmp_path / "no where"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("fuseline: there is no folder")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert cli.main(["export", str(checkpoint), str(tmp_path / "out")]) == 2
    sentence = "fuseline: exporting needs transformers, which is not installed; pip install onnx onnxscript torch"
    assert capsys.readouterr().err == f"{sentence} 'transformers>=4.50,<5'\n"
