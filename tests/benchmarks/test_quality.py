"""The benchmark of quality: every row of its table is a variant of one folder, and its files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import quality
from benchmarks.errors import BenchmarkError
from fuseline.folders.open import open_folder
from tests import tiny


def test_every_row_is_made_of_codes_alone(tmp_path: Path) -> None:
    """Of a folder that has no floats, as the captioners that ship have none."""
    source = tiny.tiny_folder(tmp_path / "source", 0, variants=("int8",))
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)).save(photo)
    quality.all_variants(source, tmp_path / "all", [photo], lambda step, steps, what: None)
    opened = open_folder(tmp_path / "all")
    assert sorted(opened.variants) == sorted(quality.ROWS)
    found = quality.hashes(tmp_path / "all")
    for name, files in opened.variants.items():
        assert found[name] == [opened.hashes[files.encoder], opened.hashes[files.decoder]]
    # No convolution of so small a model is quantized, so its two rows in 8 bits are one.
    assert found["int8"] == found["int8_static"]
    assert len({tuple(each) for each in found.values()}) == len(quality.ROWS) - 1


def test_a_model_with_several_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="sources image, hint; the table is of captioners with one"):
        quality.all_variants(open_folder(None).path, tmp_path / "all", [], lambda step, steps, what: None)
