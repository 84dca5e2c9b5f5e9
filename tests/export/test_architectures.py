"""Every architecture that can be exported, from a checkpoint to texts, against transformers on the same weights.

Tolerance: token ids are equal; logits of size 1 to 10 within 2e-4, the project's bound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuseline import Model
from fuseline.export import export, sources
from tests import encoders, tiny, zoo
from tests.attentions import assert_equal_to_transformers

QUICK = ["bert", "roberta", "trocr, sinusoidal"]
CASES = [
    pytest.param(name, seed, marks=[] if seed == 0 and name in QUICK else pytest.mark.slow, id=f"{name}, seed {seed}")
    for name in zoo.MODELS
    for seed in range(3)
]


@pytest.fixture(autouse=True)
def _encoders_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "traced_encoder", encoders.traced_encoder)


def compare(reference: Any, model: Model, photos: int, seed: int) -> set[tuple[int, ...]]:
    """Texts of both, greedy and with 4 beams, must be equal; returns the different ones.

    The reference says them in one batch; ours come in batches of 1 (a quarter of the photos) and of 3.
    """
    texts, ends = set(), model.generation_config.ends
    pixels = zoo.photos(reference, photos, seed)
    for beams in (1, 4):
        options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
        expected = [tiny.ended(row, *ends) for row in reference.generate(pixels, **options).numpy()]
        for batch in (1, 3):
            for first in range(0, photos if batch == 3 else photos // 4, batch):
                found = model.generate(pixels[first : first + batch].numpy(), **options).sequences
                assert [tiny.ended(row, *ends) for row in found] == expected[first : first + batch]
        texts.update(expected)
    return texts


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_token_ids_equal_those_of_transformers(name: str, seed: int, tmp_path: Path) -> None:
    reference = zoo.vision_encoder_decoder(name, seed)
    report = export(zoo.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out")
    agreement = report.agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.first_difference) == (1.0, 1.0, None)
    assert agreement.logits < 2e-4
    assert agreement.tokens == 1.0
    texts = compare(reference, Model.from_pretrained(tmp_path / "out", threads=1), 20, seed)
    assert len(texts) > 10, "the photos should be told apart, or the test shows nothing"


@pytest.mark.parametrize(
    "name", ["bert", "trocr, sinusoidal", *(pytest.param(name, marks=pytest.mark.slow) for name in ("donut", "xglm"))]
)
def test_attentions_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    reference = zoo.vision_encoder_decoder(name, 2)
    export(zoo.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out")
    model, pixels = Model.from_pretrained(tmp_path / "out", threads=1), zoo.photos(reference, 3, 2)
    assert_equal_to_transformers(reference, model, pixels, num_beams=3)


@pytest.mark.parametrize("name", ["roberta", "trocr, sinusoidal", pytest.param("donut", marks=pytest.mark.slow)])
def test_a_prompt_of_several_tokens(name: str, tmp_path: Path) -> None:
    """With a pad token in it, which RoBERTa and sinusoidal positions do not count; Donut gets no start token before."""
    reference = zoo.vision_encoder_decoder(name, 1)
    export(zoo.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out")
    model = Model.from_pretrained(tmp_path / "out", threads=1)
    prompt, pixels = torch.tensor([[5, 17, zoo.PAD, 33]]).repeat(3, 1), zoo.photos(reference, 3)
    for beams in (1, 4):
        options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
        expected = reference.generate(pixels, decoder_input_ids=prompt, **options).numpy()
        found = model.generate(pixels.numpy(), decoder_input_ids=prompt.numpy(), **options).sequences
        np.testing.assert_array_equal(found, expected)
        assert expected[0, 0] == (5 if name == "donut" else zoo.START)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_blip_says_what_transformers_says(seed: int, tmp_path: Path) -> None:
    """Its texts end at the sep token, and a prompt stands without the end that BLIP's tokenizer writes."""
    reference = zoo.blip(seed)
    report = export(zoo.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out")
    assert (report.agreement["fp32"].greedy, report.agreement["fp32"].beam) == (1.0, 1.0)
    assert report.agreement["fp32"].logits < 2e-4
    model = Model.from_pretrained(tmp_path / "out", threads=1)
    assert len(compare(reference, model, 20, seed)) > 10
    assert model.generation_config.ends == (3,)
    prompt, pixels = torch.tensor([[7, 5, 17, 33, 3]]).repeat(3, 1), zoo.photos(reference, 3)
    for beams in (1, 4):
        expected = reference.generate(pixels, input_ids=prompt.clone(), num_beams=beams, max_length=12).numpy()
        given = prompt[:, 1:-1].numpy()
        found = model.generate(pixels.numpy(), decoder_input_ids=given, num_beams=beams, max_length=12).sequences
        np.testing.assert_array_equal(found, expected)
