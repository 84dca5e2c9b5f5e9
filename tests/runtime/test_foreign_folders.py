"""Folders of optimum and transformers.js, made by optimum-onnx: the same tokens as transformers, or one sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fuseline.folders.open import open_folder

pytest.importorskip("optimum.exporters.onnx")

import torch
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from fuseline import Model, pipeline
from fuseline.errors import FolderError, InputError
from tests import foreign, graph_damage, tiny, tokenizer_folders

Made = Callable[[str], tuple[Any, Path]]
PIXELS = tiny.photos(20)
QUICK = ("gpt2", "bert")
LAYOUTS = [(model, layout) for model in foreign.WITH_PAST for layout in foreign.LAYOUTS]
CASES = [
    pytest.param(model, layout, marks=[] if model in QUICK else pytest.mark.slow)
    for model, layout in [*LAYOUTS, *((model, "no cache") for model in foreign.WITHOUT_PAST)]
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The model of a name, and its export; each made once."""
    known: dict[str, tuple[Any, Path]] = {}

    def make(name: str) -> tuple[Any, Path]:
        if name not in known:
            model = foreign.captioner(name)
            out = tmp_path_factory.mktemp("exported") / name
            known[name] = model, foreign.exported(model, out, with_past=name in foreign.WITH_PAST)
        return known[name]

    return make


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_every_layout_says_what_transformers_says(made: Made, tmp_path: Path, name: str, layout: str) -> None:
    reference, export = made(name)
    model = Model.from_pretrained(foreign.laid_out(export, layout, tmp_path / "model"))
    for beams in (1, 4):
        expected = texts(reference, beams)
        assert len(set(expected)) > 8  # else the comparison shows little
        for batch in (1, 3):
            for first in range(0, 20 if batch == 3 else 5, batch):
                photos = PIXELS[first : first + batch]
                got = model.generate(photos, num_beams=beams, max_length=16).sequences
                assert [tiny.ended(row, tiny.END) for row in got] == expected[first : first + batch], (
                    f"{beams} beams, from {first}"
                )


@cache
def texts(reference: Any, beams: int) -> list[tuple[int, ...]]:
    """What the reference says of PIXELS, without the padding; the same for all layouts of its folder."""
    with torch.inference_mode():
        rows = reference.generate(torch.from_numpy(PIXELS), num_beams=beams, max_length=16)
    return [tiny.ended(row, tiny.END) for row in rows.numpy()]


def test_their_decoders_give_no_attentions(made: Made) -> None:
    model = Model.from_pretrained(made("gpt2")[1])
    with pytest.raises(InputError, match="output_attentions and times of words need a decoder graph that gives"):
        model.generate(PIXELS[:1], output_attentions=True)


def test_roberta_without_a_cache_places_pads_as_transformers_does_without_one(tmp_path: Path) -> None:
    """Its positions do not count pads, but with a cache those of earlier steps; here texts begin with one."""
    reference = foreign.captioner("roberta")
    reference.decoder.roberta.embeddings.padding_idx = reference.config.decoder.pad_token_id = tiny.START
    export = foreign.exported(reference, tmp_path / "export", with_past=False)
    photos = PIXELS[:3]
    with torch.inference_mode():
        expected = [
            reference.generate(torch.from_numpy(photos), num_beams=4, max_length=16, use_cache=cached).numpy()
            for cached in (False, True)
        ]
    got = Model.from_pretrained(export).generate(photos, num_beams=4, max_length=16).sequences
    assert np.array_equal(got, expected[0])
    assert not np.array_equal(got, expected[1])


@pytest.mark.parametrize("layout", foreign.LAYOUTS)
@pytest.mark.parametrize(
    "name", ["gpt2", *(pytest.param(each, marks=pytest.mark.slow) for each in foreign.WITH_PAST[1:])]
)
def test_prompts_of_several_tokens_are_continued(made: Made, tmp_path: Path, name: str, layout: str) -> None:
    reference, export = made(name)
    model = Model.from_pretrained(foreign.laid_out(export, layout, tmp_path / "model"))
    photos, prompt = tiny.photos(2), np.array([[tiny.START, 7, 11], [tiny.START, 30, 8]])
    with torch.inference_mode():
        options = {"decoder_input_ids": torch.from_numpy(prompt), "num_beams": 4, "max_length": 14}
        expected = reference.generate(torch.from_numpy(photos), **options).numpy()
    got = model.generate(photos, prompt, num_beams=4, max_length=14).sequences
    assert np.array_equal(got, expected)


