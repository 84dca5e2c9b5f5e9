"""Files under an open model: whatever happens to them, no caption is made of them in silence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from fuseline import Model
from fuseline.errors import FolderError
from fuseline.folders.open import open_folder
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


@pytest.fixture
def weights(path: Path) -> Path:
    """The file that the fp32 decoder keeps its weights in, beside its graph."""
    file = path / "onnx/decoder_model_fp32.onnx"
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="weights", size_threshold=1024)
    about = json.loads((path / "fuseline.json").read_bytes())
    for each in (file, file.parent / "weights"):
        sha256 = hashlib.sha256(each.read_bytes()).hexdigest()
        about["files"][f"onnx/{each.name}"] = {"bytes": each.stat().st_size, "sha256": sha256}
    (path / "fuseline.json").write_text(json.dumps(about))
    return file.parent / "weights"


def test_weights_beside_a_graph_are_watched(path: Path, weights: Path) -> None:
    model = Model.from_pretrained(path, "fp32")
    model.generate(tiny.photos(1))
    edit(weights)
    with pytest.raises(FolderError, match="weights was changed"):
        model.generate(tiny.photos(1))


def test_weights_that_are_cut_short_during_a_caption_cost_the_caption_only(path: Path, weights: Path) -> None:
    code = """
import os, sys
from fuseline import FolderError, Model
from tests import tiny
model = Model.from_pretrained(sys.argv[1], "fp32")
try:
    model.generate(tiny.photos(1), stopping_criteria=[lambda *_: bool(os.truncate(sys.argv[2], 0))])
except FolderError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(path), str(weights)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{weights} was changed while it is open; open the model again\n")


def test_the_files_of_a_variant_are_its_graphs(path: Path) -> None:
    names = {file.name for file in open_folder(path, "int8").files_in_use}
    assert names == {"encoder_model_int8.onnx", "decoder_model_int8.onnx"}
