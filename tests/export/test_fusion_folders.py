"""What export, quantize and the command say of folders with several sources."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fuseline import ExportError, InputError, Model
from fuseline.export import export, quantize
from tests.fused_folders import described, exported, save
from tests.fusion_models import fusion_model, given
from tests.runtime.test_fusion import arrays


@pytest.mark.parametrize("mode", ["flat", "gated", "hierarchical"])
def test_smaller_variants(tmp_path: Path, mode: str) -> None:
    """Made at once and made of the floats they are the same graphs, and say much of what the floats say."""
    _, folder = exported(tmp_path, mode, variants=("fp32", "fp16", "int8"))
    inputs = arrays(given(4))
    with Model.from_pretrained(folder, "fp32", threads=1) as floats:
        expected = floats.encode(inputs)
        tokens = floats.generate(expected, max_new_tokens=6).sequences
    for variant in ("fp16", "int8"):
        with Model.from_pretrained(folder, variant, threads=1) as model:
            assert model.generate(inputs, max_new_tokens=6).sequences.shape[0] == len(tokens)
            # Any variant's encoder goes with any variant's decoder.
            assert (model.generate(expected, max_new_tokens=6).sequences[:, :2] == tokens[:, :2]).mean() > 0.5
    agreement = described(folder)["agreement"]
    assert agreement["fp32"]["greedy"] == agreement["fp32"]["beam"] == 1 and agreement["fp32"]["inputs"] == 4
    assert agreement["fp16"]["logits"] < agreement["int8"]["logits"]
    _, other = exported(tmp_path / "other", mode)
    report = quantize(other, ["fp16", "int8"], threads=1)
    assert list(report.variants) == ["fp16", "int8"]
    at_once, later = described(folder), described(other)
    hashes = [{name: f["sha256"] for name, f in each["files"].items() if "int8" in name} for each in (at_once, later)]
    assert hashes[0].keys() == hashes[1].keys() and hashes[0]


def test_quantizing_takes_no_photos_to_calibrate_with(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, "flat")
    with pytest.raises(InputError, match="reads several sources, and is quantized without calibration"):
        quantize(folder, ["int4"], calibrate=tmp_path)


def test_a_shorter_decoder(tmp_path: Path) -> None:
    save(fusion_model("mix"), tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "folder", max_length=9)
    with Model.from_pretrained(tmp_path / "folder", threads=1) as model:
        found = model.generate(arrays(given(2)), max_new_tokens=8)
        assert model.folder.decoder.max_positions == 8 and found.sequences.shape[1] <= 9
        assert np.isfinite(found.sequences_scores).all()
    with pytest.raises(ExportError, match="max_length 99 is more than the"):
        export(tmp_path / "checkpoint", tmp_path / "other", max_length=99)


def test_what_a_checkpoint_lacks(tmp_path: Path) -> None:
    import shutil

    checkpoint = save(fusion_model("flat"), tmp_path / "checkpoint")
    shutil.rmtree(checkpoint / "image")
    with pytest.raises(ExportError, match="save the image processor of source image in that folder"):
        export(checkpoint, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    with pytest.raises(ExportError, match="a model of several sources interpolates no positions"):
        export(checkpoint, tmp_path / "folder", interpolate_pos_encoding=True)


def test_the_example_learns_to_read_both(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "two_sources.py"
    done = subprocess.run([sys.executable, example, tmp_path], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("a blue square on the table") == 2, done.stdout
    first = done.stdout.split("weights")[1]
    (image,) = re.findall(r"blue image (\d+)%", first)
    (hint,) = re.findall(r"table image \d+% hint (\d+)%", first)
    assert int(image) > 70 and int(hint) > 70, first