def test_a_heat_map_of_a_folder_that_gives_no_attentions_is_refused(made: Made, tmp_path: Path) -> None:
    folder = foreign.laid_out(made("gpt2")[1], "merged", tmp_path / "model")
    with pytest.raises(InputError, match=r"model: a heat map needs a decoder graph that gives its .* export the model"):
        pipeline("image-to-text", Model.from_pretrained(folder))(np.zeros((8, 8, 3), np.uint8), heat_map=True)


def test_the_variants_of_transformers_js_are_chosen_by_their_suffixes(made: Made, tmp_path: Path) -> None:
    _, export = made("trocr")
    folder = foreign.laid_out(export, "merged", tmp_path / "model", "onnx/")
    merged = folder / "onnx/decoder_model_merged.onnx"
    quantize_dynamic(merged, folder / "onnx/decoder_model_merged_quantized.onnx")  # the encoder stays as it is
    for name in ("encoder_model", "decoder_model_merged"):  # inputs, caches and logits are float16, too
        graph = convert_float_to_float16(onnx.load(folder / f"onnx/{name}.onnx"))
        onnx.save(graph, folder / f"onnx/{name}_fp16.onnx")
    assert list(open_folder(folder).variants) == ["fp32", "fp16", "quantized"]
    assert open_folder(folder).variant == "fp32"
    assert open_folder(folder, "quantized").encoder_path.name == "encoder_model.onnx"
    pixels, logits = tiny.photos(3), {}
    for variant in ("fp32", "fp16", "quantized"):
        model = Model.from_pretrained(folder, variant)
        state = model.decoder.start(model.encode(pixels), 2, 8)
        for tokens in (5, 9):
            logits[variant] = model.decoder.step(state, np.full((6, 1), tokens), np.array([1, 0, 2, 3, 4, 5]))
    scale = np.abs(logits["fp32"]).max()
    assert np.abs(logits["fp16"] - logits["fp32"]).max() < 0.02 * scale  # 11 bits through 4 layers of large weights
    difference = np.abs(logits["quantized"] - logits["fp32"]).max()
    assert 0 < difference < 0.3 * scale  # 8 bits, one scale for a tensor


def test_an_unknown_variant_names_those_there(made: Made, tmp_path: Path) -> None:
    folder = foreign.laid_out(made("gpt2")[1], "merged", tmp_path / "model", suffix="_q4")
    with pytest.raises(FolderError, match="has no variant 'int8'; it has q4"):
        open_folder(folder, "int8")


