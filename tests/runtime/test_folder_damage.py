"""Random damage to small folders: each opens, or is refused in one sentence, soon and in little memory."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import stat
import time
from pathlib import Path
from random import Random

import pytest
from onnx import helper

from fuseline.errors import Error
from fuseline.folders.open import open_folder
from tests import folder_damage, tiny
from tests.graph_damage import function, graph, outside

KINDS = ("own", "foreign")


def small(folder: Path, kind: str) -> Path:
    """Make the graphs of a folder tiny, with all that a graph may have: a branch, a function, weights outside."""
    branch = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [], [], [outside("w.bin", dims=(4,))])
    nodes = [
        helper.make_node("If", ["x"], ["z"], then_branch=branch),
        helper.make_node("f", ["z"], ["y"], domain="local"),
    ]
    body = function("f", helper.make_node("Neg", ["a"], ["b"]))
    content = graph(*nodes, initializer=[outside("w.bin", dims=(8,), offset=16)], functions=[body]).SerializeToString()
    (folder / "onnx/w.bin").write_bytes(bytes(64))
    if kind == "foreign":
        (folder / "fuseline.json").unlink()
        for name in ("encoder_model", "decoder_model_merged"):
            (folder / f"onnx/{name}.onnx").write_bytes(content)
        return folder
    about = json.loads((folder / "fuseline.json").read_bytes())
    for path in folder.glob("onnx/*.onnx"):
        path.write_bytes(content)
    listed = [path for path in folder.rglob("*") if path.is_file() and path.name != "fuseline.json"]
    about["files"] = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in listed
    }
    (folder / "fuseline.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    return {kind: small(tiny.tiny_folder(path, 0, ("fp32", "int8")), kind) for kind, path in made.items()}


def state(folder: Path) -> dict[str, object]:
    """Every file by its kind and content."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        kind, size = stat.S_IFMT(path.lstat().st_mode), path.lstat().st_size
        found[path.relative_to(folder).as_posix()] = (
            kind,
            path.read_bytes() if stat.S_ISREG(kind) and size < 1 << 24 else size if stat.S_ISREG(kind) else None,
        )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_folders_are_whole(folders: dict[str, Path], kind: str) -> None:
    assert open_folder(folders[kind], whole=True).facts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_folder_opens_or_is_refused_in_a_sentence(
    folders: dict[str, Path], tmp_path: Path, kind: str, seed: int
) -> None:
    model = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    done = folder_damage.mutate(Random(seed), model)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        open_folder(model)
    except Error as error:
        assert str(error).isprintable(), done
    assert time.process_time() - began < 10, done
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20, done  # kB


def test_damage_is_the_same_for_the_same_seed(folders: dict[str, Path], tmp_path: Path) -> None:
    for seed in range(20):
        states = []
        for copy in ("a", "b"):
            model = Path(shutil.copytree(folders["own"], tmp_path / f"{seed}{copy}"))
            states.append((folder_damage.mutate(Random(seed), model), state(model)))
        assert states[0] == states[1]
