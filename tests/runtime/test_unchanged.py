"""Files under an open model: whatever happens to them, no caption is made of them in silence."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from fuseline import Model
from fuseline.errors import FolderError
from fuseline.folder import Folder
from fuseline.unchanged import Unchanged, files_of
from tests import tiny


@pytest.fixture
def path(tiny_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_path, tmp_path / "tiny"))


def edit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, 10)


def replace(file: Path) -> None:
    copy = file.with_suffix(".copy")
    shutil.copy2(file, copy)  # of the same date and size
    os.replace(copy, file)


CHANGES = [edit, truncate, replace, Path.unlink]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_a_file_that_changed_is_noticed_before_the_next_caption(
    graph: str, change: Callable[[Path], None], path: Path
) -> None:
    model = Model.from_pretrained(path, "fp32")
    model.generate(tiny.photos(1))
    file = path / f"onnx/{graph}_model_fp32.onnx"
    change(file)
    right = "was changed while it is open; open the model again"
    for call in (
        lambda: model.generate(tiny.photos(1)),
        lambda: model.score(tiny.photos(1), "word5"),
        lambda: model.encode(tiny.photos(1)),
        lambda: model.stream(tiny.photos(1)),
    ):
        with pytest.raises(FolderError, match=f"{file.name} {right}"):
            call()


def test_a_file_that_changes_during_a_caption_is_noticed_at_its_end(path: Path) -> None:
    model = Model.from_pretrained(path, "fp32")
    encoded = model.encode(tiny.photos(1))
    events = model.stream(encoded)
    next(events)
    edit(path / "onnx/decoder_model_fp32.onnx")
    with pytest.raises(FolderError, match="was changed while it is open"):
        list(events)
    with pytest.raises(FolderError, match="was changed while it is open"):
        model.generate(encoded)


def test_other_files_and_other_variants_may_change(path: Path) -> None:
    model = Model.from_pretrained(path, "fp32")
    edit(path / "onnx/decoder_model_int8.onnx")
    edit(path / "tokenizer.json")
    model.generate(tiny.photos(1))


def test_weights_beside_a_graph_are_watched(path: Path) -> None:
    folder, file = Folder.open(path, "fp32"), path / "onnx/decoder_model_fp32.onnx"
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="weights", size_threshold=0)
    folder = dataclasses.replace(folder, sizes={**folder.sizes, "onnx/weights": (path / "onnx/weights").stat().st_size})
    files = files_of(folder)
    assert file.parent / "weights" in files
    watched = Unchanged(files)
    watched.check()
    edit(file.parent / "weights")
    with pytest.raises(FolderError, match="weights was changed"):
        watched.check()


def test_the_files_of_a_variant_are_its_graphs(path: Path) -> None:
    names = [file.name for file in files_of(Folder.open(path, "int8"))]
    assert names == ["encoder_model_int8.onnx", "decoder_model_int8.onnx"]