TOKENIZERS: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "vocab.txt": (tokenizer_folders.vocab_txt, {"tokenizer_class": "BertTokenizer"}),
    "vocab.json": (tokenizer_folders.vocab_and_merges, {"tokenizer_class": "RobertaTokenizer"}),
    "a SentencePiece model": (
        tokenizer_folders.sentencepiece("sentencepiece.bpe.model"),
        {"tokenizer_class": "XLMRobertaTokenizer", "clean_up_tokenization_spaces": True},
    ),
    "words of MeCab": (tokenizer_folders.vocab_txt, {"tokenizer_class": "BertJapaneseTokenizer"}),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_are_made_by_whatever_tokenizer_files_there_are(made: Made, tmp_path: Path, name: str) -> None:
    from fuseline.export.checkpoints.checkpoint import Checkpoint
    from fuseline.export.checkpoints.tokenizer import transformers_tokenizer

    vocabulary, config = TOKENIZERS[name]
    folder = foreign.laid_out(made("gpt2")[1], "merged", tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    vocabulary(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    model = Model.from_pretrained(folder, threads=1)
    theirs = transformers_tokenizer(Checkpoint(folder, {}), "")
    sequences = model.generate(PIXELS[:4]).sequences
    known = min(len(theirs), 97)
    tokens = np.minimum(sequences, known - 1)
    for skipped in (True, False):
        expected = [theirs.decode(row, skip_special_tokens=skipped) for row in tokens.tolist()]
        assert model.decode(tokens, skip_special_tokens=skipped) == expected


def test_special_tokens_and_spaces_are_as_the_small_files_say(made: Made, tmp_path: Path) -> None:
    folder = foreign.laid_out(made("gpt2")[1], "merged", tmp_path / "model")
    words = {"<s>": 0, "</s>": 1, "two": 2, "dogs": 3, ".": 4, "<pad>": 5, **{f"w{n}": n for n in range(6, 97)}}
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    file |= {"pre_tokenizer": None, "post_processor": None, "decoder": None}
    file["model"] = {"type": "WordLevel", "vocab": words, "unk_token": "<pad>"}
    (folder / "tokenizer.json").write_text(json.dumps(file))
    row = np.array([[0, 2, 3, 4, 1, 5]])
    assert Model.from_pretrained(folder, threads=1).decode(row) == ["<s> two dogs . </s> <pad>"]
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "clean_up_tokenization_spaces": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    assert Model.from_pretrained(folder, threads=1).decode(row) == ["two dogs."]


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["decoder"] |= values
    (folder / "config.json").write_text(json.dumps(config))


def link_out(folder: Path) -> None:
    shutil.move(folder / "encoder_model.onnx", folder.parent / "elsewhere")
    (folder / "encoder_model.onnx").symlink_to(folder.parent / "elsewhere")


def weights_outside(folder: Path) -> None:
    graph = onnx.load(folder / "encoder_model.onnx")
    onnx.save_model(graph, folder / "encoder_model.onnx", save_as_external_data=True, location="w", size_threshold=0)
    shutil.move(folder / "w", folder.parent / "w")
    (folder / "w").symlink_to(folder.parent / "w")


def another_input(folder: Path) -> None:
    path = folder / "decoder_model_merged.onnx"
    graph = onnx.load(path)
    graph.graph.input.append(onnx.helper.make_tensor_value_info("head_mask", onnx.TensorProto.FLOAT, [2, 4]))
    onnx.save(graph, path)


def wrong_encoder(folder: Path) -> None:
    path = folder / "encoder_model.onnx"
    graph = onnx.load(path)
    graph.graph.input.append(onnx.helper.make_tensor_value_info("attention_mask", onnx.TensorProto.INT64, ["B", "S"]))
    onnx.save(graph, path)


def pipe(folder: Path) -> None:
    (folder / "encoder_model.onnx").unlink()
    os.mkfifo(folder / "encoder_model.onnx")


def loop(folder: Path) -> None:
    path = folder / "encoder_model.onnx"
    graph = onnx.load(path)
    graph.graph.node.append(
        onnx.helper.make_node("Loop", ["", ""], ["z"], body=onnx.helper.make_graph([], "b", [], []))
    )
    onnx.save(graph, path)


def weights_at(location: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "encoder_model.onnx"
        graph = onnx.load(path)
        graph.graph.initializer.append(graph_damage.outside(location))
        onnx.save(graph, path)

    return damage


def no_decoder(value: object) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"decoder": value}))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no graphs": (lambda f: (f / "encoder_model.onnx").unlink(), "no encoder_model.onnx with decoder_model_merged"),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        "has no tokenizer.json, and no vocab.json and no merges.txt to make one of for GPT2Tokenizer; copy",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json; copy it from the model"),
    "link out": (link_out, "encoder_model.onnx is a link out of the folder"),
    "weights outside": (weights_outside, "w is a link out of the folder"),
    "heads": (lambda f: change_config(f, n_head=3), "a width of 32 cannot be shared by 3 heads"),
    "layers": (lambda f: change_config(f, n_layer=2), "it has a cache for 3 layers, and config.json tells of 2"),
    "words": (lambda f: change_config(f, vocab_size=96), "must be float32[R, T, 96]"),
    "no number": (lambda f: change_config(f, vocab_size="x"), "'vocab_size' is wrong; it must be a whole number"),
    "another input": (another_input, "what its input head_mask should be given is not known"),
    "wrong encoder": (wrong_encoder, "reads pixel_values, attention_mask, and an encoder of photos reads pixel_values"),
    "truncated": (
        lambda f: (f / "encoder_model.onnx").write_bytes(b"\x08"),
        "is not a graph that can be opened: it ends",
    ),
    "a pipe": (pipe, "encoder_model.onnx is not a regular file"),
    "a loop": (loop, "has the operator Loop, which repeats a graph"),
    "weights up": (weights_at("../w"), "'../w', which is not a path inside the folder"),
    "weights in memory": (weights_at("*/_ORT_MEM_ADDR_/*"), "an address in its memory"),
    "weights missing": (weights_at("nowhere"), "nowhere is missing"),
    "endless layers": (
        lambda f: change_config(f, n_layer=10**9),
        "'n_layer' is wrong; it must be a whole number of at",
    ),
    "endless words": (lambda f: change_config(f, vocab_size=10**12), "'vocab_size' is wrong"),
    "endless heads": (lambda f: change_config(f, n_head=10**400), "'n_head' is wrong"),
    "no object": (no_decoder(3), "config.json: 'decoder' is wrong; it must be an object"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "config.json must hold a JSON object"),
    "a broken description": (
        lambda f: (f / "fuseline.json").symlink_to("x"),
        "fuseline.json is a link to a file that is",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_understood_is_refused_in_one_sentence(made: Made, tmp_path: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    folder = foreign.laid_out(made("gpt2")[1], "merged", tmp_path / "model")
    damage(folder)
    with pytest.raises(FolderError) as caught:
        Model.from_pretrained(folder)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
