"""Models of full size, with random weights that say varied things, against transformers: minutes and gigabytes each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import checkpoints
from fuseline import Model
from fuseline.export import export
from fuseline.export.adapters import model_adapter
from fuseline.export.checkpoints.checkpoint import load_model, open_checkpoint
from fuseline.export.checkpoints.generated import generated_photos
from tests import tiny

CASES = [(name, seed, 20) for name in ("vit-gpt2", "trocr-small", "blip-base") for seed in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed", "photos"), [*CASES, ("donut-base", 0, 5)])
def test_token_ids_equal_those_of_transformers(name: str, seed: int, photos: int, tmp_path: Path) -> None:
    checkpoints.build(name, tmp_path / "source", seed)
    report = export(tmp_path / "source", tmp_path / "out")
    agreement = report.agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.tokens) == (1.0, 1.0, 1.0)
    assert agreement.logits < 2e-4
    checkpoint = open_checkpoint(tmp_path / "source")
    reference = load_model(checkpoint, model_adapter(checkpoint.config).loader)
    model = Model.from_pretrained(tmp_path / "out")
    pixels = model.image_processor(generated_photos(photos))
    for beams in (1, 4):
        options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
        with torch.inference_mode():
            rows = [reference.generate(torch.from_numpy(one[None]), **options).numpy()[0] for one in pixels]
        expected = [tiny.ended(row, *model.generation_config.ends) for row in rows]
        assert len(set(expected)) >= photos / 2, "photos should be told apart, or the test shows little"
        for batch in (1, 3):
            for first in range(0, photos, batch):
                found = model.generate(np.ascontiguousarray(pixels[first : first + batch]), **options).sequences
                ours = [tiny.ended(row, *model.generation_config.ends) for row in found]
                assert ours == expected[first : first + batch]
