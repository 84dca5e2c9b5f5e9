"""The image processor is found in whichever file it lies, and is that of transformers' AutoImageProcessor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoImageProcessor

from fuseline import Model
from fuseline.errors import ExportError, FolderError
from fuseline.export import export
from fuseline.export.checkpoints.checkpoint import Checkpoint
from fuseline.export.checkpoints.processor import read_processor
from fuseline.folders.open import open_folder
from fuseline.inputs.images import ImageProcessor
from tests import tiny
from tests.runtime.test_hub import Hub, made_by, opened
from tests.runtime.test_images import photo, rows_first

PLAIN, NESTED = "preprocessor_config.json", "processor_config.json"
VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 31}, "resample": 3}
OTHER = VIT | {"size": {"height": 24, "width": 24}}
DONUT = {"image_processor_type": "DonutImageProcessorFast", "size": {"height": 40, "width": 32}, "do_pad": True}
CAPTIONER = {
    "model_type": "vision-encoder-decoder",
    "encoder": {"model_type": "deit"},
    "decoder": {"model_type": "gpt2"},
}
BLIP = {"model_type": "blip"}

# (files, config.json, the file that counts); the reference reads the same folder.
FOUND: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "up to transformers 4": ({PLAIN: VIT}, CAPTIONER, PLAIN),
    "transformers 5": ({NESTED: {"image_processor": VIT, "processor_class": "TrOCRProcessor"}}, CAPTIONER, NESTED),
    "transformers 5, Donut": (
        {NESTED: {"image_processor": DONUT, "processor_class": "DonutProcessor"}},
        CAPTIONER,
        NESTED,
    ),
    "both": ({PLAIN: VIT, NESTED: {"processor_class": "TrOCRProcessor"}}, CAPTIONER, PLAIN),
    "both, and the same": ({PLAIN: VIT, NESTED: {"image_processor": VIT}}, CAPTIONER, PLAIN),
    "inside the plain file": ({PLAIN: {"image_processor": VIT, "processor_class": "X"}}, CAPTIONER, PLAIN),
    "a feature extractor": (
        {PLAIN: {"feature_extractor_type": "ViTFeatureExtractor", "size": 30, "processor_class": "TrOCRProcessor"}},
        CAPTIONER,
        PLAIN,
    ),
    "both names": ({PLAIN: VIT | {"feature_extractor_type": "DeiTFeatureExtractor"}}, CAPTIONER, PLAIN),
    "no name, but config.json's": (
        {PLAIN: {"size": 30}},
        CAPTIONER | {"image_processor_type": "PvtImageProcessor"},
        PLAIN,
    ),
    "no name, but a model that has one": ({PLAIN: {"size": 30, "image_processor_type": None}}, BLIP, PLAIN),
    "no name inside": ({NESTED: {"image_processor": {"size": 30}}}, BLIP, NESTED),
    "code of its own beside a known name": (
        {PLAIN: VIT | {"auto_map": {"AutoImageProcessor": "code.Own"}}},
        CAPTIONER,
        PLAIN,
    ),
}


def written(folder: Path, files: Mapping[str, Any], config: Mapping[str, Any]) -> Checkpoint:
    folder.mkdir(exist_ok=True)
    for name, value in {**files, "config.json": config}.items():
        (folder / name).write_text(json.dumps(value))
    return Checkpoint(folder, config)


@contextmanager
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("name", FOUND)
def test_pixel_values_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    files, config, counts = FOUND[name]
    checkpoint = written(tmp_path / "checkpoint", files, config)
    image = photo(53, 40)
    theirs = AutoImageProcessor.from_pretrained(tmp_path / "checkpoint", use_fast=False, trust_remote_code=False)
    with rows_first():
        expected = theirs(image, return_tensors="np")["pixel_values"]
    with no_warning():
        processor = read_processor(checkpoint, "checkpoint")
    np.testing.assert_array_equal(processor.prepare([image]), expected, strict=True)
    # What is written into a folder is one plain file, which says the same by itself.
    plain = json.loads(processor.text())
    np.testing.assert_array_equal(ImageProcessor.from_config(plain, PLAIN)([image]), expected, strict=True)
    assert not {"image_processor", "feature_extractor"} & plain.keys()
    if counts == PLAIN and files[PLAIN] == plain:
        assert processor.text() == (tmp_path / "checkpoint" / PLAIN).read_bytes()


def test_a_feature_extractor_inside_a_processor_is_read(tmp_path: Path) -> None:
    files = {NESTED: {"feature_extractor": {"feature_extractor_type": "ViTFeatureExtractor", "size": 30}}}
    processor = read_processor(written(tmp_path / "checkpoint", files, CAPTIONER), "checkpoint")
    assert processor.prepare.size == (30, 30)


def test_of_two_files_that_differ_the_plain_one_is_taken_and_a_warning_says_so(tmp_path: Path) -> None:
    nested = {"image_processor": OTHER | {"image_mean": 0.5, "processor_class": "X"}}
    checkpoint = written(tmp_path / "checkpoint", {PLAIN: VIT, NESTED: nested}, CAPTIONER)
    theirs = AutoImageProcessor.from_pretrained(tmp_path / "checkpoint", use_fast=False)
    sentence = f"{PLAIN} and {NESTED} differ in size; the first is taken, as in transformers 4 "
    with pytest.warns(UserWarning, match=sentence):
        processor = read_processor(checkpoint, "checkpoint")
    assert processor.prepare.size == tuple(theirs.size.values()) == (20, 31)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no file": ({}, CAPTIONER, f"checkpoint has no {PLAIN} or {NESTED}, so how photos are to be prepared is not known"),
    "a processor of text alone": (
        {NESTED: {"processor_class": "X"}},
        CAPTIONER,
        f"{NESTED} has no image_processor in it",
    ),
    "a list inside": (
        {NESTED: {"image_processor": [VIT]}},
        CAPTIONER,
        f"{NESTED}: 'image_processor' is wrong; it must be",
    ),
    "no name": (
        {PLAIN: {"size": 30}},
        CAPTIONER,
        f"{PLAIN} names no image_processor_type, and config.json's model_type 'vision-encoder-decoder' stands for "
        'none; add the one of the training, such as "DeiTImageProcessor"',
    ),
    "no name, and no kind": ({PLAIN: {"size": 30}}, {}, "config.json's model_type 'None' stands for none"),
    "code of its own": (
        {PLAIN: {"auto_map": {"AutoImageProcessor": "code.Own"}}},
        CAPTIONER,
        "is code of the model's own",
    ),
    "unknown": (
        {NESTED: {"image_processor": {"image_processor_type": "X"}}},
        CAPTIONER,
        f"{NESTED}: image_processor_type",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_said_is_not_guessed(name: str, tmp_path: Path) -> None:
    files, config, sentence = REFUSED[name]
    checkpoint = written(tmp_path / "checkpoint", files, config)
    with pytest.raises(ExportError if not files else FolderError) as caught:
        read_processor(checkpoint, "checkpoint")
    assert sentence in str(caught.value)
    with pytest.raises((OSError, ValueError, TypeError, AttributeError, IndexError)):  # nor by transformers
        AutoImageProcessor.from_pretrained(tmp_path / "checkpoint", use_fast=False, trust_remote_code=False)


def test_a_checkpoint_of_transformers_5_is_exported_into_a_folder_as_it_was(tmp_path: Path) -> None:
    source = tiny.write_checkpoint(tiny.tiny_model(0), tmp_path / "source")
    plain = json.loads((source / PLAIN).read_text())
    (source / PLAIN).unlink()
    (source / NESTED).write_text(json.dumps({"image_processor": plain, "processor_class": "TrOCRProcessor"}))
    report = export(source, tmp_path / "out")
    assert PLAIN in report.files
    assert NESTED not in report.files
    assert json.loads((tmp_path / "out" / PLAIN).read_text()) == plain
    model = Model.from_pretrained(tmp_path / "out")
    assert model.image_processor == ImageProcessor.from_config(plain, PLAIN)


# --- folders of other tools ---

SIZES = {"vocab_size": 9, "n_layer": 1, "n_head": 1, "n_embd": 8}


def other_tools_folder(folder: Path, files: Mapping[str, Any]) -> Path:
    (folder / "onnx").mkdir(parents=True)
    for name in ("onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"):
        (folder / name).write_bytes(made_by(name))
    (folder / "tokenizer.json").write_text("{}")
    written(folder, files, CAPTIONER | {"decoder": SIZES})
    return folder


@pytest.mark.parametrize("name", FOUND)
def test_folders_of_other_tools_are_read_alike(name: str, tmp_path: Path) -> None:
    files, config, counts = FOUND[name]
    root = other_tools_folder(tmp_path / "folder", files)
    (root / "config.json").write_text(json.dumps(config | {"decoder": SIZES}))
    folder = open_folder(root)
    expected = read_processor(written(tmp_path / "checkpoint", files, config), "x").prepare
    assert ImageProcessor.from_config(folder.preprocessor_config, "x") == expected
    assert folder.preprocessor_file == counts
    assert {path.name for path in folder.files_in_use} == {"encoder_model.onnx", "decoder_model_merged.onnx"}


def test_folders_of_other_tools_without_a_processor_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=f"has no {PLAIN}; copy it from the model"):
        open_folder(other_tools_folder(tmp_path / "none", {}))
    with pytest.raises(FolderError, match=f"has no {PLAIN}, and {NESTED} has no image_processor in it, so"):
        open_folder(other_tools_folder(tmp_path / "text", {NESTED: {"processor_class": "X"}}))


def test_the_file_is_downloaded_from_the_hub(tmp_path: Path) -> None:
    served = Hub(other_tools_folder(tmp_path / "served", {NESTED: {"image_processor": VIT}}))
    (tmp_path / "cache").mkdir()
    found = opened("org/name", tmp_path / "cache", served.endpoint)
    served.server.shutdown()
    served.server.server_close()
    assert found.returncode == 0, found.stderr
    assert NESTED in served.asked
